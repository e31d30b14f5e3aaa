"""Each prompt's score distribution, as far as its samples and those of the others tell.

Empirical Bayes: a prompt's distribution has a Dirichlet-process posterior on score levels; the
prior is a mixture of two kinds of prompts, fitted to all scores by Dirichlet-multinomial likelihood
(for 0/1 scores a beta-binomial mixture). ``leakrepro.stats.estimator`` takes intervals from it and
``leakrepro.stats.extrapolation`` what lies beyond the samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

from leakrepro.types import Scores

Floats = NDArray[np.float64]

_LEVELS = 256  # distinct scores told apart
_COARSE = 32  # levels on which the kinds of prompts are told apart; a base measure keeps them all
_EM_ROUNDS = 10
_LAYERS = 32  # levels told apart where their variances are added up
_RESAMPLES = 30


@dataclass(frozen=True, eq=False)
class Posterior:
    """Posterior of the score distributions of some prompts.

    Attributes:
        levels: Distinct scores in [0, 1], with 0 and 1 among them, rising, [levels].
        counts: How often each prompt scored each, [prompts, levels].
        weight: How many prompts each row stands for, [prompts].
        kinds: For each kind of prompt the prompts' probabilities to be of it, [prompts], and its
            base measure, [levels], which sums to its concentration.
    """

    levels: Floats
    counts: Floats
    weight: Floats
    kinds: list[tuple[Floats, Floats]]

    @classmethod
    def of(cls, scores: Scores, kinds: int = 2) -> Posterior:
        """Fits the prior to all scores; ``kinds`` is 1 or 2."""
        levels, counts = _histogram(scores)
        weight = np.ones(len(counts))
        return cls(levels, counts, weight, _fit_kinds(levels, counts, weight, kinds))

    @classmethod
    def of_hits(cls, hits: NDArray[np.int64], n: NDArray[np.int64]) -> Posterior:
        """The same for 0/1 scores, ``hits`` of ``n`` a prompt; equal prompts share a row."""
        rows, weight = np.unique(np.stack([n - hits, hits], axis=1), axis=0, return_counts=True)
        levels, counts, each = np.array([0.0, 1.0]), rows.astype(np.float64), weight.astype(float)
        return cls(levels, counts, each, _fit_kinds(levels, counts, each, 2))

    def leak(self, ks: NDArray[np.int64], phantom: int | None = None) -> Floats:
        """Posterior mean of each prompt's leak@k, [prompts, len(k)]; k may exceed the samples.

        Args:
            ks: Sample counts.
            phantom: Index of a level that one more draw, shared out among the prompts, has scored.
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
        """Variance of the mean over prompts of the unbiased estimates under new draws, [len(k)].

        For 0/1 scores: given p, the number of hits is binomial, and the variance of the estimate
        U(c) is E U^2 - (1 - (1 - p)^k)^2; both are averaged over the posterior of p.

        Args:
            ks: Sample counts, none above a prompt's samples.
            phantom: As for ``leak``.
            n: Number of new draws a prompt; None for as many as there were.
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
        """Mean over prompts of ``leak``, [len(k)]."""
        return np.asarray(self.weight @ self.leak(ks, phantom) / self.weight.sum())

    def _masses(self, phantom: int | None) -> Iterator[tuple[Floats, Floats]]:
        for share, base in self.kinds:
            mass = self.counts + base
            if phantom is not None:
                mass[:, phantom] += 1 / self.weight.sum()
            yield share, mass


def beta_quantile(mean: Floats, variance: Floats, probability: float) -> Floats:
    """Quantile of the beta distribution on [0, 1] with these moments; a point has no spread."""
    point = np.clip(mean, 0, 1)
    spread = (variance > 1e-16) & (mean > 0) & (mean < 1)  # less is rounding
    mean, variance = np.where(spread, mean, 0.5), np.where(spread, variance, 1 / 12)
    size = np.maximum(mean * (1 - mean) / variance - 1, 1e-3)
    return np.where(spread, stats.beta.ppf(probability, mean * size, (1 - mean) * size), point)


class NewDraws(NamedTuple):
    """How the mean over prompts of the unbiased estimates varies under new draws, [len(k)] each.

    Attributes:
        deviation: Its standard deviation.
        moved: By how much the phantom draw moves the posterior mean.
    """

    deviation: Floats
    moved: Floats


def new_draws(
    scores: Scores, ks: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NewDraws, NewDraws]:
    """What new draws would change, with a phantom draw that scored 0 and with one that scored 1.

    A score in [0, 1] is a sum of layers, 1 where it exceeds a level and 0 elsewhere, weighted by
    the gaps between levels; so is its maximum, and the estimate. Each layer is a 0/1 score with a
    posterior of its own, which gives its variance: fitted to all levels at once, the prior would
    take from levels on which prompts are alike what it believes of those on which they differ. How
    layers vary together is taken from resampled draws.

    Args:
        scores: The scores.
        ks: Sample counts, none above a prompt's samples.
        rng: Resamples.
    """
    levels, counts = _histogram(scores, _LAYERS)
    n = counts.sum(axis=1).astype(np.int64)
    above = counts[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]  # draws above each level but the last
    gaps = np.diff(levels)
    layers = [Posterior.of_hits(hits.astype(np.int64), n) for hits in above.T]
    plain = [layer.mean_leak(ks) for layer in layers]
    together = _layer_correlations(counts, n, ks, rng) if len(layers) > 1 else np.ones((1, 1, 1))

    def under(phantom: int) -> NewDraws:
        variances = np.stack([layer.variance(ks, phantom) for layer in layers])
        moved = np.stack([layer.mean_leak(ks, phantom) for layer in layers]) - plain
        weighted = gaps[:, None] * np.sqrt(variances)
        total = np.einsum(
            "bk,ck,kbc->k",
            weighted,
            weighted,
            np.broadcast_to(together, (ks.size, len(layers), len(layers))),
        )
        return NewDraws(np.sqrt(np.maximum(total, 0)), gaps @ moved)

    return under(0), under(1)


def _layer_correlations(
    counts: Floats, n: NDArray[np.int64], ks: NDArray[np.int64], rng: np.random.Generator
) -> Floats:
    """Correlations between layers of the mean estimate, from resampled draws, [len(k), b, b].

    Layers that never vary when resampled count as one with all others, which is the widest.
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
    """Chances of 0..n hits where the chance of one is Beta(a, b), [len(a), n + 1]."""
    i = np.arange(n)
    rising = np.zeros((2, a.size, n + 1))  # logs of a (a + 1)...(a + c - 1), of b's
    with np.errstate(divide="ignore"):
        np.cumsum(np.log(np.stack([a, b])[:, :, None] + i), axis=2, out=rising[:, :, 1:])
    ways = special.gammaln(n + 1) - special.gammaln(np.arange(n + 1) + 1)
    logs = rising[0] + rising[1, :, ::-1] + ways + ways[::-1] - special.gammaln(n + 1)
    return np.asarray(special.softmax(logs, axis=1))


def _missed(n: int, ks: NDArray[np.int64]) -> Floats:
    """``C(c, k) / C(n, k)`` for c = 0..n: the share of k-subsets within c samples, [n + 1, len(k)].

    >>> _missed(2, np.array([1, 2])).tolist()
    [[0.0, 0.0], [0.5, 0.0], [1.0, 1.0]]
    """
    c = np.arange(n, 0, -1)[:, None]
    out = np.ones((n + 1, ks.size))
    np.cumprod(np.maximum(c - ks, 0) / c, axis=0, out=out[1:])
    return out[::-1]


def _histogram(scores: Scores, most: int = _LEVELS) -> tuple[Floats, Floats]:
    """Levels with 0 and 1 among them, [levels], and how often each prompt scored each."""
    values = np.unique(scores.values)
    if values.size > most:  # a level is the mean of the scores that round to it
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
    """The kinds of prompts by EM: each prompt's share of the kind, and the kind's base measure.

    Unlearned models keep leaking some prompts and hardly leak the others; one base measure fits
    neither. Shares are [prompts]; a base measure, [levels], sums to its concentration.
    """
    starts = np.unique(np.round(levels * (_COARSE - 1)), return_index=True)[1]
    hits = np.add.reduceat(counts, starts, axis=1)
    hits = hits[:, hits.any(axis=0)]
    if hits.shape[1] == 1:
        return [(np.ones(len(counts)), np.zeros_like(levels))]  # nothing to learn a spread from
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
    """Mean score distribution of each kind; one pooled draw keeps every seen level possible."""
    pooled = shares.sum(axis=0) @ counts
    means = shares @ counts + pooled / pooled.sum()
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


def _log_rising(x: Floats, k: int | NDArray[np.int64]) -> Floats:
    """log of x (x + 1)...(x + k - 1); -inf at x = 0."""
    with np.errstate(invalid="ignore"):
        out = special.gammaln(x + k) - special.gammaln(x)
    return np.asarray(out)
