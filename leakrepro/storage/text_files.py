"""Reading text files of a user: UTF-8 text, JSON Lines and CSV, with errors that name the line."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from leakrepro.errors import DataError
from leakrepro.types import unpaired_surrogate

_CELL_LIMIT = 2**31 - 1  # characters; the csv module's default is 131,072
_CSV_LIMIT = threading.Lock()


def read_utf8(path: Path, hint: str = "") -> str:
    """Return the text of a UTF-8 file, without a byte order mark.

    Args:
        path: The file.
        hint: What to do if the file cannot be opened, for the message.

    Raises:
        DataError: If the file cannot be read or is not UTF-8; the message names it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}{hint and f'; {hint}'}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {line}: not UTF-8 ({error.reason})") from error


def json_lines(path: Path, text: str, what: str = "JSON") -> Iterator[tuple[int, Any]]:
    """Yield line number and value of each line of JSON Lines that is not blank.

    Args:
        path: The file, for messages.
        text: Its content.
        what: What a line should be, for messages.

    Raises:
        DataError: If a line is not JSON, has ``NaN``, an infinite number, one name twice in an
            object, or an unpaired surrogate. The message names the line and the field.
    """
    # Not splitlines(), which also splits at separators that JSON strings may contain.
    for number, line in enumerate(re.split("\r\n?|\n", text), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=_object)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {number}: not {what} ({error})") from error
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: {error}") from error
        if problem := _problem(value):
            raise DataError(f"{path}, line {number}{problem}")
        yield number, value


def csv_rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and cells of each row of a CSV file with a header.

    Cells keep their text: ``NA`` and ``null`` are words. Empty cells are omitted.

    Args:
        path: The file, for messages.
        text: Its content.

    Raises:
        DataError: If the file is not CSV, a row has more cells than the header, or the header has
            a name twice. The message names the line or the column.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows: list[tuple[int, dict[str, str]]] = []
    try:
        with long_cells():
            names = [(name or "").strip() for name in reader.fieldnames or ()]
            for name in names:
                if name and names.count(name) > 1:
                    raise DataError(
                        f"{path}, line 1: the column {name!r} occurs {names.count(name)} times; "
                        "rename or remove all but one"
                    )
            reader.fieldnames = names
            for row in reader:
                # DictReader stores cells beyond the header under the key None.
                if None in row:
                    raise DataError(
                        f"{path}, line {reader.line_num}: more cells than the header has"
                    )
                cells = {name: cell for name, cell in row.items() if cell}
                rows.append((reader.line_num, cells))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.reader.line_num}: not CSV ({error})") from error
    yield from rows


@contextlib.contextmanager
def long_cells() -> Iterator[None]:
    """Let the csv module read cells of any length; its limit is one for the whole process."""
    with _CSV_LIMIT:
        before = csv.field_size_limit(_CELL_LIMIT)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the field {name!r} occurs twice in one object")
        found[name] = value
    return found


def _problem(value: Any, field: str = "") -> str | None:
    """What is wrong with a JSON value, with the path of its field; None if nothing is."""
    where = f", {field!r}" if field else ""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{where}: {value} is not a JSON number; leave the field out if it has no value"
    if isinstance(value, str) and (found := unpaired_surrogate(value)):
        return f"{where}: unpaired surrogate {found}; the text is not valid Unicode"
    if isinstance(value, dict):
        named = ((f"{field}.{name}" if field else name, each) for name, each in value.items())
        problems = (
            _problem(name, f"{field}.<name>" if field else "<name>") or _problem(each, path)
            for (path, each), name in zip(named, value, strict=True)
        )
    elif isinstance(value, list):
        problems = (_problem(each, f"{field}[{i}]") for i, each in enumerate(value))
    else:
        return None
    return next(filter(None, problems), None)
