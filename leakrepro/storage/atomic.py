"""Writing that survives a crash: a final name always has complete content."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

MARKER = "complete.json"


def sync(path: Path) -> None:
    """Forces a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary(path: Path) -> Path:
    """The name under which this process prepares ``path``, in the same folder."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def write_atomically(path: Path, data: bytes) -> None:
    """Writes ``data`` under a temporary name and renames: a kill leaves the old file or the new.

    Raises:
        OSError: when the disk is full or the folder not writable; nothing is left behind then.
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
    """Forces a folder's files to the disk and marks it complete: the last thing before a rename."""
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
    """Whether ``seal`` finished with a folder and every file is still there, at its size."""
    folder = Path(folder)
    try:
        sizes: dict[str, int] = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """An advisory lock on a folder that ends with its process, however that ends."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems lock no folders; there a second writer repeats the work.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
