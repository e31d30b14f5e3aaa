"""Decide whether a notebook is up to date."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import leakrepro
from leakrepro import info
from leakrepro.profiles.schema import Profile
from leakrepro.reproduction.record import RunRecord
from leakrepro.storage.keys import digest, file_digest

Basis = dict[str, str]


def basis_of(settings: Profile) -> Basis:
    """Digests of everything except data files that determines a profile's results.

    Args:
        settings: The profile.

    Returns:
        ``package``: digest of every file of the installed package; ``environment``: of what
        ``leakrepro info`` prints and of ``LEAKREPRO_DATA``; ``profile``: of the profile's values.
    """
    return {
        "package": _package(),
        "environment": digest([info.describe(), os.environ.get("LEAKREPRO_DATA")]),
        "profile": digest(settings.model_dump(mode="json")),
    }


def with_notebook(basis: Basis, notebook: Path, parameters: Mapping[str, Any]) -> Basis:
    """The basis with the digests of one notebook's file and parameters."""
    return {
        **basis,
        "notebook": file_digest(notebook),
        "parameters": digest(dict(parameters)),
    }


def stamp(path: Path) -> str | None:
    """Size and modification time of a file, or of all files below a folder; None if it is missing.

    Contents are not read, because reading samples of the paper's size takes minutes. ``leakrepro
    verify`` reads them.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("[!.]*") if file.is_file())
        return digest([[str(file.relative_to(path)), stamp(file)] for file in files])
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return f"{state.st_size}-{state.st_mtime_ns}"


def what_changed(record: RunRecord, basis: Basis, home: Path) -> str | None:
    """The reason why a notebook has to run again; None when it is up to date.

    Args:
        record: The notebook's last run.
        basis: The notebook's basis now, from ``with_notebook``.
        home: ``LEAKREPRO_HOME``, to which the paths of the record are relative.
    """
    if record.status != "ok":
        return "its last run failed"
    for name, value in basis.items():
        if record.basis.get(name) != value:
            return f"the {name} changed"
    for path, kept in record.files.items():
        now = stamp(home / path)
        if now is None:
            return f"{path} is missing"
        if kept not in ("", now):
            return f"{path} changed"
    return None


def _package() -> str:
    root = Path(leakrepro.__file__).parent
    seen = hashlib.blake2b(digest_size=16)
    for file in sorted(root.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            seen.update(f"{file.relative_to(root)} {file.stat().st_size}\0".encode())
            seen.update(file.read_bytes())
    return seen.hexdigest()
