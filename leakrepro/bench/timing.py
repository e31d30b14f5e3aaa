"""Interleaved timing: in each round every contestant runs once, and each round starts elsewhere."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from leakrepro.bench.contestants import Contestant


class Different(AssertionError):
    """Two contestants gave different results for one pair."""


@dataclass(frozen=True)
class Timing:
    """Nanoseconds a pair of one contestant, ``[rounds]``."""

    contestant: Contestant
    ns: NDArray[np.float64]

    @property
    def median(self) -> float:
        return float(np.median(self.ns))

    @property
    def quartiles(self) -> tuple[float, float]:
        low, high = np.quantile(self.ns, [0.25, 0.75])
        return float(low), float(high)

    def times(self, first: Timing) -> tuple[float, float, float]:
        """How many times slower than another: median, least and most over paired rounds."""
        ratios = self.ns / first.ns
        return float(np.median(ratios)), float(ratios.min()), float(ratios.max())


def time_all(
    contestants: Sequence[Contestant], *, rounds: int, least: float, progress: tqdm[Any]
) -> list[Timing]:
    """Times every contestant in every round.

    Args:
        contestants: Who runs.
        rounds: How often.
        least: A measurement repeats a call until it took so many seconds.
        progress: Moved on by 1 for each measurement.

    Raises:
        Different: when contestants of a section disagree; the pair's number is in the message.
    """
    check_equal(contestants)  # and warms everything up
    ns = np.empty((len(contestants), rounds))
    for r in range(rounds):
        for turn in range(len(contestants)):
            i = (turn + r) % len(contestants)
            ns[i, r] = _ns(contestants[i], least)
            progress.update()
    return [Timing(contestant, ns[i]) for i, contestant in enumerate(contestants)]


def _ns(contestant: Contestant, least: float) -> float:
    spent, calls = 0.0, 0
    gc.collect()
    gc.disable()
    try:
        while spent < least or calls == 0:
            if contestant.before is not None:
                contestant.before()
            began = time.perf_counter()
            contestant.run()
            spent += time.perf_counter() - began
            calls += 1
    finally:
        gc.enable()
    return 1e9 * spent / calls / contestant.pairs


def check_equal(contestants: Sequence[Contestant]) -> None:
    """Compares the results of each section, bit for bit, or as float32 where one has no more.

    Raises:
        Different: naming two contestants, the pair and what each gave.
    """
    first: dict[str, tuple[str, NDArray[np.float64]]] = {}
    for contestant in contestants:
        values = contestant.values(contestant.run())
        name, expected = first.setdefault(contestant.section, (contestant.name, values))
        count = min(len(values), len(expected))
        a, b = values[:count], expected[:count]
        if contestant.exact:
            same = (a.view(np.int64) == b.view(np.int64)).all(axis=1)
        else:
            same = (a.astype(np.float32) == b.astype(np.float32)).all(axis=1)
        if len(values) != contestant.pairs or not same.all():
            wrong = int(np.argmin(same)) if not same.all() else count
            raise Different(
                f"{contestant.name} and {name} differ at pair {wrong}: "
                f"{a[wrong : wrong + 1].tolist()} and {b[wrong : wrong + 1].tolist()}"
            )
