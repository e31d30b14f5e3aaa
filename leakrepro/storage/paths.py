"""All paths that the package reads from or writes to."""

from __future__ import annotations

import os
import re
from pathlib import Path

# Folders of LEAKREPRO_HOME that are not results of a profile, and names that Windows reserves.
_RESERVED = {
    *("models", "samples", "scores", "digests", "con", "prn", "aux", "nul"),
    *(f"{port}{i}" for port in ("com", "lpt") for i in range(1, 10)),
}
_NAME = re.compile(r"\w(?:[\w .+=,@()-]*[\w+=@()-])?")


def home() -> Path:
    """The folder of all runs: ``LEAKREPRO_HOME``, by default ``./runs``.

    A notebook that is opened in ``notebooks/`` runs in that folder. It uses ``../runs``, where
    ``leakrepro reproduce`` writes.

    Raises:
        ValueError: when ``LEAKREPRO_HOME`` is not a folder and cannot become one.
    """
    named = _folder("LEAKREPRO_HOME")
    if named is None and Path.cwd().name == "notebooks":
        return Path.cwd().parent / "runs"
    return named or Path("runs")


def models() -> Path:
    """Trained models, one folder per recipe (its hash is in the name)."""
    return home() / "models"


def samples() -> Path:
    """Sample stores, one folder per key."""
    return home() / "samples"


def scores() -> Path:
    """Scores of model-based metrics, one file per metric."""
    return home() / "scores"


def results(profile: str) -> Path:
    """Tables, figures and executed notebooks of a profile.

    Args:
        profile: Name of the profile or run.

    Raises:
        ValueError: If the name is not one of a folder under ``LEAKREPRO_HOME``.
    """
    if problem := name_problem(profile):
        raise ValueError(f"{profile!r} cannot be the name of a run: {problem}")
    return home() / profile


def name_problem(name: str, longest: int = 180) -> str | None:
    """Return why results cannot have this name, or None if they can.

    Args:
        name: Name of a profile or run.
        longest: Maximum number of characters.
    """
    if len(name) > longest or not _NAME.fullmatch(name):
        return (
            f"it must be at most {longest} letters, digits and signs of ' .+=,@()-_', and begin "
            "with a letter or digit"
        )
    if name.partition(".")[0].casefold() in _RESERVED:
        return "the name is reserved"
    return None


def data() -> Path | None:
    """A local copy of the benchmark files (``LEAKREPRO_DATA``), or None for the hub.

    Raises:
        ValueError: when ``LEAKREPRO_DATA`` is not a folder and cannot become one.
    """
    return _folder("LEAKREPRO_DATA")


def _folder(variable: str) -> Path | None:
    """The folder that an environment variable names; None if it is empty or not set."""
    value = os.environ.get(variable, "").strip()
    if not value:
        return None
    try:
        path = Path(value).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{variable}={value!r}: {error}; write the folder's full path") from error
    for existing in (path, *path.parents):
        if existing.is_dir():
            break
        if existing.exists():
            raise ValueError(
                f"{variable}={value!r}: {existing} is a file; name a folder, or unset {variable}"
            )
    return path
