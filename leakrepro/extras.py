"""Optional parts of an installation."""

from __future__ import annotations

import importlib.util

from leakrepro.errors import MissingExtra


def installed(module: str) -> bool:
    """Whether a package is installed; a folder of its name that happens to be near is none."""
    found = importlib.util.find_spec(module)
    return found is not None and found.origin is not None


def require(module: str, what: str, extra: str) -> None:
    """Raises MissingExtra with the command that installs ``extra``, unless ``module`` is there."""
    if not installed(module):
        raise MissingExtra(f'{what} needs {module}: pip install "leakrepro[{extra}]"')
