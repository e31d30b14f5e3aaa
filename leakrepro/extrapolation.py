"""leak@k beyond the samples that were drawn, and how often prompts leak."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leakrepro.leak import (
    LeakCurve,
    check_confidence,
    check_k,
    check_scores,
    cluster_bootstrap,
    leak_at_k,
)
from leakrepro.posterior import Posterior
from leakrepro.types import Scores

Floats = NDArray[np.float64]

_REFITS = 100


def extrapolate_leak(
    scores: Scores | ArrayLike | Iterable[ArrayLike],
    k: Sequence[int],
    *,
    confidence: float = 0.95,
    clusters: Sequence[Hashable] | None = None,
    rng: np.random.Generator | None = None,
) -> LeakCurve:
    """Estimates leak@k for k above the number of samples, with intervals over prompts.

    No estimate without assumptions reaches beyond n samples: a prompt that never leaked in 200 may
    leak once in 300 or never. The assumption is that prompts are of two kinds whose score
    distributions vary as Dirichlet processes (``leakrepro.posterior``), fitted to the scores of all
    prompts; leak@k is the mean over prompts of its posterior mean, moved so that it meets the
    unbiased estimate at the number of samples. The interval spans the bootstrap over clusters of
    ``leak_at_k`` around two such fits, with one kind of prompts and with two, and the estimates of
    fits to resampled clusters: where the data do not tell the fits apart it is wide. Its lower end
    is never below that of the largest unbiased k, since leak@k rises with k.

    Simulated (``make coverage``; 80 prompts, 400 runs a cell), the nominal 95 % covered .945 to
    .995 up to k = 2 n. Further out it depends on how rare leaks are: at k = 4 n from 50 samples .94
    to .99, but .82 where a prompt leaks with probability .001 on average; at k = 5 n from 200
    samples .925 to .995.

    >>> curve = extrapolate_leak([[0, 0, 0, 1], [0, 0, 0, 0]], k=[8, 16])
    >>> bool((curve.value > 0.5).all())
    True

    Args:
        scores: Scores in [0, 1], prompts x samples.
        k: Rising sample counts; those that have samples get the unbiased estimate.
        confidence: Level of the intervals, in (0, 1).
        clusters: One label a prompt.
        rng: Source of the bootstrap weights; None for ``default_rng(0)``.

    Returns:
        The curve; ``per_prompt`` holds posterior means where k exceeds the samples.

    Raises:
        ValueError: as ``leak_at_k``, but for k above the number of samples.
    """
    check_confidence(confidence)
    checked = check_scores(scores)
    n = int(checked.counts.min())
    ks = check_k(k, np.array([np.iinfo(np.int64).max]))
    inside, beyond = ks[ks <= n], ks[ks > n]

    def unbiased(counts: NDArray[np.int64]) -> LeakCurve:
        return leak_at_k(
            checked, counts.tolist(), confidence=confidence, clusters=clusters, rng=rng
        )

    if not beyond.size:
        return unbiased(ks)
    anchor = unbiased(np.union1d(inside, n))
    fits = [_fit(checked, beyond, anchor.per_prompt[:, -1:], n, kinds) for kinds in (2, 1)]
    ends = [
        cluster_bootstrap(fit, confidence=confidence, clusters=clusters, rng=rng) for fit in fits
    ]
    refitted = _refit(checked, beyond, anchor.per_prompt[:, -1:], n, clusters, rng)
    tails = np.quantile(refitted, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    value = np.clip(fits[0].mean(axis=0), anchor.value[-1], 1)
    low = np.maximum(np.min([ends[0].low, ends[1].low, tails[0]], axis=0), anchor.low[-1])
    high = np.clip(np.max([ends[0].high, ends[1].high, tails[1]], axis=0), anchor.high[-1], 1)
    count = inside.size
    return LeakCurve(
        k=ks,
        value=np.concatenate([anchor.value[:count], value]),
        low=np.concatenate([anchor.low[:count], np.minimum(low, value)]),
        high=np.concatenate([anchor.high[:count], np.maximum(high, value)]),
        stderr=np.concatenate([anchor.stderr[:count], np.maximum(ends[0].stderr, ends[1].stderr)]),
        per_prompt=np.concatenate([anchor.per_prompt[:, :count], np.clip(fits[0], 0, 1)], axis=1),
        confidence=confidence,
        interval="prompts",
        n_clusters=anchor.n_clusters,
        n_samples=n,
    )


def _fit(scores: Scores, ks: NDArray[np.int64], unbiased: Floats, n: int, kinds: int) -> Floats:
    """Posterior means beyond the samples, moved to meet the unbiased ones, [prompts, len(k)]."""
    posterior = Posterior.of(scores, kinds)
    start = posterior.leak(np.array([n]))
    # One prompt's may leave [0, 1]; cut off there, their mean would no longer be right.
    return unbiased + posterior.leak(ks) - start


def _refit(
    scores: Scores,
    ks: NDArray[np.int64],
    unbiased: Floats,
    n: int,
    clusters: Sequence[Hashable] | None,
    rng: np.random.Generator | None,
) -> Floats:
    """Estimates from fits to resampled clusters, [fits, len(k)]: how sure the prior is."""
    rng = np.random.default_rng(0) if rng is None else rng
    members: dict[Hashable, list[int]] = {}
    for i, label in enumerate(range(len(scores)) if clusters is None else clusters):
        members.setdefault(label, []).append(i)
    groups = list(members.values())
    values = []
    for fit in range(_REFITS):
        picked = [i for g in rng.integers(len(groups), size=len(groups)) for i in groups[g]]
        again = Scores.from_rows(scores[i] for i in picked)
        values.append(_fit(again, ks, unbiased[picked], n, 1 + fit % 2).mean(axis=0))
    return np.array(values)


@dataclass(frozen=True, eq=False)
class LeakCounts:
    """How often each prompt leaks among its samples.

    Attributes:
        counts: Leaking samples of each prompt, int64 [prompts].
        samples: Samples of each prompt, int64 [prompts].
        threshold: A sample leaks from this score on.
        average: Mean share of leaking samples (leak@1) with its interval, one value.
        ever: Share of prompts with at least one leak among their samples, with its interval; None
            where prompts have different numbers of samples, of which that share depends.
    """

    counts: NDArray[np.int64]
    samples: NDArray[np.int64]
    threshold: float
    average: LeakCurve
    ever: LeakCurve | None

    def histogram(self, edges: Sequence[int]) -> NDArray[np.int64]:
        """Number of prompts with ``edges[i] <= count < edges[i + 1]``, [len(edges) - 1].

        >>> leak_counts([[0, 1], [0, 0], [1, 1]]).histogram([0, 1, 2, 3]).tolist()
        [1, 1, 1]

        Raises:
            ValueError: for edges that do not rise, or leave out a prompt.
        """
        if len(edges) < 2 or list(edges) != sorted(set(edges)):
            raise ValueError(f"edges must rise, got {list(edges)}")
        found, _ = np.histogram(self.counts, [*edges[:-1], edges[-1] - 0.5])
        if found.sum() != self.counts.size:
            raise ValueError(
                f"edges from {edges[0]} to {edges[-1]} leave out prompts with "
                f"{self.counts.min()} to {self.counts.max()} leaks"
            )
        return np.asarray(found, np.int64)


def leak_counts(
    scores: Scores | ArrayLike | Iterable[ArrayLike],
    threshold: float = 1.0,
    *,
    confidence: float = 0.95,
    clusters: Sequence[Hashable] | None = None,
    rng: np.random.Generator | None = None,
) -> LeakCounts:
    """Counts the leaking samples of each prompt.

    >>> leak_counts([[0, 1, 1], [0, 0, 0]]).counts.tolist()
    [2, 0]

    Args:
        scores: Scores in [0, 1], prompts x samples.
        threshold: A sample leaks from this score on, in (0, 1].
        confidence: Level of the intervals, in (0, 1).
        clusters: One label a prompt.
        rng: Source of the bootstrap weights; None for ``default_rng(0)``.

    Raises:
        ValueError: as ``leak_at_k``, and for a threshold outside (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in (0, 1], not {threshold}")
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
