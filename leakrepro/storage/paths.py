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
    """
    if "LEAKREPRO_HOME" not in os.environ and Path.cwd().name == "notebooks":
        return Path.cwd().parent / "runs"
    return Path(os.environ.get("LEAKREPRO_HOME", "runs"))


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
    """A local copy of the benchmark files (``LEAKREPRO_DATA``), or None for the hub."""
    value = os.environ.get("LEAKREPRO_DATA")
    return Path(value) if value else None
