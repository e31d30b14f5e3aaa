"""Writing that survives a crash: a final name always has complete content."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


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
