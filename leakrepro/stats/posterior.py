"""Empirical-Bayes posterior of each prompt's score distribution.

A prompt's score distribution has a Dirichlet-process posterior on score levels. The prior is a
mixture of two kinds of prompts, fitted to all scores by Dirichlet-multinomial likelihood (for 0/1
scores, a beta-binomial mixture). ``leakrepro.stats.estimator`` uses it for intervals over samples,
``leakrepro.stats.extrapolation`` for k above the number of samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from leakrepro.stats.checks import check_rng
from leakrepro.types import Scores

Floats = NDArray[np.float64]

_LEVELS = 256  # maximum number of distinct score levels
_COARSE = 32  # levels used to separate the kinds of prompts; base measures use all levels
_EM_ROUNDS = 10
_LAYERS = 32  # levels used to sum variances
_RESAMPLES = 30


@dataclass(frozen=True, eq=False)
class Posterior:
    """Posterior of the prompts' score distributions.

    Attributes:
        levels: Distinct scores in [0, 1], including 0 and 1, increasing, [levels].
        counts: Number of samples of each prompt at each level, [prompts, levels].
        weight: Number of prompts that each row represents, [prompts].
        kinds: For each kind of prompts, the probability that each prompt is of this kind,
            [prompts], and the base measure of the kind, [levels], which sums to its concentration.
    """

    levels: Floats
    counts: Floats
    weight: Floats
    kinds: list[tuple[Floats, Floats]]

    @classmethod
    def of(cls, scores: Scores, kinds: int = 2) -> Posterior:
        """Fit the prior to all scores; ``kinds`` is 1 or 2."""
        levels, counts = _histogram(scores)
        weight = np.ones(len(counts))
        return cls(levels, counts, weight, _fit_kinds(levels, counts, weight, kinds))

    @classmethod
    def of_hits(cls, hits: NDArray[np.int64], n: NDArray[np.int64]) -> Posterior:
        """Fit to 0/1 scores, ``hits`` ones in ``n`` samples; equal prompts share a row."""
        rows, weight = np.unique(np.stack([n - hits, hits], axis=1), axis=0, return_counts=True)
        levels, counts, each = np.array([0.0, 1.0]), rows.astype(np.float64), weight.astype(float)
        return cls(levels, counts, each, _fit_kinds(levels, counts, each, 2))

    def leak(self, ks: NDArray[np.int64], phantom: int | None = None) -> Floats:
        """Return the posterior mean of each prompt's leak@k, [prompts, len(k)].

        Args:
            ks: Sample counts; they may exceed the number of samples.
            phantom: Level (as an index) of one additional sample that is divided among the
                prompts; None for no such sample.
        """
        gaps, out = np.diff(self.levels), np.zeros((len(self.counts), ks.size))
        for share, mass in self._masses(phantom):
            below = np.cumsum(mass, axis=1)[:, :-1]
            total = mass.sum(axis=1, keepdims=True)
            for i, k in enumerate(ks.tolist()):
                # F(v_b) is Beta(below, total - below) and leak@k = 1 - sum of gaps * F^k.
                missed = np.exp(_log_rising(below, k) - _log_rising(total, k)) @ gaps
                out[:, i] += share * (gaps.sum() - missed)
        return out

    def variance(
        self, ks: NDArray[np.int64], phantom: int | None = None, *, n: int | None = None
    ) -> Floats:
        """Return the variance of the mean of the unbiased estimates under new samples, [len(k)].

        For 0/1 scores only. Given p, the number of hits c is binomial, and the variance of the
        estimate U(c) is E U^2 - (1 - (1 - p)^k)^2. Both terms are averaged over the posterior of p.

        Args:
            ks: Sample counts, none above a prompt's number of samples.
            phantom: Level (as an index) of one additional sample that is divided among the
                prompts; None for no such sample.
            n: Number of new samples per prompt; None for each prompt's present number.
        """
        drawn = self.counts.sum(axis=1).astype(np.int64)
        sizes = drawn if n is None else np.full_like(drawn, n)
        total = np.zeros(ks.size)
        for share, mass in self._masses(phantom):
            miss, both = mass[:, :1], mass.sum(axis=1, keepdims=True)
            once, twice = (
                np.exp(_log_rising(miss, j * ks) - _log_rising(both, j * ks)) for j in (1, 2)
            )
            square = np.empty((sizes.size, ks.size))
            for size in np.unique(sizes).tolist():
                rows = np.flatnonzero(sizes == size)
                hits = _beta_binomial(size, mass[rows, 1], mass[rows, 0])
                square[rows] = hits @ np.square(1 - _missed(size, ks)[::-1])
            total += (share * self.weight) @ np.maximum(square - (1 - 2 * once + twice), 0)
        return np.asarray(total / self.weight.sum() ** 2)

    def mean_leak(self, ks: NDArray[np.int64], phantom: int | None = None) -> Floats:
        """Return the mean over prompts of ``leak``, [len(k)]."""
        return np.asarray(self.weight @ self.leak(ks, phantom) / self.weight.sum())

    def _masses(self, phantom: int | None) -> Iterator[tuple[Floats, Floats]]:
        for share, base in self.kinds:
            mass = self.counts + base
            if phantom is not None:
                mass[:, phantom] += 1 / self.weight.sum()
            yield share, mass


def beta_quantile(mean: Floats, variance: Floats, probability: float) -> Floats:
    """Return a quantile of the beta distribution with these moments; the mean at variance 0."""
    point = np.clip(mean, 0, 1)
    spread = (variance > 1e-16) & (mean > 0) & (mean < 1)  # a smaller variance is rounding
    mean, variance = np.where(spread, mean, 0.5), np.where(spread, variance, 1 / 12)
    size = np.maximum(mean * (1 - mean) / variance - 1, 1e-3)
    return np.where(spread, stats.beta.ppf(probability, mean * size, (1 - mean) * size), point)


class SamplingVariation(NamedTuple):
    """Variation of the mean over prompts of the unbiased estimates under new samples.

    Attributes:
        deviation: Standard deviation of the mean, [len(k)].
        shift: Change of the posterior mean due to the phantom sample, [len(k)].
    """

    deviation: Floats
    shift: Floats


def sampling_variation(
    scores: Scores, ks: NDArray[np.int64], rng: int | np.random.Generator = 0
) -> tuple[SamplingVariation, SamplingVariation]:
    """Return the variation under new samples, with a phantom sample of score 0 and of score 1.

    A score in [0, 1] is a weighted sum of layers: a layer is 1 if the score exceeds a level and 0
    otherwise, and its weight is the gap between two levels. The same decomposition holds for the
    maximum of scores and for the estimate. Each layer is a 0/1 score with its own posterior, which
    gives its variance. One prior for all levels would carry over the similarity of prompts from
    levels where they agree to levels where they differ. Correlations between layers are estimated
    by resampling.

    Args:
        scores: Scores in [0, 1].
        ks: Sample counts, none above a prompt's number of samples.
        rng: Seed or generator of the resamples.

    Raises:
        TypeError: If ``rng`` is None.
    """
    rng = check_rng(rng)
    levels, counts = _histogram(scores, _LAYERS)
    n = counts.sum(axis=1).astype(np.int64)
    above = counts[:, ::-1].cumsum(axis=1)[:, ::-1][
        :, 1:
    ]  # samples above each level except the last
    gaps = np.diff(levels)
    layers = [Posterior.of_hits(hits.astype(np.int64), n) for hits in above.T]
    plain = [layer.mean_leak(ks) for layer in layers]
    together = _layer_correlations(counts, n, ks, rng) if len(layers) > 1 else np.ones((1, 1, 1))

    def under(phantom: int) -> SamplingVariation:
        variances = np.stack([layer.variance(ks, phantom) for layer in layers])
        shifts = np.stack([layer.mean_leak(ks, phantom) for layer in layers]) - plain
        weighted = gaps[:, None] * np.sqrt(variances)
        total = np.einsum(
            "bk,ck,kbc->k",
            weighted,
            weighted,
            np.broadcast_to(together, (ks.size, len(layers), len(layers))),
        )
        return SamplingVariation(np.sqrt(np.maximum(total, 0)), gaps @ shifts)

    return under(0), under(1)


def _layer_correlations(
    counts: Floats, n: NDArray[np.int64], ks: NDArray[np.int64], rng: np.random.Generator
) -> Floats:
    """Estimate the correlations between layers of the mean estimate by resampling, [len(k), b, b].

    A layer that does not vary in the resamples gets correlation 1 with all others, which gives the
    widest interval.
    """
    missed = {int(size): _missed(int(size), ks) for size in np.unique(n)}
    chances = counts / n[:, None]
    products = np.zeros((ks.size, counts.shape[1] - 1, counts.shape[1] - 1))
    for _ in range(_RESAMPLES):
        estimates = []
        for _ in range(2):
            below = rng.multinomial(n, chances).cumsum(axis=1)[:, :-1]
            estimate = np.empty((*below.shape, ks.size))
            for size, table in missed.items():
                estimate[n == size] = table[below[n == size]]
            estimates.append(estimate)
        difference = np.moveaxis(estimates[0] - estimates[1], 2, 0)
        products += difference.swapaxes(1, 2) @ difference
    scale = np.sqrt(np.einsum("kbb->kb", products))
    pairs = scale[:, :, None] * scale[:, None, :]
    return np.where(pairs > 0, products / np.where(pairs > 0, pairs, 1), 1.0)


def _beta_binomial(n: int, a: Floats, b: Floats) -> Floats:
    """Return the beta-binomial probabilities of 0..n hits, [len(a), n + 1]."""
    i = np.arange(n)
    rising = np.zeros((2, a.size, n + 1))  # logs of a (a + 1)...(a + c - 1), and the same for b
    with np.errstate(divide="ignore"):
        np.cumsum(np.log(np.stack([a, b])[:, :, None] + i), axis=2, out=rising[:, :, 1:])
    ways = special.gammaln(n + 1) - special.gammaln(np.arange(n + 1) + 1)
    logs = rising[0] + rising[1, :, ::-1] + ways + ways[::-1] - special.gammaln(n + 1)
    return np.asarray(special.softmax(logs, axis=1))


def _missed(n: int, ks: NDArray[np.int64]) -> Floats:
    """Return ``C(c, k) / C(n, k)`` for c = 0..n, the share of k-subsets within c of n samples.

    The shape is [n + 1, len(k)].

    >>> _missed(2, np.array([1, 2])).tolist()
    [[0.0, 0.0], [0.5, 0.0], [1.0, 1.0]]
    """
    c = np.arange(n, 0, -1)[:, None]
    out = np.ones((n + 1, ks.size))
    np.cumprod(np.maximum(c - ks, 0) / c, axis=0, out=out[1:])
    return out[::-1]


def _histogram(scores: Scores, most: int = _LEVELS) -> tuple[Floats, Floats]:
    """Return the levels including 0 and 1, [levels], and the counts, [prompts, levels]."""
    values = np.unique(scores.values)
    if values.size > most:  # a level is then the mean of the scores that round to it
        _, bins = np.unique(np.round(scores.values * (most - 1)), return_inverse=True)
        values = np.bincount(bins, scores.values) / np.bincount(bins)
    else:
        bins = np.searchsorted(values, scores.values)
    levels = np.union1d(values, [0.0, 1.0])
    column = np.searchsorted(levels, values)[bins]
    prompt = np.repeat(np.arange(len(scores)), scores.counts)
    flat = np.bincount(prompt * levels.size + column, minlength=len(scores) * levels.size)
    return levels, flat.reshape(len(scores), levels.size).astype(np.float64)


def _fit_kinds(
    levels: Floats, counts: Floats, weight: Floats, kinds: int
) -> list[tuple[Floats, Floats]]:
    """Fit the kinds of prompts by EM; return each kind's prompt probabilities and base measure.

    An unlearned model keeps leaking some prompts and hardly leaks the others, so a single base
    measure fits neither. Probabilities are [prompts]; a base measure, [levels], sums to its
    concentration.
    """
    starts = np.unique(np.round(levels * (_COARSE - 1)), return_index=True)[1]
    hits = np.add.reduceat(counts, starts, axis=1)
    hits = hits[:, hits.any(axis=0)]
    if hits.shape[1] == 1:
        return [(np.ones(len(counts)), np.zeros_like(levels))]  # one level: the spread is unknown
    means = hits @ np.arange(hits.shape[1]) / hits.sum(axis=1)
    order = np.argsort(means, kind="stable")
    below = np.empty(len(counts))
    below[order] = np.cumsum(weight[order]) - weight[order] / 2
    upper = np.where(2 * below >= weight.sum(), 0.9, 0.1)
    shares = np.stack([1 - upper, upper]) if kinds == 2 else np.ones((1, len(counts)))
    for _ in range(_EM_ROUNDS):
        means = _kind_means(shares * weight, hits)
        sizes = [_concentration(hits, *k) for k in zip(means, shares * weight, strict=True)]
        fits = [_log_likelihood(hits, a * mean) for a, mean in zip(sizes, means, strict=True)]
        prior = np.log(np.maximum(shares @ weight / weight.sum(), 1e-300))
        shares = special.softmax(np.stack(fits) + prior[:, None], axis=0)
    bases = np.asarray(sizes)[:, None] * _kind_means(shares * weight, counts)
    return list(zip(shares, bases, strict=True))


def _kind_means(shares: Floats, counts: Floats) -> Floats:
    """Return each kind's mean score distribution, with one pooled sample as smoothing."""
    pooled = shares.sum(axis=0) @ counts
    means = shares @ counts + pooled / pooled.sum()
    return np.asarray(means / means.sum(axis=1, keepdims=True))


def _concentration(hits: Floats, mean: Floats, share: Floats) -> float:
    """Return the maximum-likelihood Dirichlet-multinomial concentration, prompts weighted."""

    def loss(log_a: float) -> float:
        return -float(share @ _log_likelihood(hits, np.exp(log_a) * mean))

    bounds = (np.log(1e-3), np.log(1e5))
    found = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 0.05})
    return float(np.exp(found.x))


def _log_likelihood(hits: Floats, base: Floats) -> Floats:
    """Return the Dirichlet-multinomial log-likelihood per prompt up to a constant, [prompts]."""
    prompt, level = np.nonzero(hits)
    gains = special.gammaln(base[level] + hits[prompt, level]) - special.gammaln(base)[level]
    within = np.bincount(prompt, gains, minlength=len(hits))
    total = base.sum()
    return np.asarray(within + special.gammaln(total) - special.gammaln(total + hits.sum(axis=1)))


def _log_rising(x: Floats, k: int | NDArray[np.int64]) -> Floats:
    """Return log of x (x + 1)...(x + k - 1); -inf at x = 0."""
    with np.errstate(invalid="ignore"):
        out = special.gammaln(x + k) - special.gammaln(x)
    return np.asarray(out)
