"""The sign-flip test against all flips, its inversion, and its size and power."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from leakrepro.stats.estimator import compare_leak, leak_at_k
from leakrepro.stats.sign_flip import SignFlips


def bernoulli(rng: np.random.Generator, p: np.ndarray, n: int) -> np.ndarray:
    return (rng.random((p.size, n)) < p[:, None]).astype(float)


def test_it_equals_all_flips() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        sums = np.round(rng.normal(0.5, 1, 7), 1)
        flips = np.array(list(itertools.product([1, -1], repeat=7)))
        expected = (np.abs(flips @ sums) >= abs(sums.sum()) - 1e-9).mean()
        found = SignFlips.of(sums[:, None], rng.integers(1, 9, 7).astype(float))
        assert found.p_value()[0] == pytest.approx(expected)
        assert found.p_any() == pytest.approx(expected)


def test_the_interval_inverts_the_test() -> None:
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 6, 9).astype(float)
    sums = rng.normal(0.1, 0.1, 9) * sizes
    low, high = SignFlips.of(sums[:, None], sizes).interval(0.95)
    for shift in np.linspace(-0.3, 0.5, 161):
        p = SignFlips.of((sums - shift * sizes)[:, None], sizes).p_value()[0]
        if min(abs(shift - low[0]), abs(shift - high[0])) > 1e-6:
            assert (p > 0.05) == (low[0] < shift < high[0])


def test_few_clusters_cannot_be_significant() -> None:
    difference = compare_leak(np.ones((5, 4)), np.zeros((5, 4)), 1, interval="symmetric")
    assert difference.p_value[0] == pytest.approx(2 / 2**5)
    assert (difference.low[0], difference.high[0]) == (-1, 1)
    assert compare_leak(np.ones((6, 4)), np.zeros((6, 4)), 1).p_value[0] < 0.05


@pytest.mark.parametrize("n_b", [40, 25])
def test_size_for_equal_models_also_with_fewer_samples(n_b: int) -> None:
    """Without thinning, more samples on one side shift the test at k = n."""
    rng = np.random.default_rng(2)
    rejected, anywhere, runs = np.zeros(2), 0, 300
    for _ in range(runs):
        p = np.repeat(rng.beta(0.5, 0.5, 10), 2)
        a, b = bernoulli(rng, p, 40), bernoulli(rng, p, n_b)
        found = compare_leak(a, b, [1, 25], clusters=np.repeat(np.arange(10), 2))
        rejected += found.p_value <= 0.05
        anywhere += found.p_any <= 0.05
    assert (rejected / runs <= 0.085).all()
    assert anywhere / runs <= 0.085


def test_power_where_the_interval_has_none() -> None:
    """A shared difference of .1 at 16 clusters; no interval without assumptions can show it."""
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(16), 5)
    p = rng.beta(0.5, 0.5, 80) * 0.9
    a, b = bernoulli(rng, p + 0.1, 200), bernoulli(rng, p, 200)
    found = compare_leak(a, b, [1, 8], clusters=labels)
    assert found.p_value[0] < 0.01
    assert found.p_any < 0.01
    assert found.low[0] < 0
    assert found.smallest == pytest.approx(40 ** (1 / 16) - 1)
    declared = compare_leak(a, b, 1, clusters=labels, bound=0.3)
    assert declared.low[0] > 0
    assert declared.smallest == pytest.approx(0.3 * found.smallest)
    symmetric = compare_leak(a, b, [1, 8], clusters=labels, interval="symmetric")
    assert 0 < symmetric.low[0] < 0.1 < symmetric.high[0]
    assert list(found.to_frame())[-1] == "p_value"


def test_the_smallest_difference_is_what_the_interval_can_show() -> None:
    for clusters in (8, 16, 40):
        smallest = 40 ** (1 / clusters) - 1
        for shift, shown in ((-0.03, False), (0.03, True)):
            if smallest + shift > 1:
                continue
            a = np.full((clusters, 2), min(1.0, smallest + shift))
            found = compare_leak(a, a * 0, 1)
            assert found.smallest == pytest.approx(smallest)
            assert (found.low[0] > 0) == shown


def test_what_is_refused() -> None:
    a, b = np.ones((6, 4)), np.zeros((6, 3))
    with pytest.raises(ValueError, match=r"differs by 1, more than the declared bound 0\.5"):
        compare_leak(a, b, 1, bound=0.5)
    for bound in (0, -1, 2, np.nan):
        with pytest.raises(ValueError, match="bound must be in"):
            compare_leak(a, b, 1, bound=bound)
    with pytest.raises(ValueError, match="needs the same number of samples on both sides"):
        compare_leak(a, b, 1, interval="symmetric")
    with pytest.raises(ValueError, match="'prompts' or 'symmetric'"):
        compare_leak(a, b, 1, interval="samples")  # type: ignore[arg-type]


def test_cluster_sizes_that_go_with_leak_are_detected() -> None:
    rng = np.random.default_rng(4)
    sizes = np.where(np.arange(40) < 6, 40, 1)
    labels = np.repeat(np.arange(40), sizes)
    same = leak_at_k(bernoulli(rng, np.repeat(rng.beta(1, 1, 40), sizes), 8), clusters=labels)
    assert same.size_p_value > 0.05
    goes = np.where(np.arange(40) < 6, 0.9, rng.beta(1, 4, 40))
    curve = leak_at_k(bernoulli(rng, np.repeat(goes, sizes), 8), clusters=labels)
    assert curve.size_p_value < 0.01
    assert "cluster size goes with leak" in repr(curve)
    assert "cluster size" not in repr(same)
    assert np.isnan(leak_at_k(np.zeros((4, 2))).size_p_value)
