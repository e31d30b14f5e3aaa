"""Reading benchmark files: a local copy (``LEAKREPRO_DATA``) or the hub, with the same errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from leakrepro import paths
from leakrepro.errors import DataError

Row = Mapping[str, Any]


def read_rows(
    repo: str,
    folder: str,
    config: str,
    columns: Sequence[str],
    *,
    split: str = "train",
    revision: str | None = None,
    check: Callable[[Row], str | None] | None = None,
) -> list[Row]:
    """The rows of one configuration of a benchmark, in order.

    ``LEAKREPRO_DATA/<folder>/<config>.json`` (JSON Lines) where that variable is set, else a split
    on the hub.

    Args:
        repo: Dataset id on the hub.
        folder: The benchmark's folder in a local copy.
        config: Name of the configuration, which is also the local file's stem.
        columns: Columns that every row must have, as text.
        split: The split on the hub.
        revision: Commit of the hub's repository.
        check: What else is wrong with a row, such as with its columns that are no text; None for
            nothing.

    Raises:
        DataError: a file or row that cannot be read (named), or a hub that cannot be reached.
    """
    root = paths.data()
    if root is None:
        rows = _from_hub(repo, config, split, revision)
        return _check(rows, columns, check, f"{repo} {config}, row")
    path = root / folder / f"{config}.json"
    return _check(_from_file(path), columns, check, f"{path}, line")


def _from_file(path: Path) -> Iterable[tuple[int, Any]]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror}; LEAKREPRO_DATA must name a folder with the hub's files, "
            "or be unset to download them"
        ) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise DataError(f"{path}, line {number}: not UTF-8 ({error.reason})") from error
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {number}: not JSON ({error})") from error


def _from_hub(
    repo: str, config: str, split: str, revision: str | None
) -> Iterable[tuple[int, Any]]:
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
        if check is not None and (wrong := check(row)):
            raise DataError(f"{where} {number}: {wrong}")
        checked.append(row)
    if not checked:
        raise DataError(f"{where.rpartition(',')[0]}: no rows")
    return checked
