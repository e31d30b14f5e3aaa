"""leak@k from scores: the unbiased estimate, its intervals and paired differences.

leak@k of a prompt is the expected maximum of the core metric over k independent samples; leak@k of
a model is its mean over prompts (Reisizadeh et al., "Leak@k", arXiv 2511.04934). Scores go in,
dataclasses come out; nothing here reads, writes or keeps state.
"""

from __future__ import annotations

import operator
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from leakrepro.adaptive import AdaptivePlan, Plan
from leakrepro.types import Scores

Interval = Literal["prompts", "samples"]
Floats = NDArray[np.float64]

DRAWS = 10_000  # bootstrap draws; an end of the interval then wobbles by 0.03 standard errors
_CHUNK = 1 << 22  # random numbers held at a time
_LEVELS = 256  # distinct scores told apart by the interval "samples"
_COARSE = 32  # levels on which the kinds of prompts are told apart; a base measure keeps them all
_EM_ROUNDS = 10


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
    Each prompt has a Dirichlet-process posterior; the prior is a mixture of two kinds of prompts,
    fitted to the pooled scores by Dirichlet-multinomial likelihood (a beta-binomial mixture for 0/1
    scores), and one phantom draw is shared out among the prompts. Mean and variance of leak@k under
    the posterior are exact (scores are told apart on 256 levels); the interval comes from the beta
    distribution with these moments, and reaches as far around the unbiased estimate too. It is
    empirical Bayes, so that its coverage is measured, not proven: in 30 simulated cells of 10, 80
    and 400 prompts with n = 200, a nominal 95 % covered 91 to 99 % at k = 1 and 8 and 88 to 100 %
    at k = 32 and 128, where the prior speaks louder.

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
        rng: Source of the bootstrap weights; None for ``default_rng(0)``.

    Raises:
        ValueError: for empty input, a score that is nan or outside [0, 1], a ``k`` above the number
            of samples, bad options, scores that the plan cannot have left, or a plan with the
            interval ``"samples"``. The message names the prompt by its position.
    """
    if interval not in ("prompts", "samples"):
        raise ValueError(f"interval must be 'prompts' or 'samples', not {interval!r}")
    if interval == "samples" and isinstance(plan, AdaptivePlan):
        raise ValueError("under an AdaptivePlan there is no interval for new draws, only 'prompts'")
    _check_confidence(confidence)
    checked = _check_scores(scores)
    ks = _check_k(k, _usable(checked.counts, plan))
    groups = _Clusters.of(clusters, len(checked))
    per_prompt = _expected_maximum(checked, ks, plan)
    value = per_prompt.mean(axis=0)
    if interval == "prompts":
        stderr = groups.stderr(per_prompt)
        low, high = groups.bootstrap(per_prompt, confidence, 0.0, 1.0, rng)
        units = groups.n
    else:
        stderr, low, high = _new_draws(checked, ks, value, confidence)
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
    _check_confidence(confidence)
    a, b = _check_scores(scores_a), _check_scores(scores_b)
    if len(a) != len(b):
        raise ValueError(
            f"a paired comparison needs the same prompts on both sides, got {len(a)} and {len(b)}"
        )
    ks = _check_k(k, _usable(np.minimum(a.counts, b.counts), plan))
    groups = _Clusters.of(clusters, len(a))
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


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, not {confidence}")


def _check_scores(scores: Scores | ArrayLike | Iterable[ArrayLike]) -> Scores:
    """The scores as ``Scores``; ValueError when one cannot be used."""
    if isinstance(scores, Scores):
        checked = scores
    else:
        rows = [np.asarray(row, dtype=np.float64) for row in scores]  # type: ignore[union-attr]
        for i, row in enumerate(rows):
            if row.ndim != 1:
                raise ValueError(
                    f"scores must be prompts x samples, but prompt {i} has {row.ndim} dimensions; "
                    "give the scores of a single prompt as [scores]"
                )
        checked = Scores.from_rows(rows)
    if not len(checked):
        raise ValueError("no scores were given: leak@k needs at least one prompt")
    if np.any(checked.counts == 0):
        i = int(np.argmin(checked.counts))
        raise ValueError(f"prompt {i} has no samples; sample it again or leave it out on purpose")
    bad = ~((checked.values >= 0) & (checked.values <= 1))  # also true for nan
    if np.any(bad):
        at = int(np.argmax(bad))
        i = int(np.searchsorted(checked.offsets, at, side="right")) - 1
        raise ValueError(
            f"prompt {i}, sample {at - checked.offsets[i]} has score {checked.values[at]}; scores "
            "must be in [0, 1], and an item that was not scored must not stand as a number"
        )
    return checked


def _check_k(k: int | Sequence[int] | None, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rising sample counts; ValueError when one is above a prompt's number of samples."""
    poorest = int(np.argmin(counts))
    n = int(counts[poorest])
    if k is None:
        return np.int64(1) << np.arange(n.bit_length(), dtype=np.int64)
    try:
        whole = [operator.index(x) for x in np.atleast_1d(np.asarray(k)).tolist()]
    except TypeError:
        raise ValueError(f"k must be whole numbers, got {k!r}") from None
    ks = np.asarray(whole, dtype=np.int64)
    if not ks.size or ks[0] < 1 or np.any(np.diff(ks) <= 0):
        raise ValueError(f"k must be rising whole numbers from 1 on, got {k!r}")
    if ks[-1] > n:
        raise ValueError(
            f"prompt {poorest} has {n} samples, fewer than k = {ks[-1]}: draw more samples or ask "
            f"for k up to {n}"
        )
    return ks


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


@dataclass(frozen=True, eq=False)
class _Clusters:
    """Which prompts depend on each other: ``index`` [prompts] into ``sizes`` [n]."""

    index: NDArray[np.int64]
    sizes: Floats

    @classmethod
    def of(cls, labels: Sequence[Hashable] | None, n_prompts: int) -> _Clusters:
        if labels is None:
            return cls(np.arange(n_prompts), np.ones(n_prompts))
        if len(labels) != n_prompts:
            raise ValueError(f"clusters has {len(labels)} labels for {n_prompts} prompts")
        numbers: dict[Hashable, int] = {}
        index = np.asarray([numbers.setdefault(label, len(numbers)) for label in labels], np.int64)
        return cls(index, np.bincount(index).astype(np.float64))

    @property
    def n(self) -> int:
        return int(self.sizes.size)

    def sums(self, per_prompt: Floats) -> Floats:
        """Sums over the prompts of each cluster, [n, len(k)]."""
        out = np.zeros((self.n, per_prompt.shape[1]))
        np.add.at(out, self.index, per_prompt)
        return out

    def stderr(self, per_prompt: Floats) -> Floats:
        """Cluster-robust standard error of the mean over prompts, [len(k)]."""
        if self.n == 1:
            return np.full(per_prompt.shape[1], np.nan)
        residuals = self.sums(per_prompt - per_prompt.mean(axis=0))
        total = np.square(residuals).sum(axis=0) * self.n / (self.n - 1)
        return np.asarray(np.sqrt(total) / per_prompt.shape[0])

    def bootstrap(
        self,
        per_prompt: Floats,
        confidence: float,
        worst: float,
        best: float,
        rng: np.random.Generator | None,
    ) -> tuple[Floats, Floats]:
        """Lower and upper ends; the phantom cluster scores ``worst`` and ``best`` for them.

        Normalised exponentials are Dirichlet(1, ..., 1) weights over the clusters and the phantom.
        """
        rng = np.random.default_rng(0) if rng is None else rng
        sums = self.sums(per_prompt)
        phantom_size = np.square(self.sizes).sum() / self.sizes.sum()
        means = np.empty((DRAWS, sums.shape[1]))
        shares = np.empty((DRAWS, 1))
        rows = max(1, _CHUNK // (self.n + 1))
        for start in range(0, DRAWS, rows):
            stop = min(start + rows, DRAWS)
            weight = rng.standard_exponential((stop - start, self.n + 1))
            phantom = weight[:, -1:] * phantom_size
            total = weight[:, :-1] @ self.sizes[:, None] + phantom
            means[start:stop] = weight[:, :-1] @ sums / total
            shares[start:stop] = phantom / total
        tail = (1 - confidence) / 2
        low = np.quantile(means + worst * shares, tail, axis=0)
        high = np.quantile(means + best * shares, 1 - tail, axis=0)
        return np.maximum(low, worst), np.minimum(high, best)  # rounding could pass them


def _new_draws(
    scores: Scores, ks: NDArray[np.int64], value: Floats, confidence: float
) -> tuple[Floats, Floats, Floats]:
    """Standard error and interval of the mean over these prompts, under new draws.

    Each prompt's score distribution F has a Dirichlet-process posterior on the levels v_1 < ... <
    v_G; with T_b its cumulative mass up to level b and A the whole, F(v_b) is Beta(T_b, A - T_b)
    and leak@k = v_G - sum_b (v_{b+1} - v_b) F(v_b)^k has closed moments.
    """
    levels, counts = _histogram(scores)
    kinds = _fit_kinds(levels, counts)
    tail = (1 - confidence) / 2
    ends = []
    for phantom, probability in ((0, tail), (-1, 1 - tail)):
        first = second = np.zeros((len(scores), ks.size))
        for share, base in kinds:
            mass = counts + base
            mass[:, phantom] += 1 / len(scores)  # of the one phantom draw
            mean, variance = _posterior_moments(mass, np.diff(levels), ks)
            # The base was estimated from the same draws; without this factor, prompts that are
            # all alike would have an interval of no width.
            variance *= (1 + base.sum() / scores.counts)[:, None]
            first = first + share[:, None] * mean
            second = second + share[:, None] * (variance + mean**2)
        centre = first.mean(axis=0)
        spread = np.maximum(second - first**2, 0).sum(axis=0) / len(scores) ** 2
        end = _beta_quantile(centre, spread, probability)
        # The prior can be wrong about the largest scores of a prompt, and the estimate is unbiased:
        # where they part, the interval spans both.
        ends.append((end, np.clip(value + end - centre, 0, 1), np.sqrt(spread)))
    (low, around_low, narrow), (high, around_high, wide) = ends
    return np.maximum(narrow, wide), np.minimum(low, around_low), np.maximum(high, around_high)


def _histogram(scores: Scores) -> tuple[Floats, Floats]:
    """Levels with 0 and 1 among them, [levels], and how often each prompt scored each."""
    values = np.unique(scores.values)
    if values.size > _LEVELS:  # a level is the mean of the scores that round to it
        _, bins = np.unique(np.round(scores.values * (_LEVELS - 1)), return_inverse=True)
        values = np.bincount(bins, scores.values) / np.bincount(bins)
    else:
        bins = np.searchsorted(values, scores.values)
    levels = np.union1d(values, [0.0, 1.0])
    column = np.searchsorted(levels, values)[bins]
    prompt = np.repeat(np.arange(len(scores)), scores.counts)
    flat = np.bincount(prompt * levels.size + column, minlength=len(scores) * levels.size)
    return levels, flat.reshape(len(scores), levels.size).astype(np.float64)


def _fit_kinds(levels: Floats, counts: Floats) -> list[tuple[Floats, Floats]]:
    """Two kinds of prompts by EM: each prompt's share of the kind, and the kind's base measure.

    Unlearned models keep leaking some prompts and hardly leak the others; one base measure fits
    neither. Shares are [prompts]; a base measure, [levels], sums to its concentration.
    """
    starts = np.unique(np.round(levels * (_COARSE - 1)), return_index=True)[1]
    hits = np.add.reduceat(counts, starts, axis=1)
    hits = hits[:, hits.any(axis=0)]
    if hits.shape[1] == 1:
        return [(np.ones(len(counts)), np.zeros_like(levels))]  # nothing to learn a spread from
    means = hits @ np.arange(hits.shape[1]) / hits.sum(axis=1)
    rank = np.argsort(np.argsort(means, kind="stable"))
    upper = np.where(2 * rank >= len(counts), 0.9, 0.1)
    shares = np.stack([1 - upper, upper])
    for _ in range(_EM_ROUNDS):
        means = _kind_means(shares, hits)
        sizes = [_concentration(hits, *kind) for kind in zip(means, shares, strict=True)]
        fits = [_log_likelihood(hits, a * mean) for a, mean in zip(sizes, means, strict=True)]
        prior = np.log(np.maximum(shares.mean(axis=1, keepdims=True), 1e-300))
        shares = special.softmax(np.stack(fits) + prior, axis=0)
    bases = np.asarray(sizes)[:, None] * _kind_means(shares, counts)
    return list(zip(shares, bases, strict=True))


def _kind_means(shares: Floats, counts: Floats) -> Floats:
    """Mean score distribution of each kind; one pooled draw keeps every seen level possible."""
    means = shares @ counts + counts.sum(axis=0) / counts.sum()
    return np.asarray(means / means.sum(axis=1, keepdims=True))


def _concentration(hits: Floats, mean: Floats, share: Floats) -> float:
    """Concentration of highest Dirichlet-multinomial likelihood; prompts count by their share."""

    def loss(log_a: float) -> float:
        return -float(share @ _log_likelihood(hits, np.exp(log_a) * mean))

    bounds = (np.log(1e-3), np.log(1e5))
    found = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 0.05})
    return float(np.exp(found.x))


def _log_likelihood(hits: Floats, base: Floats) -> Floats:
    """Dirichlet-multinomial log-likelihood of each prompt, less a constant, [prompts]."""
    prompt, level = np.nonzero(hits)
    gains = special.gammaln(base[level] + hits[prompt, level]) - special.gammaln(base)[level]
    within = np.bincount(prompt, gains, minlength=len(hits))
    total = base.sum()
    return np.asarray(within + special.gammaln(total) - special.gammaln(total + hits.sum(axis=1)))


def _posterior_moments(mass: Floats, gaps: Floats, ks: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Mean and variance of each prompt's leak@k, two arrays [prompts, len(k)].

    For b < c, F_b / F_c is independent of F_c, so E F_b^k F_c^k is a factor of b times one of c and
    the double sum over levels is a cumulative one.
    """
    total = mass.sum(axis=1, keepdims=True)
    below = np.cumsum(mass, axis=1)[:, :-1]
    mean = np.empty((mass.shape[0], ks.size))
    variance = np.empty_like(mean)
    for i, k in enumerate(ks.tolist()):
        first = gaps * np.exp(_log_rising(below, 0, k) - _log_rising(total, 0, k))
        second = gaps * np.exp(_log_rising(below, k, k) - _log_rising(total, k, k))
        before = np.cumsum(first, axis=1) - first
        missed = first.sum(axis=1)
        square = (second * (2 * before + first)).sum(axis=1)
        mean[:, i] = gaps.sum() - missed
        variance[:, i] = np.maximum(square - missed**2, 0)
    return mean, variance


def _log_rising(x: Floats, shift: int, k: int) -> Floats:
    """log of (x + shift)(x + shift + 1)...(x + shift + k - 1); -inf at x = 0."""
    with np.errstate(invalid="ignore"):
        out = special.gammaln(x + shift + k) - special.gammaln(x + shift)
    return np.asarray(out)


def _beta_quantile(mean: Floats, variance: Floats, probability: float) -> Floats:
    """Quantile of the beta distribution on [0, 1] with these moments; a point has no spread."""
    point = np.clip(mean, 0, 1)
    spread = (variance > 1e-16) & (mean > 0) & (mean < 1)  # less is rounding
    mean, variance = np.where(spread, mean, 0.5), np.where(spread, variance, 1 / 12)
    size = mean * (1 - mean) / variance - 1
    return np.where(spread, stats.beta.ppf(probability, mean * size, (1 - mean) * size), point)
