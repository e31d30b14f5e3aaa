"""Calls of other libraries that read a model's files: one kind of error, and no output."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from leakrepro.errors import ModelError

_LONGEST = 300  # characters of the library's own message
# tokenizers and safetensors are written in Rust. Their panics derive from BaseException.
_PANIC = "PanicException"


@contextlib.contextmanager
def reading(path: str | Path, what: str) -> Iterator[None]:
    """Turns any error of another library into one ModelError that names the folder.

    Errors of this package, interrupts and exhausted memory pass unchanged.

    Args:
        path: The model's folder, or the name of a model in memory.
        what: What is read, for the message, such as ``"tokenizer"``.

    Raises:
        ModelError: When the library raises an error, or panics.
    """
    try:
        yield
    except (ModelError, MemoryError, torch.OutOfMemoryError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != _PANIC:
            raise
        raise ModelError(f"{path}: the {what} cannot be read: {_reason(error)}") from error


@contextlib.contextmanager
def no_progress_bars() -> Iterator[None]:
    """Hide transformers' progress bars for loading and saving."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


@contextlib.contextmanager
def no_warnings() -> Iterator[None]:
    """Hide what transformers logs, for calls whose result is checked."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)


def _reason(error: BaseException) -> str:
    """The library's message in one short line, with the kind of error."""
    text = " ".join(str(error).split())
    if "trust_remote_code" in text:
        return "it needs the Python code of its folder or repository, which is never run"
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
