"""The kinds of prompts: a mixture of Dirichlet-multinomial distributions, fitted to counts.

An unlearned model keeps leaking some prompts and hardly leaks the others, so a single base measure
fits neither.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

Floats = NDArray[np.float64]
Kinds = list[tuple[Floats, Floats]]

_COARSE = 32  # levels used to separate the kinds of prompts; base measures use all levels
_CONCENTRATION = (1e-3, 1e5)
_TOLERANCE = 1e-7  # relative change of the likelihood at which the search ends
_ROUNDS = 1000


def fit_kinds(levels: Floats, counts: Floats, weight: Floats, kinds: int) -> Kinds:
    """Fit the kinds of prompts by maximum likelihood.

    The likelihood of all prompts, summed over their unknown kinds, is maximised until it no longer
    changes. It may have several maxima; the search starts once from the upper and the lower half of
    the prompts, and once from the prompts above and below the largest gap.

    Args:
        levels: Score levels, increasing, [levels].
        counts: Number of samples of each prompt at each level, [prompts, levels].
        weight: Number of prompts that each row represents, [prompts].
        kinds: 1 or 2.

    Returns:
        For each kind, the probability that each prompt is of this kind, [prompts], and the base
        measure of the kind, [levels], which sums to its concentration.
    """
    starts = np.unique(np.round(np.linspace(0, levels.size - 1, _COARSE)).astype(np.int64))
    hits = np.add.reduceat(counts, starts, axis=1)
    used = np.asarray(hits.any(axis=0))
    if used.sum() == 1:
        return [(np.ones(len(counts)), np.zeros_like(levels))]  # one level: the spread is unknown
    # Equal prompts are one row.
    unique, place = np.unique(hits[:, used], axis=0, return_inverse=True)
    rows = unique.astype(np.float64)
    each = np.bincount(place.ravel(), weight).astype(np.float64)
    climbs = (_climb(rows, each, shares) for shares in _starts(rows, each, kinds))
    _, shares, coarse = max(climbs, key=lambda found: found[0])
    shares = shares[:, place.ravel()]
    fine = _kind_means(shares * weight, counts)
    within = np.add.reduceat(fine, starts, axis=1)[:, used]
    group = np.cumsum(np.isin(np.arange(levels.size), starts)) - 1
    column = np.maximum(np.cumsum(used) - 1, 0)
    bases = np.where(used[group], fine * (coarse / within)[:, column[group]], 0.0)
    return list(zip(shares, bases, strict=True))


def _starts(hits: Floats, weight: Floats, kinds: int) -> list[Floats]:
    """Return first guesses of the probabilities of the kinds, each [kinds, prompts]."""
    if kinds == 1:
        return [np.ones((1, len(hits)))]
    means = hits @ np.arange(hits.shape[1]) / hits.sum(axis=1)
    order = np.argsort(means, kind="stable")
    below = np.empty(len(hits))
    below[order] = np.cumsum(weight[order]) - weight[order] / 2
    splits = [2 * below >= weight.sum()]
    gaps = np.diff(means[order])
    if gaps.size and gaps.max() > 0:
        splits.append(means > means[order][np.argmax(gaps)])
    uppers = [np.where(split, 0.9, 0.1) for split in splits]
    return [np.stack([1 - upper, upper]) for upper in uppers]


def _climb(hits: Floats, weight: Floats, shares: Floats) -> tuple[float, Floats, Floats]:
    """Return the likelihood, the probabilities of the kinds and the base measures at a maximum."""
    kinds, size = len(shares), hits.shape[1]
    pooled = weight @ hits / (weight @ hits).sum()  # one sample, which keeps every level possible
    totals = hits.sum(axis=1)
    cuts = [kinds, kinds * (size + 1)]  # log concentrations, log means, log odds of the kinds
    start = [np.full(kinds, np.log(10.0)), np.log(_kind_means(shares * weight, hits)).ravel()]
    bounds = [tuple(np.log(_CONCENTRATION))] * kinds + [(-25.0, 25.0)] * (kinds * size + kinds - 1)

    def mixed(x: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        log_mass, means, odds = np.split(x, cuts)
        mean = _normalise(means.reshape(kinds, size))
        base = np.exp(log_mass)[:, None] * mean
        prior = _normalise(np.concatenate([[0.0], odds]))
        fits = np.stack([log_likelihood(hits, each) for each in base])
        return mean, base, prior, fits + np.log(prior)[:, None]

    def loss(x: Floats) -> tuple[float, Floats]:
        mean, base, prior, joint = mixed(x)
        total = np.logaddexp.reduce(joint, axis=0)
        value = weight @ total + (np.log(mean) @ pooled).sum()
        share = np.exp(joint - total) * weight
        mass = base.sum(axis=1)
        slopes = np.empty_like(base)
        for m in range(kinds):
            gain = special.digamma(base[m] + hits) - special.digamma(base[m])
            shrink = special.digamma(mass[m] + totals) - special.digamma(mass[m])
            slopes[m] = base[m] * (share[m] @ gain - share[m] @ shrink)
        by_mass = slopes.sum(axis=1)
        by_mean = slopes - mean * by_mass[:, None] + pooled - mean
        mixing = share.sum(axis=1) - prior * weight.sum()
        return -float(value), -np.concatenate([by_mass, by_mean.ravel(), mixing[1:]])

    found = optimize.minimize(
        loss,
        np.concatenate([*start, np.zeros(kinds - 1)]),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"ftol": _TOLERANCE, "gtol": 1e-4, "maxiter": _ROUNDS, "maxfun": 4 * _ROUNDS},
    )
    _, base, _, joint = mixed(found.x)
    return -float(found.fun), _normalise(joint.T).T, base


def _normalise(logs: Floats) -> Floats:
    """Return probabilities from their logs, up to a constant of each row."""
    shares = np.exp(logs - logs.max(axis=-1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=-1, keepdims=True))


def _kind_means(shares: Floats, counts: Floats) -> Floats:
    """Return each kind's mean score distribution, with one pooled sample as smoothing."""
    pooled = shares.sum(axis=0) @ counts
    means = shares @ counts + pooled / pooled.sum()
    return np.asarray(means / means.sum(axis=1, keepdims=True))


def log_likelihood(hits: Floats, base: Floats) -> Floats:
    """Return the Dirichlet-multinomial log-likelihood per prompt up to a constant, [prompts]."""
    within = (special.gammaln(base + hits) - special.gammaln(base)).sum(axis=1)
    total = base.sum()
    return np.asarray(within + special.gammaln(total) - special.gammaln(total + hits.sum(axis=1)))
