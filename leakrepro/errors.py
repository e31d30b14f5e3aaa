"""Errors that callers may want to tell apart. Bad arguments are plain ``ValueError``."""

from __future__ import annotations


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
