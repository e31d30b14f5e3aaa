"""Models by name, for packages that must not import ``leakrepro.profiles``.

A function that takes a model also takes a name such as ``"Original"``, which the profile of the
benchmark defines. Profiles import sampling and unlearning, so these cannot import profiles.
``leakrepro/__init__.py`` registers the module that resolves the names.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from leakrepro.benchmarks.base import Benchmark

_provider = ""


class Provider(Protocol):
    """The functions of the module that makes models by name."""

    def known_names(self, benchmark: Benchmark) -> list[str]:
        """Return the model names of a benchmark."""
        ...

    def make_named(self, name: str, benchmark: Benchmark) -> Path:
        """Return the folder of a model; make it if it does not exist."""
        ...

    def options_for(self, model: Any, benchmark: Benchmark, method: str) -> tuple[Any, str]:
        """Return the options of an unlearning method, and a phrase that names their source."""
        ...


def register(module: str) -> None:
    """Register the module that makes models by name; it is imported on first use."""
    global _provider
    _provider = module


def provider() -> Provider:
    """Return the registered module."""
    return cast(Provider, importlib.import_module(_provider))
