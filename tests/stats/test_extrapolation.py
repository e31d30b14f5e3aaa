"""Beyond the samples, tested by holding samples out; and how often prompts leak."""

from __future__ import annotations

import numpy as np
import pytest

from leakrepro.stats import extrapolation
from leakrepro.stats.counts import leak_counts
from leakrepro.stats.estimator import leak_at_k
from leakrepro.stats.extrapolation import extrapolate_leak


def hits(rng: np.random.Generator, p: np.ndarray, n: int) -> np.ndarray:
    return (rng.random((p.size, n)) < p[:, None]).astype(float)


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (0.05, 3), (0.3, 30)])
def test_held_out_samples_are_foreseen(a: float, b: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """From 50 samples to leak@100 and leak@200 of 200; the interval covers the population's.

    ``make coverage`` does the same with many more runs.
    """
    monkeypatch.setattr(extrapolation, "_REFITS", 20)
    rng = np.random.default_rng(4)
    covered, error = np.zeros(2), []
    runs = 20
    big = rng.beta(a, b, 400_000)
    truth = (1 - (1 - big[:, None]) ** np.array([100, 200])).mean(axis=0)
    for _ in range(runs):
        scores = hits(rng, rng.beta(a, b, 100), 200)
        curve = extrapolate_leak(scores[:, :50], [100, 200])
        held_out = leak_at_k(scores, [100, 200])
        error.append(curve.value - held_out.value)
        covered += (curve.low <= truth) & (truth <= curve.high)
    assert (covered / runs >= 0.75).all()
    # On average it meets what all samples say: without extrapolation it would be off by more.
    assert (np.abs(np.mean(error, axis=0)) < 0.04).all()


def test_it_is_the_unbiased_estimate_where_there_is_one() -> None:
    rng = np.random.default_rng(0)
    scores = hits(rng, rng.beta(0.3, 1, 40), 20)
    inside = leak_at_k(scores, [1, 8])
    curve = extrapolate_leak(scores, [1, 8, 32, 500], clusters=[i // 4 for i in range(40)])
    np.testing.assert_array_equal(curve.value[:2], inside.value)
    assert curve.k.tolist() == [1, 8, 32, 500]
    assert (np.diff(curve.value) > 0).all()
    assert (np.diff(curve.low) >= 0).all()
    assert ((curve.low <= curve.value) & (curve.value <= curve.high)).all()
    assert (curve.n_clusters, curve.n_samples) == (10, 20)
    np.testing.assert_array_equal(extrapolate_leak(scores, [1, 8]).value, inside.value)
    np.testing.assert_array_equal(extrapolate_leak(scores, [20]).high, leak_at_k(scores, [20]).high)


def test_no_leak_at_all_leaves_room_above() -> None:
    curve = extrapolate_leak(np.zeros((30, 50)), [50, 200])
    assert curve.value.tolist() == [0, 0]
    assert curve.high[1] >= curve.high[0] > 0.05


def test_real_scores_are_extrapolated() -> None:
    rng = np.random.default_rng(1)
    shape = rng.uniform(1, 4, 60)
    scores = rng.beta(shape[:, None], 6, (60, 200))
    curve = extrapolate_leak(scores[:, :60], [200])
    assert abs(curve.value[0] - leak_at_k(scores, [200]).value[0]) < 0.05
    assert curve.low[0] < leak_at_k(scores, [200]).value[0] < curve.high[0]


def test_wrong_k_is_refused() -> None:
    for k in ([], [0, 4], [8, 4], [4, 4]):
        with pytest.raises(ValueError, match="strictly increasing"):
            extrapolate_leak([[0.0, 1.0]], k)


def test_counts() -> None:
    found = leak_counts([[0, 0.4, 1], [0.5, 0.5, 0.2], [0, 0, 0]], 0.5)
    assert found.counts.tolist() == [1, 2, 0]
    assert found.samples.tolist() == [3, 3, 3]
    assert found.average.value[0] == pytest.approx(1 / 3)
    assert found.ever is not None
    assert found.ever.value[0] == pytest.approx(2 / 3)
    assert found.histogram([0, 1, 4]).tolist() == [1, 2]
    ragged = leak_counts([[1.0], [0.0, 1.0]])
    assert ragged.ever is None
    with pytest.raises(ValueError, match="do not cover all prompts, which have 0 to 2"):
        found.histogram([1, 2])
    with pytest.raises(ValueError, match="edges must be strictly increasing"):
        found.histogram([3, 1])
    with pytest.raises(ValueError, match="threshold"):
        leak_counts([[1.0]], 0.0)
