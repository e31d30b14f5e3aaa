"""Errors that callers may want to tell apart. Bad arguments are plain ``ValueError``."""

from __future__ import annotations

import importlib.util


class DataError(ValueError):
    """A benchmark file that cannot be read; the message names the file and the line."""


class StoreError(RuntimeError):
    """A sample store that is torn, foreign, or cannot be written."""


class IncompleteScores(RuntimeError):
    """Some items could not be scored; those that could stay cached."""


class MissingExtra(ImportError):
    """An optional part that is not installed; the message gives the command."""


class NotebookError(RuntimeError):
    """A notebook that failed; the message gives its cell and error."""


def installed(module: str) -> bool:
    """Whether a package is installed; a folder of its name that happens to be near is none."""
    found = importlib.util.find_spec(module)
    return found is not None and found.origin is not None


def require(module: str, what: str, extra: str) -> None:
    """Raises MissingExtra with the command that installs ``extra``, unless ``module`` is there."""
    if not installed(module):
        raise MissingExtra(f'{what} needs {module}: pip install "leakrepro[{extra}]"')
