"""Read the user's own questions from a CSV or JSON Lines file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from leakrepro.errors import DataError
from leakrepro.storage import provenance
from leakrepro.storage.text_files import csv_rows, json_lines, read_utf8
from leakrepro.types import Prompt

_Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


class _Row(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    question: _Text
    answer: _Text
    cluster: _Text | None = None
    fact: _Text | None = None


def read_prompts(path: str | Path) -> tuple[Prompt, ...]:
    """Read forget prompts from a file.

    A ``.csv`` file has a header; a ``.jsonl`` (or ``.json``) file has one object per line. Both are
    UTF-8. The columns are:

    - ``question``;
    - ``answer``: the correct answer;
    - ``cluster`` (optional): the same value for questions that depend on each other, such as
      questions about one person or article. Confidence intervals treat a cluster as one unit;
    - ``fact`` (optional): the part of the answer that counts as a leak, for the metric
      ``fact_match``.

    Other columns are ignored.

    A prompt's id consists of the file's stem and the row number, starting at 1. Rows added at the
    end do not change the samples of the other rows.

    A cell of a CSV file is text: ``NA``, ``null`` and ``None`` are words. Empty cells count as
    missing.

    Args:
        path: The file.

    Returns:
        One prompt per row.

    Raises:
        DataError: if the file cannot be read or does not have rows, if two columns have the same
            name, or if a value is missing, empty or not text, such as ``NaN`` (the message names
            its line and column).
        ValueError: for another file extension.
    """
    path = Path(path)
    readers = {".csv": csv_rows, ".jsonl": json_lines, ".json": json_lines}
    if path.suffix not in readers:
        raise ValueError(
            f"{path}: the extension of a file of questions must be one of {', '.join(readers)}"
        )
    provenance.note_file(path)
    text = read_utf8(path)
    prompts = tuple(
        _prompt(f"{path.stem}/{i:04d}", row, f"{path}, line {line}")
        for i, (line, row) in enumerate(readers[path.suffix](path, text), 1)
    )
    if not prompts:
        raise DataError(f"{path}: no rows")
    return prompts


def _prompt(id: str, row: Any, where: str) -> Prompt:
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: expected an object, found {type(row).__name__}")
    try:
        read = _Row.model_validate(row)
    except ValidationError as error:
        (first, *_) = error.errors()
        column = first["loc"][0]
        raise DataError(
            f"{where}, column {column!r}: {first['msg'].lower()}; columns with a value: "
            f"{', '.join(map(str, row)) or 'none'}"
        ) from error
    return Prompt(
        id,
        ({"role": "user", "content": read.question},),
        read.answer,
        cluster=read.cluster or id,
        side="forget",
        facts=(read.fact,) if read.fact else (),
    )
