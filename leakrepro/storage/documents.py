"""JSON files with a checksum, and the error for a file that cannot be read."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from leakrepro.errors import StoreError
from leakrepro.storage.keys import digest, fields

CHECKSUM = "checksum"
# Primary result codes of SQLite that are not about a file's content.
_NOT_CONTENT = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_AUTH,
}


class Document(NamedTuple):
    """A JSON file.

    Attributes:
        content: Its content without the checksum.
        has_checksum: Whether it has a checksum, which is right then.
    """

    content: dict[str, Any]
    has_checksum: bool


def unreadable(path: Path, error: BaseException, remedy: str) -> StoreError:
    """Return the error for a file that could not be read.

    A file is called damaged only if its content is at fault. Missing permission, too many open
    files, too little memory and threads that cannot be started say nothing about the content.

    Args:
        path: The file or folder.
        error: What reading it has raised.
        remedy: What to do about a damaged file.
    """
    if _is_about_content(error):
        return StoreError(f"{path} is damaged ({error}): {remedy}")
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return StoreError(f"{path} could not be opened: {reason}; nothing is known to be damaged")


def _is_about_content(error: BaseException) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF not in _NOT_CONTENT
    if isinstance(error, OSError):
        return error.errno is None  # pyarrow raises OSError for damaged files as well
    if isinstance(error, RecursionError):
        return True
    return not isinstance(error, MemoryError | RuntimeError)  # "can't start new thread"


def plain(content: Any) -> Any:
    """Return a value after a round trip through JSON."""
    return json.loads(json.dumps(content, default=fields))


def dump_document(content: Mapping[str, Any]) -> bytes:
    """Return the bytes of a JSON file with a checksum of its content."""
    held = plain(dict(content))
    held[CHECKSUM] = digest(held)
    return (json.dumps(held, indent=1, ensure_ascii=False) + "\n").encode()


def read_document(path: Path, remedy: str) -> Document:
    """Read a JSON object; a checksum in it must match the content.

    Args:
        path: The file.
        remedy: What to do about a damaged file, for the message.

    Raises:
        FileNotFoundError: If there is no such file.
        StoreError: If the file is damaged or could not be opened.
    """
    try:
        content = json.loads(path.read_bytes().decode(), parse_constant=_refuse)
        if not isinstance(content, dict):
            raise ValueError("it is not a JSON object")
        kept = content.pop(CHECKSUM, None)
        if kept is not None and kept != digest(content):
            raise ValueError("its checksum does not match its content")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(f"{path} does not exist") from error
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise unreadable(path, error, remedy) from error
    return Document(content, kept is not None)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
