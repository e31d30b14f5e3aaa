"""The posterior's mean and variance against simulation."""

from __future__ import annotations

import numpy as np
import pytest

from leakrepro.stats.estimator import leak_at_k
from leakrepro.stats.posterior import Posterior, beta_quantile
from leakrepro.stats.variation import over_samples
from leakrepro.types import Scores

LEVELS = np.array([0.0, 0.2, 0.7, 1.0])
MASS = np.array([[2.0, 0.6, 1.5, 0.3], [8.0, 1.0, 0.5, 0.1]])
KS = np.array([1, 3, 40])


def made(counts: np.ndarray, base: np.ndarray) -> Posterior:
    return Posterior(LEVELS, counts, np.ones(len(counts)), [(np.ones(len(counts)), base)])


def test_the_mean_agrees_with_simulated_distributions() -> None:
    posterior = made(np.zeros((1, 4)), MASS[0])
    below = np.cumsum(np.random.default_rng(0).dirichlet(MASS[0], 400_000), axis=1)[:, :-1]
    leak = 1 - np.stack([below**k @ np.diff(LEVELS) for k in KS], axis=1)
    np.testing.assert_allclose(posterior.leak(KS)[0], leak.mean(axis=0), atol=0.003)


def test_the_variance_is_that_of_estimates_under_new_samples() -> None:
    """Against simulated estimates; 4,000 probabilities with 10 each are accurate to 3 %."""
    counts, base, n = np.array([[9.0, 3.0], [12.0, 0.0], [1.0, 11.0]]), np.array([1.0, 0.5]), 12
    ks = np.array([1, 4, 10])
    rng = np.random.default_rng(1)
    expected = np.zeros(3)
    for row in counts:
        p = rng.dirichlet(row + base, 4000)[:, 1]
        scores = (rng.random((4000, 10, n)) < p[:, None, None]).astype(float)
        estimates = leak_at_k(scores.reshape(-1, n), ks.tolist()).per_prompt.reshape(4000, 10, 3)
        expected += estimates.var(axis=1, ddof=1).mean(axis=0)
    posterior = Posterior(np.array([0.0, 1.0]), counts, np.ones(3), [(np.ones(3), base)])
    np.testing.assert_allclose(posterior.variance(ks), expected / 9, rtol=0.06)


def test_layers_add_up_to_the_deviation_of_graded_scores() -> None:
    """Means of 30 prompts of 100 uniform scores: sqrt(1 / 12 / 3000) at k = 1, and simulated."""
    rng = np.random.default_rng(3)
    ks = np.array([1, 16])
    scores = Scores.from_rows(rng.random((30, 100)))
    value = leak_at_k(scores, ks.tolist()).value
    found = over_samples(scores, ks, value)
    again = [leak_at_k(rng.random((30, 100)), ks.tolist()).value for _ in range(300)]
    np.testing.assert_allclose(found.stderr, np.std(again, axis=0), rtol=0.25)
    assert found.stderr[0] == pytest.approx((1 / 12 / 3000) ** 0.5, rel=0.1)
    assert (found.low < value).all()
    assert (found.high > value).all()


def test_equal_prompts_share_a_row() -> None:
    rng = np.random.default_rng(5)
    hits = rng.binomial(50, rng.beta(0.3, 2, 200))
    scores = Scores.from_rows(np.repeat([0.0, 1.0], [50 - c, c]) for c in hits)
    ks = np.array([1, 8, 40])
    each, shared = Posterior.of(scores), Posterior.of_hits(hits, np.full(200, 50))
    assert len(shared.counts) == len(set(hits.tolist()))
    np.testing.assert_allclose(shared.mean_leak(ks, 1), each.mean_leak(ks, 1), rtol=1e-3)
    np.testing.assert_allclose(shared.variance(ks, 0), each.variance(ks, 0), rtol=1e-2)


def test_kinds_are_found() -> None:
    rng = np.random.default_rng(2)
    p = np.concatenate([np.full(30, 0.9), np.full(70, 0.002)])
    scores = Scores.from_rows((rng.random((100, 200)) < p[:, None]).astype(float))
    two = Posterior.of(scores)
    (low, _), (high, _) = two.kinds
    assert (high[:30] > 0.99).all()
    assert (low[30:] > 0.99).all()
    assert two.leak(np.array([1000]))[:30].min() > 0.999
    ((share, _),) = Posterior.of(scores, kinds=1).kinds
    assert (share == 1).all()


def test_beta_quantiles() -> None:
    mean, variance = np.array([0.3, 0.0, 0.5]), np.array([0.01, 0.0, 0.0])
    found = beta_quantile(mean, variance, 0.5)
    assert found[0] == pytest.approx(0.29, abs=0.01)
    assert found[1:].tolist() == [0.0, 0.5]
