"""Benchmarks: who is asked what, and what the models are trained on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from leakrepro.benchmarks.base import Benchmark
from leakrepro.benchmarks.chemistry import chemistry
from leakrepro.benchmarks.fictional import fictional
from leakrepro.benchmarks.tofu import tofu
from leakrepro.benchmarks.wmdp import wmdp

_BENCHMARKS: dict[str, Callable[..., Benchmark]] = {
    "fictional": fictional,
    "fictional-chemistry": chemistry,
    "tofu": tofu,
    "wmdp": wmdp,
}


def load_benchmark(name: str, **options: Any) -> Benchmark:
    """A benchmark by name.

    >>> load_benchmark("fictional", seed=3).name
    'fictional(seed=3)'

    Args:
        name: ``"fictional"``, ``"fictional-chemistry"``, ``"tofu"`` or ``"wmdp"``.
        **options: Keyword arguments of the function of that name in ``leakrepro.benchmarks``
            (``chemistry`` for the second).

    Raises:
        ValueError: for an unknown benchmark or option; the message lists the known ones.
        DataError: for a benchmark file that cannot be read.
    """
    if name not in _BENCHMARKS:
        raise ValueError(f"unknown benchmark {name!r}; known: {', '.join(_BENCHMARKS)}")
    make = _BENCHMARKS[name]
    known = inspect.signature(make).parameters
    if unknown := options.keys() - known.keys():
        raise ValueError(
            f"benchmark {name!r} has no option {', '.join(sorted(unknown))}; "
            f"known: {', '.join(known)}"
        )
    return make(**options)


__all__ = ["Benchmark", "chemistry", "fictional", "load_benchmark", "tofu", "wmdp"]
