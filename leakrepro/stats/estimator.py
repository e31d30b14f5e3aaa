"""leak@k from scores: the unbiased estimate, its intervals and paired differences.

leak@k of a prompt is the expected maximum of the core metric over k independent samples; leak@k of
a model is its mean over prompts (Reisizadeh et al., "Leak@k", arXiv 2511.04934). All functions are
pure: they take scores and return dataclasses.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leakrepro.stats.adaptive import AdaptivePlan, Plan, check_plan
from leakrepro.stats.checks import check_confidence, check_k, check_scores, whole_number
from leakrepro.stats.clusters import Clusters, Floats
from leakrepro.stats.sign_flip import SignFlips
from leakrepro.stats.variation import over_samples
from leakrepro.types import Scores

if TYPE_CHECKING:
    import pandas as pd

Interval = Literal["prompts", "samples"]
_SIZE_LEVEL = 0.05  # a smaller size_p_value is shown
DifferenceInterval = Literal["prompts", "symmetric"]


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
        size_p_value: p-value of no relation between the size of a cluster and its leak; nan if all
            clusters have one size. If it is small, the interval over prompts may be too short:
            it assumes that clusters that were not seen are of usual size.
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
    size_p_value: float = math.nan

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
        note = "; cluster size goes with leak" if self.size_p_value < _SIZE_LEVEL else ""
        return f"LeakCurve({values}; {source}, interval over {self.interval}{note})"


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
        interval: ``"prompts"`` or ``"symmetric"``.
        bound: Largest absolute mean difference of a cluster, as declared.
        smallest: Smallest difference, shared by all clusters, that the interval ``"prompts"`` with
            this bound and these clusters can distinguish from 0. Above ``bound``, it can show none.
        p_value: p-values of the sign-flip test at each k, [len(k)].
        p_any: p-value of the sign-flip test over all k together.
    """

    k: NDArray[np.int64]
    value: Floats
    low: Floats
    high: Floats
    stderr: Floats
    per_prompt: Floats
    confidence: float
    n_clusters: int
    interval: DifferenceInterval = "prompts"
    bound: float = 1.0
    smallest: float = math.nan
    p_value: Floats = field(default_factory=lambda: np.empty(0))
    p_any: float = math.nan

    def at(self, k: int) -> tuple[float, float, float]:
        """Return value, lower and upper bound at ``k``; raise ValueError for any other ``k``."""
        return _at(self, k)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per k: ``k``, ``difference``, its bounds, ``stderr`` and ``p_value``."""
        frame = _to_frame(self, "difference")
        return frame.assign(p_value=self.p_value) if self.p_value.size else frame

    def __repr__(self) -> str:
        values = ", ".join(f"leak@{k} {v:+.3f}" for k, v in zip(self.k, self.value, strict=True))
        shown = f"{self.smallest:.2f}" if self.smallest <= self.bound else "none"
        return (
            f"LeakDifference({values}; {len(self.per_prompt)} prompts, p_any {self.p_any:.3g}, "
            f"smallest difference that {self.n_clusters} clusters can show: {shown})"
        )


def _at(result: LeakCurve | LeakDifference, k: int) -> tuple[float, float, float]:
    """Value, lower and upper bound of a curve or a difference at ``k``."""
    try:
        k = whole_number(k)
    except TypeError:
        raise TypeError(f"at() takes one integer k, not {k!r}; to_frame() has all k") from None
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

    Two things the interval cannot know. It assumes that clusters that were not seen are of usual
    size; ``size_p_value`` tests whether leak goes with size, where coverage was as low as .78. And
    it can only narrow with the number of clusters, not with that of prompts in them.

    The interval ``"samples"`` covers new samples of the same prompts, and ignores clusters. Use it
    to compare with a published number for the same prompts, or with the spread over generation
    seeds. It spans an empirical-Bayes interval, which learns from all prompts what one prompt may
    do, and a Bayesian bootstrap over samples, which does not
    (``leakrepro.stats.variation.over_samples``). No theorem guarantees its coverage. It is
    measured: ``make coverage`` simulates both intervals, and the results are in
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
        TypeError: If ``rng`` is None, ``plan`` is not a plan, or ``clusters`` are not labels.
    """
    if interval not in ("prompts", "samples"):
        raise ValueError(f"interval must be 'prompts' or 'samples', got {interval!r}")
    if interval == "samples" and isinstance(plan, AdaptivePlan):
        raise ValueError("an AdaptivePlan supports interval='prompts' only, not 'samples'")
    check_plan(plan)
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
        size_p_value=groups.size_test(per_prompt) if interval == "prompts" else math.nan,
    )


def compare_leak(
    scores_a: Scores | ArrayLike | Iterable[ArrayLike],
    scores_b: Scores | ArrayLike | Iterable[ArrayLike],
    k: int | Sequence[int] | None = None,
    *,
    confidence: float = 0.95,
    interval: DifferenceInterval = "prompts",
    bound: float = 1.0,
    clusters: Sequence[Hashable] | None = None,
    plan: Plan | None = None,
    rng: int | np.random.Generator = 0,
) -> LeakDifference:
    """Estimate leak@k of a minus leak@k of b on the same prompts, with intervals over prompts.

    Row i of both must belong to the same prompt; the numbers of samples may differ. Both models get
    the same bootstrap weights.

    The interval ``"prompts"`` is that of ``leak_at_k``. The phantom cluster has the difference
    ``-bound`` for the lower and ``bound`` for the upper bound. It assumes independent clusters of
    one population, of sizes that do not go with the difference; with the bound 1 nothing about the
    differences, otherwise that no cluster, seen or not, differs by more than ``bound`` on average.
    A bound must come from knowledge before the data. ``smallest`` is the smallest difference that
    can be shown; no interval that holds for all differences in [-bound, bound] can show a smaller
    one with certainty.

    The p-values test that the models are exchangeable: in each cluster, swapping the names a and b
    leaves the joint distribution of all scores unchanged, and clusters are independent. The test
    flips the signs of clusters. It is exact for any number of clusters and any dependence within
    one, and needs six clusters with a difference for p < .05. It answers a narrower question than
    the interval, so a small p beside an interval with 0 is no contradiction. If models differ in
    shape with equal means (one leaks a few clusters wholly, the other all a little), p can be small
    as well. The models need the same number of samples: where a prompt has more on one side, the
    test uses a random part of them. The part is the same in every call.

    The interval ``"symmetric"`` has the differences that the test does not reject. It assumes that
    cluster differences are symmetric about the mean difference, as when all clusters share it. If
    few clusters carry the difference it is far too short: 54 % coverage at 16 clusters, 5 % of them
    differing.

    >>> compare_leak([[0, 1], [1, 1]], [[0, 0], [0, 1]], k=1).value.tolist()
    [0.5]

    Args:
        scores_a: Scores in [0, 1], prompts x samples.
        scores_b: Scores of the same prompts with another model.
        k: Strictly increasing sample counts; None for the powers of two up to the smallest number
            of samples per prompt on either side.
        confidence: Level of the intervals, in (0, 1).
        interval: ``"prompts"`` or ``"symmetric"``.
        bound: Largest absolute mean difference of a cluster, in (0, 1].
        clusters: One label per prompt; prompts with the same label depend on each other.
        plan: The adaptive plan under which both were sampled.
        rng: Seed or generator of the bootstrap weights.

    Raises:
        ValueError: If the sides have different numbers of prompts, scores are empty, a prompt does
            not have samples, a score is nan or outside [0, 1], ``k`` does not increase or exceeds
            the number of samples, another option is out of range, the scores contradict the plan,
            a cluster exceeds ``bound``, or ``"symmetric"`` is used with different numbers of
            samples. The message names the side, and the prompt by its position.
        TypeError: If ``rng`` is None, or ``plan`` is not a plan.
    """
    if interval not in ("prompts", "symmetric"):
        raise ValueError(f"interval must be 'prompts' or 'symmetric', got {interval!r}")
    if not 0 < bound <= 1:
        raise ValueError(f"bound must be in (0, 1], got {bound}")
    check_plan(plan)
    check_confidence(confidence)
    with _side("scores_a"):
        a = check_scores(scores_a)
    with _side("scores_b"):
        b = check_scores(scores_b)
    if len(a) != len(b):
        raise ValueError(
            f"a paired comparison needs the same prompts on both sides, got {len(a)} and {len(b)}"
        )
    with _side("scores_a" if a.counts.min() <= b.counts.min() else "scores_b"):
        ks = check_k(k, _usable(np.minimum(a.counts, b.counts), plan))
    groups = Clusters.of(clusters, len(a))
    per_prompt = _difference(a, b, ks, plan)
    largest = np.abs(groups.sums(per_prompt) / groups.sizes[:, None]).max()
    if largest > bound + 1e-12:
        raise ValueError(
            f"a cluster differs by {largest:.3g}, more than the declared bound {bound:g}"
        )
    value = per_prompt.mean(axis=0)
    low, high = groups.bootstrap(per_prompt, confidence, -bound, bound, rng)
    equal = isinstance(plan, AdaptivePlan) or np.array_equal(a.counts, b.counts)
    tested = per_prompt if equal else _difference(*_thinned(a, b), ks, plan)
    flips = SignFlips.of(groups.sums(tested), groups.sizes)
    if interval == "symmetric":
        if not equal:
            raise ValueError(
                "interval='symmetric' needs the same number of samples on both sides, prompt by "
                "prompt; leave out some samples, or use interval='prompts'"
            )
        low, high = flips.interval(confidence)
    return LeakDifference(
        k=ks,
        value=value,
        low=np.minimum(low, value),
        high=np.maximum(high, value),
        stderr=groups.stderr(per_prompt),
        per_prompt=per_prompt,
        confidence=confidence,
        n_clusters=groups.n,
        interval=interval,
        bound=bound,
        smallest=bound * ((2 / (1 - confidence)) ** (1 / groups.effective) - 1),
        p_value=flips.p_value(),
        p_any=flips.p_any(),
    )


@contextlib.contextmanager
def _side(name: str) -> Iterator[None]:
    """Name the side of a comparison in errors."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from error


def _difference(a: Scores, b: Scores, ks: NDArray[np.int64], plan: Plan | None) -> Floats:
    """Return leak@k of a minus leak@k of b of each prompt, [prompts, len(k)]."""
    with _side("scores_a"):
        first = _expected_maximum(a, ks, plan)
    with _side("scores_b"):
        return first - _expected_maximum(b, ks, plan)


def _thinned(a: Scores, b: Scores) -> tuple[Scores, Scores]:
    """Return as many samples of each prompt as the side with fewer has, chosen at random."""
    rng = np.random.default_rng(0)
    fewest = np.minimum(a.counts, b.counts).tolist()
    first, second = (
        Scores.from_rows(
            row if row.size == n else rng.choice(row, n, replace=False)
            for row, n in zip(side, fewest, strict=True)
        )
        for side in (a, b)
    )
    return first, second


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
