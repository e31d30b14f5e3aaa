"""All paths that the package reads from or writes to."""

from __future__ import annotations

import os
from pathlib import Path


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
    """Tables, figures and executed notebooks of a profile."""
    return home() / profile


def data() -> Path | None:
    """A local copy of the benchmark files (``LEAKREPRO_DATA``), or None for the hub."""
    value = os.environ.get("LEAKREPRO_DATA")
    return Path(value) if value else None
