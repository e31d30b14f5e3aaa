"""Whether what a notebook's results follow from is still what it was, so that it need not run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import leakrepro
from leakrepro import info
from leakrepro.profiles.schema import Profile
from leakrepro.storage.keys import digest

Basis = dict[str, str]


def basis_of(settings: Profile) -> Basis:
    """Digests of all but files of data that the results of a profile follow from, by their names.

    ``package``: every file of the installed package; ``environment``: what ``leakrepro info``
    tells, and which benchmark files are read.
    """
    return {
        "package": _package(),
        "environment": digest([info.describe(), os.environ.get("LEAKREPRO_DATA")]),
        "profile": digest(settings.model_dump(mode="json")),
    }


def with_notebook(basis: Basis, notebook: Path, parameters: Mapping[str, Any]) -> Basis:
    """The basis of one notebook: its own file and its parameters too."""
    return {
        **basis,
        "notebook": hashlib.blake2b(notebook.read_bytes(), digest_size=16).hexdigest(),
        "parameters": digest(dict(parameters)),
    }


def stamp(path: Path) -> str | None:
    """Size and time of a file, or of all files below a folder; None for what is not there.

    As ``make`` does it: contents are not read, which for samples of the paper's size takes minutes.
    ``leakrepro verify`` reads them.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("[!.]*") if file.is_file())
        return digest([[str(file.relative_to(path)), stamp(file)] for file in files])
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return f"{state.st_size}-{state.st_mtime_ns}"


def what_changed(record: Mapping[str, Any], basis: Basis, home: Path) -> str | None:
    """Why a notebook has to run again; None when nothing has changed.

    Args:
        record: Of its last run, from ``reproduce.read_records``. ``record["files"]`` maps paths,
            seen from ``home``, to their stamps; an empty one asks only that the file is there.
        basis: From ``with_notebook``.
        home: ``LEAKREPRO_HOME``.
    """
    if record["status"] != "ok":
        return "its last run failed"
    for name, value in basis.items():
        if record["basis"].get(name) != value:
            return f"the {name} changed"
    for path, kept in record["files"].items():
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
