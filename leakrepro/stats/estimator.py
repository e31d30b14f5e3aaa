"""leak@k from scores: the unbiased estimate, its intervals and paired differences.

leak@k of a prompt is the expected maximum of the core metric over k independent samples; leak@k of
a model is its mean over prompts (Reisizadeh et al., "Leak@k", arXiv 2511.04934). Scores go in,
dataclasses come out; nothing here reads, writes or keeps state.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leakrepro.stats.adaptive import AdaptivePlan, Plan
from leakrepro.stats.checks import check_confidence, check_k, check_scores
from leakrepro.stats.clusters import Clusters, Floats
from leakrepro.stats.posterior import beta_quantile, new_draws
from leakrepro.types import Scores

Interval = Literal["prompts", "samples"]


@dataclass(frozen=True, eq=False)
class LeakCurve:
    """leak@k against k.

    Attributes:
        k: int64 [len(k)], rising.
        value: Unbiased estimates, the mean over prompts, [len(k)].
        low: Lower ends of the intervals, [len(k)].
        high: Upper ends, [len(k)].
        stderr: Standard errors, [len(k)]; nan where one cluster leaves them unknown.
        per_prompt: Unbiased estimates of each prompt, [prompts, len(k)].
        confidence: Level of each interval (pointwise in k).
        interval: What varies: other ``"prompts"`` or new ``"samples"`` of these prompts.
        n_clusters: Number of independent units that the interval counts on.
        n_samples: Smallest number of samples of a prompt.
    """

    k: NDArray[np.int64]
    value: Floats
    low: Floats
    high: Floats
    stderr: Floats
    per_prompt: Floats
    confidence: float
    interval: Interval
    n_clusters: int
    n_samples: int

    @property
    def n_prompts(self) -> int:
        return int(self.per_prompt.shape[0])

    def at(self, k: int) -> tuple[float, float, float]:
        """Value, lower and upper end at one ``k``; ValueError when the curve has no such ``k``."""
        found = np.flatnonzero(self.k == k)
        if not found.size:
            raise ValueError(f"the curve has no k = {k}, only {self.k.tolist()}")
        i = found[0]
        return float(self.value[i]), float(self.low[i]), float(self.high[i])


@dataclass(frozen=True, eq=False)
class LeakDifference:
    """leak@k of one model less that of another, paired by prompt.

    Attributes:
        k: int64 [len(k)], rising.
        value: Differences in [-1, 1], [len(k)].
        low: Lower ends of the intervals, [len(k)].
        high: Upper ends, [len(k)].
        stderr: Standard errors, [len(k)]; nan where one cluster leaves them unknown.
        per_prompt: Difference of each prompt, [prompts, len(k)].
        confidence: Level of each interval (pointwise in k).
        n_clusters: Number of independent units that the interval counts on.
    """

    k: NDArray[np.int64]
    value: Floats
    low: Floats
    high: Floats
    stderr: Floats
    per_prompt: Floats
    confidence: float
    n_clusters: int


def leak_at_k(
    scores: Scores | ArrayLike | Iterable[ArrayLike],
    k: int | Sequence[int] | None = None,
    *,
    confidence: float = 0.95,
    interval: Interval = "prompts",
    clusters: Sequence[Hashable] | None = None,
    plan: Plan | None = None,
    rng: np.random.Generator | None = None,
) -> LeakCurve:
    """Estimates leak@k, the expected maximum score over k samples, with intervals.

    With scores ``S_(1) <= ... <= S_(n)`` of a prompt, the mean of the maximum over all k-subsets is
    ``sum_j C(j-1, k-1) / C(n, k) S_(j)``; for 0/1 scores with c ones it is
    ``1 - C(n-c, k) / C(n, k)``. It is unbiased for every ``k <= n``.

    The interval ``"prompts"`` is about other prompts of the same kind: a Bayesian bootstrap over
    clusters with one phantom cluster that scores 0 for the lower and 1 for the upper end (after
    Learned-Miller and Thomas, arXiv 1905.06208), so that no leak in any sample still leaves an
    upper end above 0. The estimate stays the mean over prompts: a cluster counts by its size, and
    the phantom is as large as the cluster of a randomly chosen prompt, ``sum(size^2) / sum(size)``.
    The standard error is the cluster-robust one of a ratio.

    The interval ``"samples"`` is about these prompts and new draws; clusters do not matter to it.
    It is the one to hold against a published number of the same prompts, and against the spread
    over generation seeds. Its variance is that of the estimate under new draws, given
    each prompt's posterior score distribution (``leakrepro.stats.posterior``), its form the beta
    distribution's; one phantom draw that scores 0 for the lower and 1 for the upper end is shared
    out among the prompts. It is empirical Bayes, so that its coverage is measured, not proven:
    ``make coverage`` simulates that of both intervals, and what it found is in
    ``leakrepro/reference/measured/coverage.csv``.

    >>> curve = leak_at_k([[0, 0, 0, 1], [0, 0, 0, 0]], k=[1, 2])
    >>> curve.value.tolist()
    [0.125, 0.25]

    Args:
        scores: Scores in [0, 1], prompts x samples; prompts may differ in their number of samples.
        k: Rising sample counts; None for the powers of two up to the smallest number of samples.
        confidence: Level of the intervals, in (0, 1).
        interval: ``"prompts"`` or ``"samples"``.
        clusters: One label a prompt; prompts of one label depend on each other (one author, say).
        plan: The adaptive plan under which the samples were drawn (``Samples.plan``): its estimate
            takes the place of the formula above, which would be biased.
        rng: Source of the bootstrap weights, or of the new draws; None for ``default_rng(0)``.

    Raises:
        ValueError: for empty input, a score that is nan or outside [0, 1], a ``k`` above the number
            of samples, bad options, scores that the plan cannot have left, or a plan with the
            interval ``"samples"``. The message names the prompt by its position.
    """
    if interval not in ("prompts", "samples"):
        raise ValueError(f"interval must be 'prompts' or 'samples', not {interval!r}")
    if interval == "samples" and isinstance(plan, AdaptivePlan):
        raise ValueError("under an AdaptivePlan there is no interval for new draws, only 'prompts'")
    check_confidence(confidence)
    checked = check_scores(scores)
    ks = check_k(k, _usable(checked.counts, plan))
    groups = Clusters.of(clusters, len(checked))
    per_prompt = _expected_maximum(checked, ks, plan)
    value = per_prompt.mean(axis=0)
    if interval == "prompts":
        stderr = groups.stderr(per_prompt)
        low, high = groups.bootstrap(per_prompt, confidence, 0.0, 1.0, rng)
        units = groups.n
    else:
        stderr, low, high = _over_draws(checked, ks, value, confidence, rng)
        units = len(checked)
    return LeakCurve(
        k=ks,
        value=value,
        low=np.minimum(low, value),
        high=np.maximum(high, value),
        stderr=stderr,
        per_prompt=per_prompt,
        confidence=confidence,
        interval=interval,
        n_clusters=units,
        n_samples=int(checked.counts.min()),
    )


def compare_leak(
    scores_a: Scores | ArrayLike | Iterable[ArrayLike],
    scores_b: Scores | ArrayLike | Iterable[ArrayLike],
    k: int | Sequence[int] | None = None,
    *,
    confidence: float = 0.95,
    clusters: Sequence[Hashable] | None = None,
    plan: Plan | None = None,
    rng: np.random.Generator | None = None,
) -> LeakDifference:
    """Estimates leak@k of a less leak@k of b on the same prompts, with intervals over prompts.

    Row i of both must belong to the same prompt; the numbers of samples may differ. Both models get
    the same bootstrap weights, and the phantom cluster differs by -1 or +1.

    >>> compare_leak([[0, 1], [1, 1]], [[0, 0], [0, 1]], k=1).value.tolist()
    [0.5]

    Args:
        scores_a: Scores in [0, 1], prompts x samples.
        scores_b: The same prompts under another model.
        k: As in ``leak_at_k``; None for the powers of two that both sides have samples for.
        confidence: Level of the intervals, in (0, 1).
        clusters: One label a prompt.
        plan: The adaptive plan under which both were sampled.
        rng: Source of the bootstrap weights; None for ``default_rng(0)``.

    Raises:
        ValueError: as ``leak_at_k``, and when the two sides have different numbers of prompts.
    """
    check_confidence(confidence)
    a, b = check_scores(scores_a), check_scores(scores_b)
    if len(a) != len(b):
        raise ValueError(
            f"a paired comparison needs the same prompts on both sides, got {len(a)} and {len(b)}"
        )
    ks = check_k(k, _usable(np.minimum(a.counts, b.counts), plan))
    groups = Clusters.of(clusters, len(a))
    per_prompt = _expected_maximum(a, ks, plan) - _expected_maximum(b, ks, plan)
    value = per_prompt.mean(axis=0)
    low, high = groups.bootstrap(per_prompt, confidence, -1.0, 1.0, rng)
    return LeakDifference(
        k=ks,
        value=value,
        low=np.minimum(low, value),
        high=np.maximum(high, value),
        stderr=groups.stderr(per_prompt),
        per_prompt=per_prompt,
        confidence=confidence,
        n_clusters=groups.n,
    )


def chance_curve(pool_sizes: ArrayLike, k: ArrayLike) -> Floats:
    """leak@k of a guesser that draws uniformly from each prompt's pool: mean 1 - (1 - 1/pool)^k.

    >>> chance_curve([2, 4], [1, 2]).tolist()
    [0.375, 0.59375]

    Args:
        pool_sizes: Number of possible facts of each prompt, at least 1, [prompts].
        k: Sample counts, at least 1, [len(k)].

    Returns:
        float64 [len(k)].

    Raises:
        ValueError: when there are no prompts, or a pool or ``k`` is below 1.
    """
    pools = np.asarray(pool_sizes, dtype=np.float64).reshape(-1)
    ks = np.asarray(k, dtype=np.float64).reshape(-1)
    if not pools.size or not np.all(pools >= 1):
        raise ValueError("chance_curve needs at least one pool, and pools of size 1 or more")
    if not np.all(ks >= 1):
        raise ValueError(f"k must be at least 1, got {ks.tolist()}")
    misses = (1 - 1 / pools)[:, None] ** ks[None, :]
    return np.asarray((1 - misses).mean(axis=0))


def _weights(n: int, ks: NDArray[np.int64]) -> Floats:
    """Weights of the order statistics, ``C(j-1, k-1) / C(n, k)`` for j = 1..n, [n, len(k)].

    By the recurrence w_n = k / n, w_{j-1} = w_j (j - k) / (j - 1): no binomial can overflow.
    """
    j = np.arange(n, 1, -1)[:, None]
    steps = np.maximum(j - ks, 0) / (j - 1)
    return np.cumprod(np.vstack([ks[None, :] / n, steps]), axis=0)[::-1]


def _usable(counts: NDArray[np.int64], plan: Plan | None) -> NDArray[np.int64]:
    """Samples of each prompt that bound k; an adaptive plan's estimate reaches to its cap."""
    return np.full_like(counts, plan.cap) if isinstance(plan, AdaptivePlan) else counts


def _expected_maximum(scores: Scores, ks: NDArray[np.int64], plan: Plan | None) -> Floats:
    """Unbiased estimates of each prompt, [prompts, len(k)]."""
    out = np.empty((len(scores), ks.size))
    if isinstance(plan, AdaptivePlan):
        for i, row in enumerate(scores):
            try:
                out[i] = plan.leak(row, ks.tolist())
            except ValueError as error:
                raise ValueError(f"prompt {i}: {error}") from error
        return out
    for n in np.unique(scores.counts).tolist():
        rows = np.flatnonzero(scores.counts == n)
        block = scores.values[scores.offsets[rows][:, None] + np.arange(n)]
        block.sort(axis=1)
        # An average cannot leave the range of what it averages; rounding could.
        out[rows] = np.clip(block @ _weights(n, ks), block[:, :1], block[:, -1:])
    return out


def _over_draws(
    scores: Scores,
    ks: NDArray[np.int64],
    value: Floats,
    confidence: float,
    rng: np.random.Generator | None,
) -> tuple[Floats, Floats, Floats]:
    """Standard error and interval of the mean over these prompts, under new draws."""
    rng = np.random.default_rng(0) if rng is None else rng
    tail = (1 - confidence) / 2
    least, most = new_draws(scores, ks, rng)
    low, high = (
        beta_quantile(np.clip(value + drawn.moved, 0, 1), drawn.deviation**2, probability)
        for drawn, probability in ((least, tail), (most, 1 - tail))
    )
    return np.maximum(least.deviation, most.deviation), low, high
