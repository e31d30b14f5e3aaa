"""Adaptive sampling: plans that draw fewer samples where few are enough, and stay unbiased."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class AdaptivePlan:
    """Stops sampling a prompt that has leaked often enough. For 0/1 scores.

    The samples of a prompt are looked at when there are 8, 16, 24, 32, then every 16, and ``cap``
    of them; it stops at the first look with ``hits`` leaks or more, else at ``cap``. This boundary
    is fixed before anything is drawn, and no prompt stops without a leak before ``cap``, so that
    leak@k has an unbiased estimate for every ``k <= cap``: of all equally likely orders of hits and
    misses that lead to where a prompt stopped, the share with a hit among the first k (path
    counting; Girshick, Mosteller and Savage, "Unbiased Estimates for Certain Binomial Sampling
    Problems", 1946).

    >>> AdaptivePlan(hits=2, cap=70).looks
    (8, 16, 24, 32, 48, 64, 70)

    Args:
        hits: Leaks after which a prompt is left alone, at least 1. More draw more and vary less.
        cap: Samples of a prompt at most, and the largest k that has an estimate. The largest k of
            interest is the cheapest choice.

    Raises:
        ValueError: for a number below 1, or more hits than ``cap``.
    """

    hits: int = 2
    cap: int = 200

    def __post_init__(self) -> None:
        if self.hits < 1 or self.cap < self.hits:
            raise ValueError(f"hits must be from 1 to cap, not {self.hits} with cap {self.cap}")

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of samples at which a prompt may stop, rising; the last is ``cap``."""
        every = (*range(8, 32, 8), *range(32, self.cap, 16))
        return (*(look for look in every if self.hits <= look < self.cap), self.cap)

    def stops(self, hits: int, drawn: int) -> bool:
        """Whether a prompt with so many hits among so many samples is finished at this look."""
        return hits >= self.hits or drawn >= self.cap

    def leak(self, scores: NDArray[np.float64], ks: Sequence[int]) -> NDArray[np.float64]:
        """Unbiased leak@k of one prompt, [len(ks)], from its 0/1 scores in the order drawn.

        Raises:
            ValueError: for a score other than 0 and 1, and for samples that do not end this plan.
        """
        if not np.isin(scores, (0.0, 1.0)).all():
            raise ValueError("an AdaptivePlan needs scores of 0 and 1; PilotPlan takes any")
        n = int(scores.size)
        before = [look for look in self.looks if look < n]
        if (
            n not in self.looks
            or not self.stops(int(scores.sum()), n)
            or any(self.stops(int(scores[:look].sum()), look) for look in before)
        ):
            raise ValueError(f"{n} samples with {int(scores.sum())} hits do not end {self}")
        hits = int(scores.sum())
        return np.array([_hit_share(self, n, hits, int(k)) for k in ks])


@dataclass(frozen=True)
class PilotPlan:
    """Sets each prompt's number of samples by a pilot, whose samples are then thrown away.

    For scores of any kind. Prompts get samples in proportion to the standard deviation of their
    pilot scores (Neyman allocation), between ``least`` and ``cap``. Since the pilot is not used
    again, the numbers do not depend on the samples that are scored, and the ordinary estimator is
    unbiased.

    Args:
        pilot: Samples a prompt in the pilot, at least 2.
        least: Samples a prompt at least; the largest k.
        cap: Samples a prompt at most.

    Raises:
        ValueError: for numbers out of order.
    """

    pilot: int = 16
    least: int = 128
    cap: int = 200

    def __post_init__(self) -> None:
        if self.pilot < 2 or not 1 <= self.least <= self.cap:
            raise ValueError(f"a pilot needs 2 samples and 1 <= least <= cap, not {self}")

    def counts(self, pilots: Sequence[NDArray[np.float64]]) -> NDArray[np.int64]:
        """Samples of each prompt, [prompts], from the pilot's scores."""
        spread = np.array([scores.std() for scores in pilots])
        share = spread / max(spread.max(), 1e-300)
        counts = np.clip(np.ceil(self.cap * share), self.least, self.cap)
        return np.asarray(counts, np.int64)


Plan = AdaptivePlan | PilotPlan


@functools.cache
def _hit_share(plan: AdaptivePlan, n: int, hits: int, k: int) -> float:
    """Share of the paths to ``(n, hits)`` that have a hit among their first k steps."""
    missing = _paths(plan, k).get((n, hits), 0)
    return float(1 - Fraction(missing, _paths(plan, 0)[n, hits]))


@functools.cache
def _paths(plan: AdaptivePlan, misses: int) -> dict[tuple[int, int], int]:
    """Number of paths to each point ``(samples, hits)`` where the plan stops.

    Paths are orders of hits and misses; only those that begin with so many misses count.
    """
    ends: dict[tuple[int, int], int] = {}
    alive, at = {0: 1}, 0
    for look in plan.looks:
        free = max(0, look - max(at, misses))  # steps that may be a hit
        reached: dict[int, int] = {}
        for hits, paths in alive.items():
            for more in range(free + 1):
                reached[hits + more] = reached.get(hits + more, 0) + paths * math.comb(free, more)
        alive, at = {}, look
        for hits, paths in reached.items():
            if not plan.stops(hits, look):
                alive[hits] = paths
            elif look >= misses:  # a shorter path does not have so many steps
                ends[look, hits] = paths
    return ends
