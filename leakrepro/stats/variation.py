"""Variation of leak@k under new samples of the same prompts: the interval ``"samples"``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from leakrepro.stats.checks import check_rng
from leakrepro.stats.clusters import Bounds
from leakrepro.stats.posterior import Posterior, beta_quantile, histogram, missed, with_ends
from leakrepro.types import Scores

Floats = NDArray[np.float64]

_LAYERS = 16  # maximum number of levels
_RESAMPLES = 30  # for the correlations between layers
_REPLICATES = 1000  # of the bootstrap over samples


def over_samples(
    scores: Scores,
    ks: NDArray[np.int64],
    value: Floats,
    confidence: float = 0.95,
    rng: int | np.random.Generator = 0,
) -> Bounds:
    """Return the interval of leak@k of these prompts under new samples.

    The interval spans two kinds of intervals. Each has one more sample than was drawn, the phantom,
    with the lowest score for the lower and the highest score for the upper bound.

    - Empirical Bayes: the standard deviation of the estimate under new samples, averaged over the
      posterior (``leakrepro.stats.posterior``), around the estimate and around the posterior mean;
      for 0/1 scores with one and with two kinds of prompts. It learns from all prompts how a prompt
      without leaks may behave, so it needs prompts that are alike.
    - A Bayesian bootstrap over the samples: exponential weights, the phantom at the prompts whose
      leak@k it changes most. For a single prompt and 0/1 scores it is the interval of Clopper and
      Pearson. It does not learn from other prompts, so it also holds for a prompt like no other.

    Scores with more than 16 distinct values are grouped, and the phantom is then as far beyond the
    extreme score as that is from the median. Otherwise it scores 0 or 1.

    Args:
        scores: Scores in [0, 1].
        ks: Sample counts, none above a prompt's number of samples.
        value: The unbiased estimates, [len(ks)].
        confidence: Level of the intervals, in (0, 1).
        rng: Seed or generator of the resamples.

    Raises:
        TypeError: If ``rng`` is None.
    """
    rng = check_rng(rng)
    levels, counts = histogram(scores, _LAYERS, ks)
    ends = (0.0, 1.0)
    if np.unique(scores.values).size > _LAYERS:
        least, middle, most = np.quantile(scores.values, [0, 0.5, 1])
        ends = (max(2 * least - middle, 0.0), min(2 * most - middle, 1.0))
    levels, counts = with_ends(levels, counts, ends)
    tails = ((1 - confidence) / 2, (1 + confidence) / 2)
    layers = _Layers.of(levels, counts, ks)
    found = [*_empirical_bayes(layers, ks, value, tails, rng)]
    found.append(_sample_bootstrap(layers, ks, value, tails, rng))
    low, high, stderr = (
        np.stack([getattr(each, name) for each in found]) for name in ("low", "high", "stderr")
    )
    return Bounds(low.min(axis=0).clip(0, 1), high.max(axis=0).clip(0, 1), stderr.max(axis=0))


class _Layers(NamedTuple):
    """Scores as a weighted sum of layers.

    A layer is 1 if the score exceeds a level and 0 otherwise, and its weight is the gap between two
    levels. The same decomposition holds for the maximum of scores and for the estimate.

    Attributes:
        gaps: Weights of the layers, [layers].
        counts: Number of samples of each prompt at each level, [prompts, layers + 1].
        above: Number of samples of each prompt that exceed the level, [prompts, layers].
        n: Number of samples of each prompt, [prompts].
        estimate: The unbiased estimate of leak@k from the levels, [len(k)].
    """

    gaps: Floats
    counts: Floats
    above: NDArray[np.int64]
    n: NDArray[np.int64]
    estimate: Floats

    @classmethod
    def of(cls, levels: Floats, counts: Floats, ks: NDArray[np.int64]) -> _Layers:
        gaps, n = np.diff(levels), counts.sum(axis=1).astype(np.int64)
        above = counts[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:].astype(np.int64)
        return cls(gaps, counts, above, n, gaps @ _estimates(above, n, ks))


def _empirical_bayes(
    layers: _Layers,
    ks: NDArray[np.int64],
    value: Floats,
    tails: tuple[float, float],
    rng: np.random.Generator,
) -> Iterator[Bounds]:
    """Yield the intervals around the estimate and around the posterior mean.

    Each layer is a 0/1 score with its own posterior, which gives its variance. One prior for all
    levels would carry over the similarity of prompts from levels where they agree to levels where
    they differ. Correlations between layers are estimated by resampling.
    """
    gaps, size = layers.gaps, layers.gaps.size
    together = np.ones((1, 1, 1))
    if size > 1:
        together = _layer_correlations(layers.counts, layers.n, ks, rng)
    together = np.broadcast_to(together, (ks.size, size, size))
    for kinds in (1, 2) if size == 1 else (2,):
        fits = [Posterior.of_hits(hits, layers.n, kinds) for hits in layers.above.T]
        plain = gaps @ np.stack([fit.mean_leak(ks) for fit in fits])
        ends: list[list[Floats]] = []
        deviations = []
        for phantom, tail in zip((0, 1), tails, strict=True):
            variances = np.stack([fit.variance(ks, phantom) for fit in fits])
            mean = gaps @ np.stack([fit.mean_leak(ks, phantom) for fit in fits])
            weighted = gaps[:, None] * np.sqrt(variances)
            total = np.einsum("bk,ck,kbc->k", weighted, weighted, together)
            total = np.maximum(total, 0)
            centres = (value + mean - plain, value + mean - layers.estimate)
            ends.append([beta_quantile(np.clip(c, 0, 1), total, tail) for c in centres])
            deviations.append(np.sqrt(total))
        for low, high in zip(*ends, strict=True):
            yield Bounds(low, high, np.max(deviations, axis=0))


def _sample_bootstrap(
    layers: _Layers,
    ks: NDArray[np.int64],
    value: Floats,
    tails: tuple[float, float],
    rng: np.random.Generator,
) -> Bounds:
    """Return the bounds of the Bayesian bootstrap over samples.

    Prompts with equal counts are one row: what one of them tells holds for all.
    """
    rows, weight = np.unique(layers.counts, axis=0, return_counts=True)
    gaps, share = layers.gaps, weight / len(layers.counts)
    extra = rng.standard_exponential((_REPLICATES, 1))
    total = np.zeros((_REPLICATES, ks.size))
    # For each bound, the largest mean change by the phantom so far, and its replicates.
    most = np.zeros((2, ks.size))
    change = np.zeros((2, _REPLICATES, ks.size))
    for row, part in zip(rows * weight[:, None], share, strict=True):
        below = rng.standard_gamma(row, (_REPLICATES, row.size)).cumsum(axis=1)
        mass, below = below[:, -1:], below[:, :-1]
        shares = (below / mass, (below + extra) / (mass + extra), below / (mass + extra))
        for i, k in enumerate(ks.tolist()):
            leak, *moved = (-part * (each**k @ gaps) for each in shares)
            total[:, i] += leak + part * gaps.sum()
            for bound, leak_then in enumerate(moved):
                size = abs(float((leak_then - leak).mean()))
                if size > most[bound, i]:
                    most[bound, i] = size
                    change[bound, :, i] = leak_then - leak
    ends = [
        np.quantile(total + moved, tail, axis=0) + value - layers.estimate
        for moved, tail in zip(change, tails, strict=True)
    ]
    deviation = np.max([(total + moved).std(axis=0) for moved in change], axis=0)
    return Bounds(ends[0], ends[1], deviation)


def _estimates(above: NDArray[np.int64], n: NDArray[np.int64], ks: NDArray[np.int64]) -> Floats:
    """Return the mean over prompts of the unbiased estimates of each layer, [layers, len(k)]."""
    out = np.zeros((above.shape[1], ks.size))
    for size in np.unique(n).tolist():
        table = 1 - missed(size, ks)[::-1]
        out += table[above[n == size]].sum(axis=0)
    return out / len(n)


def _layer_correlations(
    counts: Floats, n: NDArray[np.int64], ks: NDArray[np.int64], rng: np.random.Generator
) -> Floats:
    """Estimate the correlations between layers of the mean estimate by resampling, [len(k), b, b].

    A layer that does not vary in the resamples gets correlation 1 with all others, which gives the
    widest interval.
    """
    tables = {int(size): missed(int(size), ks) for size in np.unique(n)}
    chances = counts / n[:, None]
    products = np.zeros((ks.size, counts.shape[1] - 1, counts.shape[1] - 1))
    for _ in range(_RESAMPLES):
        estimates = []
        for _ in range(2):
            below = rng.multinomial(n, chances).cumsum(axis=1)[:, :-1]
            estimate = np.empty((*below.shape, ks.size))
            for size, table in tables.items():
                estimate[n == size] = table[below[n == size]]
            estimates.append(estimate)
        difference = np.moveaxis(estimates[0] - estimates[1], 2, 0)
        products += difference.swapaxes(1, 2) @ difference
    scale = np.sqrt(np.einsum("kbb->kb", products))
    pairs = scale[:, :, None] * scale[:, None, :]
    return np.where(pairs > 0, products / np.where(pairs > 0, pairs, 1), 1.0)
