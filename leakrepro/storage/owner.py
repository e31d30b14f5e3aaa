"""A folder that one process at a time writes into; the others learn which process it is."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from leakrepro.errors import BusyError

OWNER = ".owner.json"


@contextlib.contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Owns a folder, or fails at once. The system frees it when the owner ends for any reason.

    Args:
        folder: An existing folder.

    Raises:
        BusyError: when another process, or another thread of this one, owns it; the message names
            its host, process id, start and command.
        OSError: when the folder is not writable.
    """
    path = folder / OWNER
    descriptor = _take(path)
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, json.dumps(_this_process()).encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def check_free(folder: Path) -> None:
    """Checks that no process owns a folder now. Nothing is written.

    Raises:
        BusyError: as ``owned``.
    """
    path = folder / OWNER
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        _lock(descriptor, path)
    finally:
        os.close(descriptor)


def _take(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(descriptor, path)
            # The previous owner may have removed the file between the two lines above.
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BusyError(
            f"{path.parent} is in use by {_owner(path)}: wait for its end, or stop it"
        ) from error
    except OSError:
        pass  # some network file systems cannot lock files


def _this_process() -> dict[str, str]:
    return {
        "host": socket.gethostname(),
        "process": str(os.getpid()),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(sys.argv),
    }


def _owner(path: Path) -> str:
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        return (
            f"process {owner['process']} on {owner['host']} since {owner['since']} "
            f"({owner['command']})"
        )
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
