"""Crash-safe writing: a file or folder under its final name is always complete."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import socket
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from leakrepro.storage.documents import unreadable

MARKER = "complete.json"


def sync(path: Path) -> None:
    """Flushes a file, or a folder's list of names, to the disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary(path: Path) -> Path:
    """The temporary name under which this process prepares ``path``, in the same folder."""
    return path.with_name(f".{path.name}.{_this_process()}.tmp")


def remove_drafts(folder: Path) -> None:
    """Removes the files and folders under temporary names whose processes were killed."""
    _remove_dead(folder, ".*.tmp")


def scratch(what: str, place: Path | None = None) -> tempfile.TemporaryDirectory[str]:
    """A new temporary folder, removed at its end; those of killed processes are removed now.

    Args:
        what: Part of the folder's name.
        place: The existing folder in which it is made; None for the system's.
    """
    place = place or Path(tempfile.gettempdir())
    _remove_dead(place, "leakrepro-*")
    return tempfile.TemporaryDirectory(prefix=f"leakrepro-{what}.{_this_process()}.", dir=place)


_PROCESS = re.compile(r"\.([0-9a-f]{8})-([0-9]+)\.")


def _this_process() -> str:
    # Containers that share a file system have the same process ids.
    return f"{zlib.crc32(socket.gethostname().encode()):08x}-{os.getpid()}"


def _remove_dead(folder: Path, pattern: str) -> None:
    """Removes what dead processes of this host have left; all else stays."""
    host = _this_process().partition("-")[0]
    for path in folder.glob(pattern):
        found = _PROCESS.search(path.name)
        if found is None or found[1] != host or _lives(int(found[2])):
            continue
        with contextlib.suppress(OSError):  # of another user
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # a process of another user
    return True


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file under a temporary name and renames it, so a kill leaves the old or new file.

    Args:
        path: The file.
        data: Its new content.

    Raises:
        OSError: when the disk is full or the folder is not writable; no temporary file remains.
    """
    draft = temporary(path)
    try:
        draft.write_bytes(data)
        sync(draft)
        draft.replace(path)
        sync(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def seal(folder: Path) -> None:
    """Flushes a folder's files to the disk and marks it complete; the last step before a rename."""
    sizes = {
        str(file.relative_to(folder)): file.stat().st_size
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    (folder / MARKER).write_text(json.dumps(sizes, indent=1) + "\n", encoding="utf-8")
    for name in (*sizes, MARKER):
        sync(folder / name)
    sync(folder)


def is_sealed(folder: str | Path) -> bool:
    """Whether ``seal`` completed a folder and every file still exists with the same size.

    Raises:
        StoreError: If that could not be found out, for example with too many open files.
    """
    folder = Path(folder)
    try:
        sizes: dict[str, int] = json.loads((folder / MARKER).read_bytes())
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return False
    except (AttributeError, TypeError):  # another JSON text than seal writes
        return False
    except OSError as error:
        raise unreadable(folder / MARKER, error, "make or copy the folder again") from error


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """An advisory lock on a folder; the system releases it when the process ends for any reason."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems cannot lock folders; a second writer then repeats the work.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
