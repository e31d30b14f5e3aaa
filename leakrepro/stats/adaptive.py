"""Adaptive sampling plans: fewer samples where few are enough, with unbiased estimates."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from leakrepro.stats.checks import whole_number


@dataclass(frozen=True)
class AdaptivePlan:
    """Stops sampling a prompt once it has leaked often enough. For 0/1 scores.

    A prompt's samples are checked after 8, 16, 24 and 32 samples, then after every 16, and at
    ``cap``. Sampling stops at the first look with at least ``hits`` leaks, otherwise at ``cap``.
    The looks are fixed in advance, and a prompt without a leak never stops before ``cap``.
    Therefore leak@k has an unbiased estimate for every ``k <= cap``: among all equally likely
    orders of hits and misses that lead to the stopping point, the share of orders with a hit among
    the first k (path counting; Girshick, Mosteller and Savage, "Unbiased Estimates for Certain
    Binomial Sampling Problems", 1946).

    >>> AdaptivePlan(hits=2, cap=70).looks
    (8, 16, 24, 32, 48, 64, 70)

    Args:
        hits: Number of leaks after which sampling of a prompt stops, at least 1. A larger number
            costs more samples and gives a smaller variance.
        cap: Maximum number of samples per prompt, and the largest k with an estimate. The largest
            k of interest is the cheapest choice.

    Raises:
        ValueError: If ``hits`` is below 1 or above ``cap``.
        TypeError: If a number is not an integer.
    """

    hits: int = 2
    cap: int = 200

    def __post_init__(self) -> None:
        _check_whole(self, "hits", "cap")
        if self.hits < 1 or self.cap < self.hits:
            raise ValueError(f"hits must be between 1 and cap ({self.cap}), got {self.hits}")

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of samples at which a prompt may stop, increasing; the last is ``cap``."""
        every = (*range(8, 32, 8), *range(32, self.cap, 16))
        return (*(look for look in every if self.hits <= look < self.cap), self.cap)

    def stops(self, hits: int, drawn: int) -> bool:
        """Return whether a prompt stops at a look with ``hits`` leaks in ``drawn`` samples."""
        return hits >= self.hits or drawn >= self.cap

    def leak(self, scores: NDArray[np.float64], ks: Sequence[int]) -> NDArray[np.float64]:
        """Return the unbiased leak@k of one prompt.

        Args:
            scores: 0/1 scores of the prompt in sampling order, [samples].
            ks: Sample counts, none above ``cap``.

        Returns:
            Estimates, [len(ks)].

        Raises:
            ValueError: If a score is neither 0 nor 1, or if sampling under this plan would not
                have stopped after exactly these samples.
        """
        if not np.isin(scores, (0.0, 1.0)).all():
            raise ValueError(
                "an AdaptivePlan needs scores of 0 and 1; a PilotPlan takes any scores"
            )
        n = int(scores.size)
        before = [look for look in self.looks if look < n]
        if (
            n not in self.looks
            or not self.stops(int(scores.sum()), n)
            or any(self.stops(int(scores[:look].sum()), look) for look in before)
        ):
            raise ValueError(f"{self} does not stop at {n} samples with {int(scores.sum())} hits")
        hits = int(scores.sum())
        return np.array([_hit_share(self, n, hits, int(k)) for k in ks])


@dataclass(frozen=True)
class PilotPlan:
    """Sets each prompt's number of samples from a pilot, whose samples are then discarded.

    For any scores. The number of samples per prompt is proportional to the standard deviation of
    its pilot scores (Neyman allocation), between ``least`` and ``cap``. The pilot is not reused, so
    these numbers do not depend on the scored samples and the ordinary estimator is unbiased.

    Args:
        pilot: Samples per prompt in the pilot, at least 2.
        least: Minimum number of samples per prompt, and the largest k.
        cap: Maximum number of samples per prompt.

    Raises:
        ValueError: If ``pilot`` is below 2, or unless ``1 <= least <= cap``.
        TypeError: If a number is not an integer.
    """

    pilot: int = 16
    least: int = 128
    cap: int = 200

    def __post_init__(self) -> None:
        _check_whole(self, "pilot", "least", "cap")
        if self.pilot < 2 or not 1 <= self.least <= self.cap:
            raise ValueError(f"a PilotPlan needs pilot >= 2 and 1 <= least <= cap, got {self}")

    def counts(self, pilots: Sequence[NDArray[np.float64]]) -> NDArray[np.int64]:
        """Return the number of samples of each prompt, [prompts], given the pilot scores.

        Raises:
            ValueError: If a prompt does not have pilot scores, or a score is nan or outside [0, 1].
        """
        for i, scores in enumerate(pilots):
            if not np.size(scores) or not ((scores >= 0) & (scores <= 1)).all():
                raise ValueError(f"prompt {i}: pilot scores must be in [0, 1], got {scores}")
        spread = np.array([scores.std() for scores in pilots])
        share = spread / max(spread.max(), 1e-300)
        counts = np.clip(np.ceil(self.cap * share), self.least, self.cap)
        return np.asarray(counts, np.int64)


Plan = AdaptivePlan | PilotPlan


def check_plan(plan: object) -> None:
    """Raise TypeError unless ``plan`` is a plan or None."""
    if plan is not None and not isinstance(plan, Plan):
        raise TypeError(
            f"plan must be an AdaptivePlan, a PilotPlan or None, not {plan!r}; without the right "
            "plan the estimate would be biased"
        )


def _check_whole(plan: Plan, *names: str) -> None:
    """Make the fields plain integers; raise TypeError for any other value."""
    for name in names:
        value = getattr(plan, name)
        try:
            object.__setattr__(plan, name, whole_number(value))
        except TypeError:
            raise TypeError(f"{name} must be an integer, not {value!r}") from None


@functools.cache
def _hit_share(plan: AdaptivePlan, n: int, hits: int, k: int) -> float:
    """Return the share of paths to ``(n, hits)`` with a hit among their first k steps."""
    missing = _paths(plan, k).get((n, hits), 0)
    return float(1 - Fraction(missing, _paths(plan, 0)[n, hits]))


@functools.cache
def _paths(plan: AdaptivePlan, misses: int) -> dict[tuple[int, int], int]:
    """Count the paths to each point ``(samples, hits)`` where the plan stops.

    A path is an order of hits and misses. Only paths whose first ``misses`` steps are misses count.
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
            elif look >= misses:  # a shorter path has fewer steps than ``misses``
                ends[look, hits] = paths
    return ends
