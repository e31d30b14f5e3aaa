"""The interval over samples where prompts are few, alike, or one is like no other."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from leakrepro.stats.estimator import leak_at_k
from leakrepro.stats.kinds import fit_kinds
from leakrepro.stats.posterior import Posterior


def hits(counts: np.ndarray, n: int) -> np.ndarray:
    return (np.arange(n) < np.asarray(counts)[:, None]).astype(float)


def coverage(p: np.ndarray, n: int, ks: np.ndarray, draws: list[np.ndarray]) -> np.ndarray:
    truth = (1 - (1 - p[:, None]) ** ks).mean(axis=0)
    curves = [leak_at_k(hits(c, n), ks.tolist(), interval="samples") for c in draws]
    return np.array([(c.low <= truth + 1e-12) & (truth <= c.high + 1e-12) for c in curves])


@pytest.mark.parametrize("p", [0.002, 0.01, 0.03, 0.1])
@pytest.mark.parametrize("others", [0, 1, 4, 79])
@pytest.mark.parametrize("rest", [0.0, 1.0])
def test_one_rare_prompt_is_covered_exactly(p: float, others: int, rest: float) -> None:
    """Only one prompt varies, so that the coverage is a sum over its counts."""
    n, ks = 50, np.array([1, 10, 50])
    weight = stats.binom.pmf(np.arange(n + 1), n, p)
    likely = np.flatnonzero(weight > 1e-3)
    each = np.concatenate([np.full(others, rest), [p]])
    draws = [np.concatenate([np.full(others, rest * n), [c]]) for c in likely]
    assert (weight[likely] @ coverage(each, n, ks, draws) >= 0.95 - 2e-3).all()


@pytest.mark.parametrize("prompts", [2, 5, 20])
def test_prompts_that_leak_three_times_are_covered_at_all_samples(prompts: int) -> None:
    """Around the estimate alone, coverage at k = n was .14 with 5 prompts and .52 with 20."""
    rng = np.random.default_rng(prompts)
    p, ks = np.full(prompts, 3 / 50), np.array([1, 25, 50])
    draws = [rng.binomial(50, p) for _ in range(30)]
    assert (coverage(p, 50, ks, draws).mean(axis=0) >= 0.9).all()


def test_an_end_is_the_estimate_only_where_no_room_is_left() -> None:
    curve = leak_at_k(hits(np.arange(1, 6), 50), [50], interval="samples")
    assert curve.value[0] == 1
    assert 0.5 < curve.low[0] < 0.9
    for counts in ([50] * 19 + [0], [50] * 19 + [1], [0] * 5, [20, 30]):
        curve = leak_at_k(hits(np.array(counts), 50), [1, 8, 50], interval="samples")
        assert ((curve.low < curve.value) | (curve.value == 0)).all()
        assert ((curve.high > curve.value) | (curve.value == 1)).all()


@pytest.mark.parametrize("width", [0.003, 0.0001])
def test_scores_in_a_narrow_band(width: float) -> None:
    """Levels at fixed distances saw one score only: coverage .49."""
    rng = np.random.default_rng(1)
    n, prompts, ks = 40, 6, np.array([1, 8, 40])
    z = np.linspace(-7, 7, 2001)
    maximum = np.array(
        [np.trapezoid(z * k * stats.norm.cdf(z) ** (k - 1) * stats.norm.pdf(z), z) for k in ks]
    )
    inside, most = np.zeros(3), np.zeros(3)
    for _ in range(12):
        scores = rng.normal(0.6, width, (prompts, n))
        curve = leak_at_k(scores, ks.tolist(), interval="samples")
        truth = 0.6 + width * maximum
        inside += (curve.low <= truth) & (truth <= curve.high)
        assert (curve.low < curve.value).all()
        most = np.maximum(most, (curve.high - curve.low) / width)
    assert (inside >= 11).all()
    assert (most < [0.6, 1.5, 4]).all()  # the standard error at k = 1 is .065 of the width


def test_the_kinds_are_fitted_to_convergence() -> None:
    """At a maximum, a small step in any direction lowers the likelihood."""
    rng = np.random.default_rng(2)
    p = np.where(rng.random(200) < 0.1, 0.5, 0.01)
    c = rng.binomial(30, p)
    counts = np.stack([30 - c, c], axis=1).astype(float)
    (low, first), (high, second) = fit_kinds(np.array([0.0, 1.0]), counts, np.ones(200), 2)
    shares = sorted([(low.mean(), first), (high.mean(), second)], key=lambda each: each[0])
    assert shares[0][0] == pytest.approx((p == 0.5).mean(), abs=0.03)
    assert shares[0][1][1] / shares[0][1].sum() == pytest.approx(0.5, abs=0.06)
    assert shares[1][1][1] / shares[1][1].sum() == pytest.approx(0.01, abs=0.003)


@pytest.mark.parametrize("n", [20, 40])
def test_extrapolation_from_two_kinds_has_little_bias(n: int) -> None:
    """Ten rounds of EM gave a bias of -.045 at 2 n."""
    rng = np.random.default_rng(n)
    p = np.repeat([0.5, 0.01], [8, 72])
    ks = np.array([n, 2 * n])
    gains = []
    for _ in range(60):
        c = rng.binomial(n, p)
        mean = Posterior.of_hits(c, np.full(80, n)).mean_leak(ks)
        gains.append(mean[1] - mean[0])
    truth = (1 - (1 - p[:, None]) ** ks).mean(axis=0)
    assert abs(np.mean(gains) - (truth[1] - truth[0])) < 0.02
