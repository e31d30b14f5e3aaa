"""Plans that stop early: exact expectation, and what they refuse."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from leakrepro.stats.adaptive import AdaptivePlan, PilotPlan
from leakrepro.stats.estimator import leak_at_k


def stopped(plan: AdaptivePlan, draws: np.ndarray) -> np.ndarray:
    """The samples that a plan takes of a long row."""
    for look in plan.looks:
        if plan.stops(int(draws[:look].sum()), look):
            return draws[:look]
    raise AssertionError


@pytest.mark.parametrize(("hits", "cap"), [(1, 10), (2, 10), (3, 12), (2, 8), (5, 16)])
def test_the_expectation_over_all_orders_is_exact(hits: int, cap: int) -> None:
    plan = AdaptivePlan(hits=hits, cap=cap)
    ks = list(range(1, cap + 1))
    orders = np.array(list(itertools.product([0.0, 1.0], repeat=cap)))
    estimates = np.array([plan.leak(stopped(plan, row), ks) for row in orders])
    for p in (0.05, 0.3, 0.8):
        weight = p ** orders.sum(1) * (1 - p) ** (cap - orders.sum(1))
        expected = 1 - (1 - p) ** np.array(ks)
        np.testing.assert_allclose(weight @ estimates, expected, rtol=0, atol=1e-12)


def test_a_plan_that_never_stops_early_is_the_ordinary_estimator() -> None:
    plan = AdaptivePlan(hits=40, cap=40)
    rng = np.random.default_rng(0)
    scores = (rng.random((30, 40)) < rng.beta(0.5, 2, (30, 1))).astype(float)
    ks = [1, 5, 32]
    np.testing.assert_allclose(
        [plan.leak(row, ks) for row in scores], leak_at_k(scores, ks).per_prompt, atol=1e-12
    )


@pytest.mark.parametrize("hits", [1, 2, 4])
def test_simulated_plans_are_unbiased_and_save(hits: int) -> None:
    """200,000 prompts a population; 4 standard errors are about 0.004."""
    plan = AdaptivePlan(hits=hits, cap=200)
    rng = np.random.default_rng(hits)
    ks = [1, 8, 128]
    for a, b in ((0.5, 0.5), (0.05, 3)):
        p = rng.beta(a, b, 200_000)
        left = np.full(p.size, True)
        counts, total, first = np.zeros(p.size, int), np.zeros(p.size, int), 0
        for look in plan.looks:
            counts[left] += rng.binomial(look - first, p[left])
            total[left], first = look, look
            left &= counts < hits
        ends, inverse = np.unique(np.stack([total, counts]), axis=1, return_inverse=True)
        # The estimate does not depend on the order within a path: hits at the end will do.
        rows = [np.repeat([0.0, 1.0], [n - c, c]) for n, c in ends.T.tolist()]
        estimates = np.array([plan.leak(row, ks) for row in rows])[inverse]
        truth = 1 - (1 - p[:, None]) ** np.array(ks)
        error = (estimates - truth).mean(0)
        limit = 4 * (estimates - truth).std(0) / math.sqrt(p.size)
        assert (np.abs(error) < limit).all(), (error, limit)
        if truth[:, 2].mean() > 0.5:
            assert total.mean() < 100


def test_leak_at_k_takes_a_plan() -> None:
    plan = AdaptivePlan(hits=2, cap=100)
    rng = np.random.default_rng(3)
    p = rng.beta(0.3, 1, 4000)
    rows = [stopped(plan, (rng.random(100) < q).astype(float)) for q in p]
    curve = leak_at_k(rows, plan=plan)
    assert curve.k.tolist() == [1, 2, 4, 8, 16, 32, 64]
    truth = (1 - (1 - p[:, None]) ** curve.k).mean(0)
    assert ((curve.low < truth) & (truth < curve.high)).all()
    np.testing.assert_allclose(curve.value, truth, atol=4 * 0.4 / math.sqrt(4000))
    assert leak_at_k(rows, [100], plan=plan).value[0] == pytest.approx(
        np.mean([row.any() for row in rows])
    )


def test_what_does_not_fit_a_plan_is_refused() -> None:
    plan = AdaptivePlan(hits=2, cap=32)
    with pytest.raises(ValueError, match=r"prompt 1: .* does not stop at 9 samples with 2 hits"):
        leak_at_k([[0.0] * 32, [0.0] * 7 + [1.0] * 2], plan=plan)
    with pytest.raises(ValueError, match=r"prompt 0: .* does not stop at 16 samples with 3 hits"):
        leak_at_k([[1.0, 1.0, 1.0] + [0.0] * 13], plan=plan)
    with pytest.raises(ValueError, match=r"prompt 0: .* does not stop at 8 samples with 1 hits"):
        leak_at_k([[1.0] + [0.0] * 7], plan=plan)
    with pytest.raises(ValueError, match="prompt 0 has 32 samples, fewer than k = 64"):
        leak_at_k([[0.0] * 32], [64], plan=plan)
    with pytest.raises(ValueError, match="scores of 0 and 1; a PilotPlan takes any"):
        leak_at_k([[0.5] * 32], plan=plan)
    with pytest.raises(ValueError, match="supports interval='prompts' only"):
        leak_at_k([[0.0] * 32], plan=plan, interval="samples")
    with pytest.raises(ValueError, match="hits must be"):
        AdaptivePlan(hits=0)
    with pytest.raises(ValueError, match="least <= cap"):
        PilotPlan(least=300)


def test_a_pilot_gives_more_to_prompts_that_vary() -> None:
    plan = PilotPlan(pilot=4, least=16, cap=40)
    pilots = [np.zeros(4), np.array([0.0, 1, 0, 1]), np.array([0.0, 0.5, 0, 0.5])]
    assert plan.counts(pilots).tolist() == [16, 40, 20]
    assert plan.counts([np.zeros(4)] * 2).tolist() == [16, 16]
