"""Models by name. Profiles make them; the rooms below profiles ask for them through this module.

A function that takes a model also takes a name such as ``"Original"``, which the profile of the
benchmark explains. Profiles build on sampling and unlearning, so that these cannot import profiles.
``leakrepro/__init__.py`` connects the two.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from leakrepro.benchmarks.base import Benchmark

_provider = ""


class Provider(Protocol):
    """What the module that makes models by name provides."""

    def known_names(self, benchmark: Benchmark) -> list[str]:
        """Names of the models that are made for a benchmark."""
        ...

    def make_named(self, name: str, benchmark: Benchmark) -> Path:
        """The folder of a model, made now or before."""
        ...

    def options_for(self, model: Any, benchmark: Benchmark, method: str) -> tuple[Any, str]:
        """Options of an unlearning method, and a phrase that says where they come from."""
        ...


def register(module: str) -> None:
    """Names the module that makes models by name; it is imported when a name is first used."""
    global _provider
    _provider = module


def provider() -> Provider:
    """The registered module."""
    return cast(Provider, importlib.import_module(_provider))
