"""Interleaved timing: every contestant runs once per round, and the order rotates over rounds."""

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
    """Two contestants returned different results for the same pair."""


@dataclass(frozen=True)
class Timing:
    """Nanoseconds per pair of one contestant in each round.

    Attributes:
        contestant: The contestant.
        ns: Nanoseconds per pair, ``[rounds]``.
    """

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
        """Time relative to another contestant: median, minimum and maximum over paired rounds."""
        ratios = self.ns / first.ns
        return float(np.median(ratios)), float(ratios.min()), float(ratios.max())


def time_all(
    contestants: Sequence[Contestant], *, rounds: int, least: float, progress: tqdm[Any]
) -> list[Timing]:
    """Time every contestant in every round.

    Args:
        contestants: The contestants.
        rounds: Number of rounds.
        least: Minimum duration of a measurement in seconds; the call is repeated until then.
        progress: Advanced by 1 per measurement.

    Returns:
        One timing per contestant, in the same order.

    Raises:
        Different: if contestants of a section disagree; the message gives the index of the pair.
    """
    check_equal(contestants)  # also the warm-up
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
    """Compare the results of each section.

    They must be equal bit for bit, or after rounding to float32 for contestants that are not exact.

    Args:
        contestants: The contestants.

    Raises:
        Different: if two contestants disagree; the message gives the index of the pair and both
            results.
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
