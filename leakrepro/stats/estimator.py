"""leak@k from scores: the unbiased estimate, its intervals and paired differences.

leak@k of a prompt is the expected maximum of the core metric over k independent samples; leak@k of
a model is its mean over prompts (Reisizadeh et al., "Leak@k", arXiv 2511.04934). All functions are
pure: they take scores and return dataclasses.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leakrepro.stats.adaptive import AdaptivePlan, Plan
from leakrepro.stats.checks import check_confidence, check_k, check_scores
from leakrepro.stats.clusters import Clusters, Floats
from leakrepro.stats.variation import over_samples
from leakrepro.types import Scores

if TYPE_CHECKING:
    import pandas as pd

Interval = Literal["prompts", "samples"]


@dataclass(frozen=True, eq=False)
class LeakCurve:
    """leak@k as a function of k.

    Attributes:
        k: Sample counts, int64 [len(k)], strictly increasing.
        value: Unbiased estimates, the mean over prompts, [len(k)].
        low: Lower bounds of the intervals, [len(k)].
        high: Upper bounds of the intervals, [len(k)].
        stderr: Standard errors, [len(k)]; nan if there is only one cluster.
        per_prompt: Unbiased estimates of each prompt, [prompts, len(k)].
        confidence: Level of each interval (pointwise in k).
        interval: Source of variation: other ``"prompts"``, or new ``"samples"`` of these prompts.
        n_clusters: Number of independent units on which the interval is based.
        n_samples: Smallest number of samples per prompt.
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
        """Number of prompts."""
        return int(self.per_prompt.shape[0])

    def at(self, k: int) -> tuple[float, float, float]:
        """Return value, lower and upper bound at ``k``; raise ValueError for any other ``k``."""
        return _at(self, k)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per k: ``k``, ``leak@k``, ``leak@k low``, ``leak@k high``, ``stderr``."""
        return _to_frame(self, "leak@k")

    def __repr__(self) -> str:
        values = ", ".join(f"leak@{k} {v:.3f}" for k, v in zip(self.k, self.value, strict=True))
        source = f"{self.n_prompts} prompts, {self.n_samples} samples per prompt"
        return f"LeakCurve({values}; {source}, interval over {self.interval})"


@dataclass(frozen=True, eq=False)
class LeakDifference:
    """leak@k of one model minus leak@k of another, paired by prompt.

    Attributes:
        k: Sample counts, int64 [len(k)], strictly increasing.
        value: Differences in [-1, 1], [len(k)].
        low: Lower bounds of the intervals, [len(k)].
        high: Upper bounds of the intervals, [len(k)].
        stderr: Standard errors, [len(k)]; nan if there is only one cluster.
        per_prompt: Difference of each prompt, [prompts, len(k)].
        confidence: Level of each interval (pointwise in k).
        n_clusters: Number of independent units on which the interval is based.
    """

    k: NDArray[np.int64]
    value: Floats
    low: Floats
    high: Floats
    stderr: Floats
    per_prompt: Floats
    confidence: float
    n_clusters: int

    def at(self, k: int) -> tuple[float, float, float]:
        """Return value, lower and upper bound at ``k``; raise ValueError for any other ``k``."""
        return _at(self, k)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per k: ``k``, ``difference``, ``difference low`` and so on."""
        return _to_frame(self, "difference")

    def __repr__(self) -> str:
        values = ", ".join(f"leak@{k} {v:+.3f}" for k, v in zip(self.k, self.value, strict=True))
        return f"LeakDifference({values}; {len(self.per_prompt)} prompts)"


def _at(result: LeakCurve | LeakDifference, k: int) -> tuple[float, float, float]:
    """Value, lower and upper bound of a curve or a difference at ``k``."""
    found = np.flatnonzero(result.k == k)
    if not found.size:
        raise ValueError(f"the curve does not have k = {k}, only {result.k.tolist()}")
    i = found[0]
    return float(result.value[i]), float(result.low[i]), float(result.high[i])


def _to_frame(result: LeakCurve | LeakDifference, name: str) -> pd.DataFrame:
    """One row per k of a curve or a difference."""
    import pandas as pd  # late: a number does not need it

    columns: dict[str, Any] = {"k": result.k, name: result.value}
    for bound in ("low", "high"):
        columns[f"{name} {bound}"] = getattr(result, bound)
    return pd.DataFrame({**columns, "stderr": result.stderr})


def leak_at_k(
    scores: Scores | ArrayLike | Iterable[ArrayLike],
    k: int | Sequence[int] | None = None,
    *,
    confidence: float = 0.95,
    interval: Interval = "prompts",
    clusters: Sequence[Hashable] | None = None,
    plan: Plan | None = None,
    rng: int | np.random.Generator = 0,
) -> LeakCurve:
    """Estimate leak@k, the expected maximum score over k samples, with intervals.

    With scores ``S_(1) <= ... <= S_(n)`` of a prompt, the mean of the maximum over all k-subsets is
    ``sum_j C(j-1, k-1) / C(n, k) S_(j)``; for 0/1 scores with c ones it is
    ``1 - C(n-c, k) / C(n, k)``. It is unbiased for every ``k <= n``.

    The interval ``"prompts"`` covers other prompts from the same population. It is a Bayesian
    bootstrap over clusters with one phantom cluster, which scores 0 for the lower bound and 1 for
    the upper bound (after Learned-Miller and Thomas, arXiv 1905.06208). Therefore the upper bound
    is above 0 even if no sample leaks. The estimate is the mean over prompts: a cluster counts by
    its size, and the size of the phantom is the expected cluster size of a randomly chosen prompt,
    ``sum(size^2) / sum(size)``. The standard error is the cluster-robust one of a ratio.

    The interval ``"samples"`` covers new samples of the same prompts, and ignores clusters. Use it
    to compare with a published number for the same prompts, or with the spread over generation
    seeds. Its variance is the variance of the estimate under new samples, given each prompt's
    posterior score distribution (``leakrepro.stats.posterior``); its quantiles are those of a beta
    distribution. One phantom sample, which scores 0 for the lower bound and 1 for the upper bound,
    is divided among the prompts. The method is empirical Bayes, so its coverage is measured and not
    proven: ``make coverage`` simulates the coverage of both intervals, and the results are in
    ``leakrepro/reference/measured/coverage.csv``.

    >>> curve = leak_at_k([[0, 0, 0, 1], [0, 0, 0, 0]], k=[1, 2])
    >>> curve.value.tolist()
    [0.125, 0.25]

    Args:
        scores: Scores in [0, 1], prompts x samples; prompts may differ in their number of samples.
        k: Strictly increasing sample counts; None for the powers of two up to the smallest number
            of samples per prompt.
        confidence: Level of the intervals, in (0, 1).
        interval: ``"prompts"`` or ``"samples"``.
        clusters: One label per prompt; prompts with the same label depend on each other (the same
            author, for example).
        plan: The adaptive plan under which the samples were drawn (``Samples.plan``). Its estimate
            replaces the formula above, which would be biased.
        rng: Seed or generator of the bootstrap weights, or of the resamples.

    Raises:
        ValueError: If the scores are empty, a prompt does not have samples, a score is nan or
            outside [0, 1], ``k`` does not increase or exceeds the number of samples, another
            option is out of range, the scores contradict the plan, or an ``AdaptivePlan`` is
            combined with the interval ``"samples"``. The message names the prompt by its position.
        TypeError: If ``rng`` is None.
    """
    if interval not in ("prompts", "samples"):
        raise ValueError(f"interval must be 'prompts' or 'samples', got {interval!r}")
    if interval == "samples" and isinstance(plan, AdaptivePlan):
        raise ValueError("an AdaptivePlan supports interval='prompts' only, not 'samples'")
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
        bounds = over_samples(checked, ks, value, confidence, rng)
        stderr, low, high = bounds.stderr, bounds.low, bounds.high
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
    rng: int | np.random.Generator = 0,
) -> LeakDifference:
    """Estimate leak@k of a minus leak@k of b on the same prompts, with intervals over prompts.

    Row i of both must belong to the same prompt; the numbers of samples may differ. Both models get
    the same bootstrap weights. The phantom cluster has the difference -1 for the lower bound and +1
    for the upper bound.

    >>> compare_leak([[0, 1], [1, 1]], [[0, 0], [0, 1]], k=1).value.tolist()
    [0.5]

    Args:
        scores_a: Scores in [0, 1], prompts x samples.
        scores_b: Scores of the same prompts with another model.
        k: Strictly increasing sample counts; None for the powers of two up to the smallest number
            of samples per prompt on either side.
        confidence: Level of the intervals, in (0, 1).
        clusters: One label per prompt; prompts with the same label depend on each other.
        plan: The adaptive plan under which both were sampled.
        rng: Seed or generator of the bootstrap weights.

    Raises:
        ValueError: If the sides have different numbers of prompts, scores are empty, a prompt does
            not have samples, a score is nan or outside [0, 1], ``k`` does not increase or exceeds
            the number of samples, another option is out of range, or the scores contradict the
            plan. The message names the prompt by its position.
        TypeError: If ``rng`` is None.
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
    """Return leak@k of uniform guessing from each prompt's pool: mean of 1 - (1 - 1/pool)^k.

    >>> chance_curve([2, 4], [1, 2]).tolist()
    [0.375, 0.59375]

    Args:
        pool_sizes: Number of possible answers per prompt, at least 1, [prompts].
        k: Sample counts, at least 1, [len(k)].

    Returns:
        float64 [len(k)].

    Raises:
        ValueError: If there are no prompts, or a pool size or ``k`` is below 1.
    """
    pools = np.asarray(pool_sizes, dtype=np.float64).reshape(-1)
    ks = np.asarray(k, dtype=np.float64).reshape(-1)
    if not pools.size or not np.all(pools >= 1):
        raise ValueError("chance_curve needs at least one pool, and pool sizes of at least 1")
    if not np.all(ks >= 1):
        raise ValueError(f"k must be at least 1, got {ks.tolist()}")
    misses = (1 - 1 / pools)[:, None] ** ks[None, :]
    return np.asarray((1 - misses).mean(axis=0))


def _weights(n: int, ks: NDArray[np.int64]) -> Floats:
    """Return the weights of the order statistics, ``C(j-1, k-1) / C(n, k)``, [n, len(k)].

    The recurrence w_n = k / n, w_{j-1} = w_j (j - k) / (j - 1) avoids overflowing binomials.
    """
    j = np.arange(n, 1, -1)[:, None]
    steps = np.maximum(j - ks, 0) / (j - 1)
    return np.cumprod(np.vstack([ks[None, :] / n, steps]), axis=0)[::-1]


def _usable(counts: NDArray[np.int64], plan: Plan | None) -> NDArray[np.int64]:
    """Return the largest k of each prompt; with an adaptive plan this is its cap."""
    return np.full_like(counts, plan.cap) if isinstance(plan, AdaptivePlan) else counts


def _expected_maximum(scores: Scores, ks: NDArray[np.int64], plan: Plan | None) -> Floats:
    """Return the unbiased estimates of each prompt, [prompts, len(k)]."""
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
        # A weighted mean lies in the range of its values, but rounding could leave it.
        out[rows] = np.clip(block @ _weights(n, ks), block[:, :1], block[:, -1:])
    return out
