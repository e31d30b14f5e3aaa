"""Errors that callers can distinguish. Invalid arguments raise a plain ``ValueError``."""

from __future__ import annotations

import importlib.util


class DataError(ValueError):
    """A benchmark file is invalid; the message names the file and the line."""


class StoreError(RuntimeError):
    """A sample store is corrupt, belongs to another run, or cannot be written."""


class IncompleteScores(RuntimeError):
    """Some samples could not be scored; the scores of the others stay cached."""


class MissingExtra(ImportError):
    """An optional dependency is not installed; the message contains the install command."""


class NotebookError(RuntimeError):
    """A notebook failed; the message contains the cell and the error."""


def installed(module: str) -> bool:
    """Return whether a package is installed; a namespace folder of the same name does not count."""
    found = importlib.util.find_spec(module)
    return found is not None and found.origin is not None


def require(module: str, what: str, extra: str) -> None:
    """Raise MissingExtra unless a module is installed.

    Args:
        module: Name of the module.
        what: The feature that needs it, for the message.
        extra: The extra of leakrepro that installs it.

    Raises:
        MissingExtra: If the module is not installed; the message contains the install command.
    """
    if not installed(module):
        raise MissingExtra(f'{what} needs {module}: pip install "leakrepro[{extra}]"')
