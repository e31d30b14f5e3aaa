"""Extrapolation of leak@k to k above the number of samples."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leakrepro.stats.checks import check_confidence, check_k, check_rng, check_scores
from leakrepro.stats.clusters import Clusters, cluster_bootstrap
from leakrepro.stats.estimator import LeakCurve, leak_at_k
from leakrepro.stats.posterior import Posterior
from leakrepro.types import Scores

Floats = NDArray[np.float64]

_REFITS = 100  # fits to resampled clusters


def extrapolate_leak(
    scores: Scores | ArrayLike | Iterable[ArrayLike],
    k: Sequence[int],
    *,
    confidence: float = 0.95,
    clusters: Sequence[Hashable] | None = None,
    rng: int | np.random.Generator = 0,
) -> LeakCurve:
    """Estimate leak@k for k above the number of samples, with intervals over prompts.

    An estimate beyond n samples needs an assumption: a prompt that never leaked in 200 samples may
    leak once in 300 samples, or never. The assumption is that there are two kinds of prompts, and
    that the score distributions of each kind follow a Dirichlet process
    (``leakrepro.stats.posterior``), which is fitted to the scores of all prompts. The estimate is
    the mean over prompts of the posterior mean of leak@k, shifted to agree with the unbiased
    estimate at n samples. The interval spans three intervals: the cluster bootstrap of
    ``leak_at_k`` around the fit with two kinds, the same around a fit with one kind, and the
    quantiles of fits to resampled clusters. It is wide if the data do not distinguish the fits. The
    lower bound is never below the lower bound at the largest unbiased k, because leak@k increases
    with k.

    Coverage is not guaranteed; ``make coverage`` measures it. Far beyond n it depends on how rare
    leaks are, because the samples say little about prompts that never leaked.

    >>> curve = extrapolate_leak([[0, 0, 0, 1], [0, 0, 0, 0]], k=[8, 16])
    >>> bool((curve.value > 0.5).all())
    True

    Args:
        scores: Scores in [0, 1], prompts x samples.
        k: Strictly increasing sample counts; those up to the number of samples get the unbiased
            estimate.
        confidence: Level of the intervals, in (0, 1).
        clusters: One label per prompt; prompts with the same label depend on each other.
        rng: Seed or generator of the bootstrap weights and the resampled clusters. Every part of
            the computation starts from the seed, or continues the generator.

    Returns:
        The curve; for k above the number of samples ``per_prompt`` contains posterior means.

    Raises:
        ValueError: If the scores are empty, a prompt does not have samples, a score is nan or
            outside [0, 1], ``k`` does not increase, ``confidence`` is outside (0, 1), or
            ``clusters`` does not have one label per prompt.
        TypeError: If ``rng`` is None.
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
    bounds = [
        cluster_bootstrap(fit, confidence=confidence, clusters=clusters, rng=rng) for fit in fits
    ]
    refitted = _refit(checked, beyond, anchor.per_prompt[:, -1:], n, clusters, rng)
    tails = np.quantile(refitted, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    value = np.clip(fits[0].mean(axis=0), anchor.value[-1], 1)
    low = np.maximum(np.min([bounds[0].low, bounds[1].low, tails[0]], axis=0), anchor.low[-1])
    high = np.clip(np.max([bounds[0].high, bounds[1].high, tails[1]], axis=0), anchor.high[-1], 1)
    count = inside.size
    return LeakCurve(
        k=ks,
        value=np.concatenate([anchor.value[:count], value]),
        low=np.concatenate([anchor.low[:count], np.minimum(low, value)]),
        high=np.concatenate([anchor.high[:count], np.maximum(high, value)]),
        stderr=np.concatenate(
            [anchor.stderr[:count], np.maximum(bounds[0].stderr, bounds[1].stderr)]
        ),
        per_prompt=np.concatenate([anchor.per_prompt[:, :count], np.clip(fits[0], 0, 1)], axis=1),
        confidence=confidence,
        interval="prompts",
        n_clusters=anchor.n_clusters,
        n_samples=n,
        size_p_value=anchor.size_p_value,
    )


def _fit(scores: Scores, ks: NDArray[np.int64], unbiased: Floats, n: int, kinds: int) -> Floats:
    """Return posterior means, shifted to agree with the estimates at n, [prompts, len(k)]."""
    posterior = Posterior.of(scores, kinds)
    start = posterior.leak(np.array([n]))
    # A single prompt's value may leave [0, 1]; clipping here would bias the mean over prompts.
    return unbiased + posterior.leak(ks) - start


def _refit(
    scores: Scores,
    ks: NDArray[np.int64],
    unbiased: Floats,
    n: int,
    clusters: Sequence[Hashable] | None,
    rng: int | np.random.Generator,
) -> Floats:
    """Return estimates from fits to resampled clusters, [fits, len(k)]."""
    rng = check_rng(rng)
    index = Clusters.of(clusters, len(scores)).index
    groups = [np.flatnonzero(index == g) for g in range(index.max() + 1)]
    values = []
    for fit in range(_REFITS):
        picked = [i for g in rng.integers(len(groups), size=len(groups)) for i in groups[g]]
        again = Scores.from_rows(scores[i] for i in picked)
        values.append(_fit(again, ks, unbiased[picked], n, 1 + fit % 2).mean(axis=0))
    return np.array(values)
