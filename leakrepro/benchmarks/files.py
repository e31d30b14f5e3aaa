"""Read benchmark files from a local copy (``LEAKREPRO_DATA``) or from the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from leakrepro.errors import DataError, require
from leakrepro.storage import paths, provenance
from leakrepro.storage.text_files import json_lines, read_utf8
from leakrepro.types import unpaired_surrogate

Row = Mapping[str, Any]


def read_rows(
    repo: str,
    folder: str,
    config: str,
    columns: Sequence[str],
    *,
    split: str = "train",
    revision: str | None = None,
    file: str | None = None,
    check: Callable[[Row], str | None] | None = None,
) -> list[Row]:
    """Read the rows of one split of a benchmark, in order.

    Reads ``LEAKREPRO_DATA/<folder>/<file>.json`` (JSON Lines) if that variable is set, and the hub
    otherwise.

    Args:
        repo: Dataset id on the hub.
        folder: The benchmark's folder in a local copy.
        config: Name of the configuration.
        columns: Columns that every row must have, with a string value.
        split: The split on the hub.
        revision: Commit of the hub's repository; None for the newest.
        file: Stem of the local file; None for the configuration's name.
        check: Further validation of a row, for example of its columns that are not strings. It
            returns an error message, or None for a valid row. None skips it.

    Returns:
        At least one row.

    Raises:
        DataError: if a file or row is invalid (the message names it), or the hub cannot be reached.
    """
    root = paths.data()
    if root is None:
        rows = _from_hub(repo, config, split, revision)
        return _check(rows, columns, check, f"{repo} {config} {split}, row")
    path = root / folder / f"{file or config}.json"
    return _check(json_lines(path, _read(path)), columns, check, f"{path}, line")


def read_text(folder: str, name: str) -> str:
    """Read a text file of a local copy, ``LEAKREPRO_DATA/<folder>/<name>``.

    Args:
        folder: The benchmark's folder in the local copy.
        name: File name.

    Returns:
        The content of the file.

    Raises:
        DataError: if the file cannot be read, or ``LEAKREPRO_DATA`` is not set.
    """
    root = paths.data()
    if root is None:
        raise DataError(
            f"{folder}/{name} exists only in a local copy, and LEAKREPRO_DATA is not set"
        )
    return _read(root / folder / name)


def _read(path: Path) -> str:
    provenance.note_file(path)
    return read_utf8(
        path,
        "LEAKREPRO_DATA must name a folder with the hub's files, or be unset to download them",
    )


def _from_hub(
    repo: str, config: str, split: str, revision: str | None
) -> Iterable[tuple[int, Any]]:
    require("datasets", "reading benchmark files from the hub", "train")
    import datasets

    try:
        rows = datasets.load_dataset(repo, config, split=split, revision=revision)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"cannot load {repo} ({config}) from the hub: {reason}; "
            "set LEAKREPRO_DATA to a folder that holds its files to work without the hub"
        ) from error
    yield from enumerate(rows, 1)


def _check(
    rows: Iterable[tuple[int, Any]],
    columns: Sequence[str],
    check: Callable[[Row], str | None] | None,
    where: str,
) -> list[Row]:
    checked: list[Row] = []
    for number, row in rows:
        if not isinstance(row, Mapping):
            raise DataError(f"{where} {number}: expected an object, found {type(row).__name__}")
        for column in columns:
            if not isinstance(row.get(column), str):
                problem = "is not text" if column in row else "is missing"
                raise DataError(f"{where} {number}: {column!r} {problem}")
            if found := unpaired_surrogate(row[column]):
                raise DataError(f"{where} {number}: {column!r} has the unpaired surrogate {found}")
        if check is not None and (wrong := check(row)):
            raise DataError(f"{where} {number}: {wrong}")
        checked.append(row)
    if not checked:
        raise DataError(f"{where.rpartition(',')[0]}: no rows")
    return checked
