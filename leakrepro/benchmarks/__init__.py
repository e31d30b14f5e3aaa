"""Benchmarks: evaluation prompts and training sets."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from leakrepro.benchmarks.base import Benchmark
from leakrepro.benchmarks.fictional.authors import fictional
from leakrepro.benchmarks.fictional.chemistry import fictional_chemistry
from leakrepro.benchmarks.fictional.news import fictional_news
from leakrepro.benchmarks.muse import muse_books, muse_news
from leakrepro.benchmarks.tofu import tofu
from leakrepro.benchmarks.user_file import read_prompts
from leakrepro.benchmarks.wmdp import wmdp

_BENCHMARKS: dict[str, Callable[..., Benchmark]] = {
    "fictional": fictional,
    "fictional-chemistry": fictional_chemistry,
    "fictional-news": fictional_news,
    "muse-books": muse_books,
    "muse-news": muse_news,
    "tofu": tofu,
    "wmdp": wmdp,
}


def load_benchmark(name: str, **options: Any) -> Benchmark:
    """Load a benchmark by name.

    >>> load_benchmark("fictional", seed=3).name
    'fictional(seed=3)'

    Args:
        name: ``"fictional"``, ``"fictional-chemistry"``, ``"fictional-news"``, ``"muse-books"``,
            ``"muse-news"``, ``"tofu"`` or ``"wmdp"``.
        **options: Keyword arguments of the function of that name in ``leakrepro.benchmarks``
            (``fictional_news`` for ``"fictional-news"``).

    Returns:
        The benchmark.

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
            f"benchmark {name!r} does not have the option {', '.join(sorted(unknown))}; "
            f"known: {', '.join(known)}"
        )
    return make(**options)


__all__ = [
    "Benchmark",
    "fictional",
    "fictional_chemistry",
    "fictional_news",
    "load_benchmark",
    "muse_books",
    "muse_news",
    "read_prompts",
    "tofu",
    "wmdp",
]
