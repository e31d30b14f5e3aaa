"""``runs.json`` of a results folder: one entry per notebook, with the digests of its files.

Every entry has a digest of itself, and a digest of each file that belongs to it under ``written``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from leakrepro.errors import StoreError
from leakrepro.storage.atomic import locked, write_atomically
from leakrepro.storage.documents import unreadable
from leakrepro.storage.keys import digest, file_digest

RECORDS = "runs.json"
WRITTEN, DIGEST = "written", "digest"
Entries = dict[str, dict[str, Any]]


def read_entries(folder: Path) -> Entries:
    """All entries of a results folder by name; empty without ``runs.json``.

    Raises:
        StoreError: for a file that does not hold entries, or that cannot be opened.
    """
    path = folder / RECORDS
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise StoreError(_damaged(path, "is not JSON")) from error
    except (OSError, MemoryError) as error:
        raise unreadable(path, error, "delete it") from error
    if not isinstance(content, dict) or not all(isinstance(e, dict) for e in content.values()):
        raise StoreError(_damaged(path, "does not hold one record per notebook"))
    return content


def damaged_record(folder: Path, name: str, error: Exception) -> StoreError:
    """The error for an entry whose fields are not those of a record."""
    what = f"holds a damaged record of {name} ({type(error).__name__}: {error})"
    return StoreError(_damaged(folder / RECORDS, what))


def is_edited(entry: Mapping[str, Any]) -> bool:
    """Whether an entry is another than the one that was written.

    Entries of earlier versions have no digests and cannot be checked.
    """
    return bool({DIGEST, WRITTEN} & entry.keys()) and entry.get(DIGEST) != _digest(entry)


def put_entry(folder: Path, name: str, entry: Mapping[str, Any]) -> None:
    """Adds or replaces one entry; the digests of its files hold in all entries that have them.

    Other processes may change other entries at the same time.

    Raises:
        StoreError: for a ``runs.json`` that is damaged.
        OSError: when the folder cannot be written.
    """

    def change(entries: Entries) -> None:
        entries[name] = dict(entry)
        _renew(entries, entry.get(WRITTEN, {}))

    _update(folder, change, name)


def keep_written(folder: Path, files: Iterable[str], *, name: str | None = None) -> None:
    """Renews the digests of files that were written again, in all entries that they belong to.

    Without ``runs.json``, nothing is kept.

    Args:
        folder: A results folder.
        files: Paths of the files in the folder.
        name: An entry that the files belong to from now on. None adds them to no entry.
    """
    if name is None and not (folder / RECORDS).exists():
        return
    digests = {file: file_digest(folder / file) for file in files}

    def change(entries: Entries) -> None:
        _renew(entries, digests)
        if name is not None:
            entry = entries.setdefault(name, {})
            entry[WRITTEN] = entry.get(WRITTEN, {}) | digests

    _update(folder, change, name)


def _renew(entries: Entries, digests: Mapping[str, str]) -> None:
    for entry in entries.values():
        if written := entry.get(WRITTEN):
            entry[WRITTEN] = written | {f: d for f, d in digests.items() if f in written}


def _update(folder: Path, change: Callable[[Entries], None], own: str | None) -> None:
    """Changes entries and signs them; edited ones, apart from ``own``, stay recognisable."""
    with locked(folder):
        entries = read_entries(folder)
        before = {name: dict(entry) for name, entry in entries.items()}
        change(entries)
        for name, entry in entries.items():
            known = before.get(name)
            if name == own or (entry != known and not is_edited(known or {})):
                entry[DIGEST] = _digest(entry)
        if entries != before:
            write_atomically(folder / RECORDS, json.dumps(entries, indent=1).encode())


def _digest(entry: Mapping[str, Any]) -> str:
    return digest({name: value for name, value in entry.items() if name != DIGEST})


def _damaged(path: Path, what: str) -> str:
    return f"{path} {what}; delete it, the next `leakrepro reproduce` writes it again"
