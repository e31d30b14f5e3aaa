"""Empirical-Bayes posterior of each prompt's score distribution.

A prompt's score distribution has a Dirichlet-process posterior on score levels. The prior is a
mixture of two kinds of prompts, fitted to all scores by Dirichlet-multinomial likelihood (for 0/1
scores, a beta-binomial mixture). ``leakrepro.stats.variation`` uses it for intervals over samples,
``leakrepro.stats.extrapolation`` for k above the number of samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from leakrepro.stats.kinds import fit_kinds
from leakrepro.types import Scores

Floats = NDArray[np.float64]

_LEVELS = 256  # maximum number of distinct score levels


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
        ends = np.array([1, scores.counts.min()])
        levels, counts = with_ends(*histogram(scores, _LEVELS, ends), (0.0, 1.0))
        weight = np.ones(len(counts))
        return cls(levels, counts, weight, fit_kinds(levels, counts, weight, kinds))

    @classmethod
    def of_hits(cls, hits: NDArray[np.int64], n: NDArray[np.int64], kinds: int = 2) -> Posterior:
        """Fit to 0/1 scores, ``hits`` ones in ``n`` samples; equal prompts share a row."""
        rows, weight = np.unique(np.stack([n - hits, hits], axis=1), axis=0, return_counts=True)
        levels, counts, each = np.array([0.0, 1.0]), rows.astype(np.float64), weight.astype(float)
        return cls(levels, counts, each, fit_kinds(levels, counts, each, kinds))

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
                hits = beta_binomial(size, mass[rows, 1], mass[rows, 0])
                square[rows] = hits @ np.square(1 - missed(size, ks)[::-1])
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


def beta_binomial(n: int, a: Floats, b: Floats) -> Floats:
    """Return the beta-binomial probabilities of 0..n hits, [len(a), n + 1]."""
    i = np.arange(n)
    rising = np.zeros((2, a.size, n + 1))  # logs of a (a + 1)...(a + c - 1), and the same for b
    with np.errstate(divide="ignore"):
        np.cumsum(np.log(np.stack([a, b])[:, :, None] + i), axis=2, out=rising[:, :, 1:])
    ways = special.gammaln(n + 1) - special.gammaln(np.arange(n + 1) + 1)
    logs = rising[0] + rising[1, :, ::-1] + ways + ways[::-1] - special.gammaln(n + 1)
    return np.asarray(special.softmax(logs, axis=1))


def missed(n: int, ks: NDArray[np.int64]) -> Floats:
    """Return ``C(c, k) / C(n, k)`` for c = 0..n, the share of k-subsets within c of n samples.

    The shape is [n + 1, len(k)].

    >>> missed(2, np.array([1, 2])).tolist()
    [[0.0, 0.0], [0.5, 0.0], [1.0, 1.0]]
    """
    c = np.arange(n, 0, -1)[:, None]
    out = np.ones((n + 1, ks.size))
    np.cumprod(np.maximum(c - ks, 0) / c, axis=0, out=out[1:])
    return out[::-1]


def histogram(scores: Scores, most: int, ks: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Group the scores into levels.

    If there are more than ``most`` distinct scores, the levels divide the weight that the scores
    have in the estimates of leak@k equally, so that they are dense where the scores are, and dense
    near the maximum if k is large. A level is then the mean of its scores.

    Args:
        scores: Scores in [0, 1].
        most: Maximum number of levels.
        ks: Sample counts of the estimates, none above a prompt's number of samples.

    Returns:
        The levels, increasing, [levels], and the number of samples of each prompt at each level,
        [prompts, levels].
    """
    levels, bins = np.unique(scores.values, return_inverse=True)
    if levels.size > most:
        weight = np.empty(scores.values.size)
        for i, n in enumerate(scores.counts.tolist()):
            rows = slice(scores.offsets[i], scores.offsets[i + 1])
            ranks = np.argsort(np.argsort(scores.values[rows], kind="stable"), kind="stable")
            weight[rows] = np.diff(missed(n, ks), axis=0).mean(axis=1)[ranks]
        each = np.bincount(bins, weight)
        middle = (np.cumsum(each) - each / 2) / each.sum()
        _, group = np.unique(np.floor(middle * most), return_inverse=True)
        bins = group[bins]
        levels = np.bincount(bins, scores.values) / np.bincount(bins)
    prompt = np.repeat(np.arange(len(scores)), scores.counts)
    flat = np.bincount(prompt * levels.size + bins, minlength=len(scores) * levels.size)
    return levels, flat.reshape(len(scores), levels.size).astype(np.float64)


def with_ends(levels: Floats, counts: Floats, ends: tuple[float, float]) -> tuple[Floats, Floats]:
    """Add two levels without samples to a histogram, unless it has them."""
    wider = np.union1d(levels, ends)
    out = np.zeros((len(counts), wider.size))
    out[:, np.searchsorted(wider, levels)] = counts
    return wider, out


def _log_rising(x: Floats, k: int | NDArray[np.int64]) -> Floats:
    """Return log of x (x + 1)...(x + k - 1); -inf at x = 0."""
    with np.errstate(invalid="ignore"):
        out = special.gammaln(x + k) - special.gammaln(x)
    return np.asarray(out)
