"""Leaking samples per prompt."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leakrepro.stats.checks import check_scores
from leakrepro.stats.estimator import LeakCurve, leak_at_k
from leakrepro.types import Scores


@dataclass(frozen=True, eq=False)
class LeakCounts:
    """Number of leaking samples per prompt.

    Attributes:
        counts: Leaking samples of each prompt, int64 [prompts].
        samples: Samples of each prompt, int64 [prompts].
        threshold: A sample leaks if its score is at least this.
        average: Mean share of leaking samples (leak@1) with its interval, one value.
        ever: Share of prompts with at least one leaking sample, with its interval. None if prompts
            have different numbers of samples, because the share depends on that number.
    """

    counts: NDArray[np.int64]
    samples: NDArray[np.int64]
    threshold: float
    average: LeakCurve
    ever: LeakCurve | None

    def histogram(self, edges: Sequence[int]) -> NDArray[np.int64]:
        """Return the number of prompts with ``edges[i] <= count < edges[i + 1]``.

        >>> leak_counts([[0, 1], [0, 0], [1, 1]]).histogram([0, 1, 2, 3]).tolist()
        [1, 1, 1]

        Args:
            edges: Strictly increasing numbers of leaking samples, at least two.

        Returns:
            int64 [len(edges) - 1].

        Raises:
            ValueError: If the edges do not increase, or if a prompt's count is outside them.
        """
        if len(edges) < 2 or list(edges) != sorted(set(edges)):
            raise ValueError(f"edges must be strictly increasing, got {list(edges)}")
        found, _ = np.histogram(self.counts, [*edges[:-1], edges[-1] - 0.5])
        if found.sum() != self.counts.size:
            raise ValueError(
                f"edges from {edges[0]} to {edges[-1]} do not cover all prompts, which have "
                f"{self.counts.min()} to {self.counts.max()} leaks"
            )
        return np.asarray(found, np.int64)


def leak_counts(
    scores: Scores | ArrayLike | Iterable[ArrayLike],
    threshold: float = 1.0,
    *,
    confidence: float = 0.95,
    clusters: Sequence[Hashable] | None = None,
    rng: int | np.random.Generator = 0,
) -> LeakCounts:
    """Count the leaking samples of each prompt.

    >>> leak_counts([[0, 1, 1], [0, 0, 0]]).counts.tolist()
    [2, 0]

    Args:
        scores: Scores in [0, 1], prompts x samples.
        threshold: A sample leaks if its score is at least this, in (0, 1].
        confidence: Level of the intervals, in (0, 1).
        clusters: One label per prompt; prompts with the same label depend on each other.
        rng: Seed or generator of the bootstrap weights.

    Raises:
        ValueError: If the scores are empty, a score is nan or outside [0, 1], a prompt does not
            have samples, ``threshold`` is outside (0, 1], ``confidence`` is outside (0, 1), or
            ``clusters`` does not have one label per prompt.
        TypeError: If ``rng`` is None.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in (0, 1], got {threshold}")
    checked = check_scores(scores)
    leaks = Scores((checked.values >= threshold).astype(np.float64), checked.offsets)
    n, most = int(checked.counts.min()), int(checked.counts.max())

    def at(k: int) -> LeakCurve:
        return leak_at_k(leaks, k, confidence=confidence, clusters=clusters, rng=rng)

    return LeakCounts(
        counts=np.array([int(row.sum()) for row in leaks], np.int64),
        samples=checked.counts,
        threshold=threshold,
        average=at(1),
        ever=at(n) if n == most else None,
    )
