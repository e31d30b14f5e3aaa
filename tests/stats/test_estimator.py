"""The estimator against enumeration, closed forms, and simulated coverage."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special

from leakrepro.stats.estimator import chance_curve, compare_leak, leak_at_k
from leakrepro.types import Scores


def _mean_maximum(row: np.ndarray, k: int) -> float:
    return float(np.mean([max(subset) for subset in itertools.combinations(row, k)]))


def _hits(counts: np.ndarray, n: int) -> np.ndarray:
    """0/1 scores with so many ones in each row."""
    return (np.arange(n) < counts[:, None]).astype(float)


def _population_leak(a: float, b: float, ks: np.ndarray) -> np.ndarray:
    """E[1 - (1 - p)^k] for p from Beta(a, b)."""
    return 1 - np.exp(special.betaln(a, b + ks) - special.betaln(a, b))


class TestEstimate:
    @pytest.mark.parametrize("n", [1, 2, 3, 5, 9])
    def test_equals_enumeration_of_all_subsets_with_ties(self, n: int) -> None:
        rng = np.random.default_rng(n)
        scores = np.round(rng.random((6, n)) * 4) / 4
        curve = leak_at_k(scores, range(1, n + 1))
        expected = [[_mean_maximum(row, k) for k in range(1, n + 1)] for row in scores]
        np.testing.assert_allclose(curve.per_prompt, expected, rtol=0, atol=1e-14)
        np.testing.assert_allclose(curve.value, np.mean(expected, axis=0), rtol=0, atol=1e-14)

    @pytest.mark.parametrize("n", [1, 7, 64, 200])
    def test_equals_the_closed_form_of_hits(self, n: int) -> None:
        counts = np.arange(n + 1)
        ks = [k for k in (1, 2, 3, 8, 63, 128, n - 1, n) if 1 <= k <= n]
        ks = sorted(set(ks))
        expected = [
            [float(1 - Fraction(math.comb(n - c, k), math.comb(n, k))) for k in ks] for c in counts
        ]
        np.testing.assert_allclose(
            leak_at_k(_hits(counts, n), ks).per_prompt, expected, rtol=1e-12, atol=0
        )

    def test_many_samples_do_not_overflow(self) -> None:
        n, k = 20_000, 10_000
        curve = leak_at_k(_hits(np.array([1, 2]), n), [k])
        np.testing.assert_allclose(
            curve.per_prompt[:, 0], [0.5, 1 - 0.5 * (n - k - 1) / (n - 1)], rtol=1e-9
        )

    def test_ragged_prompts_count_alike(self) -> None:
        rows = [[0.0, 0.5, 1.0], [0.25, 0.0], [1.0, 0.0, 0.0, 0.0]]
        curve = leak_at_k(rows, [1, 2])
        np.testing.assert_allclose(curve.per_prompt[:, 0], [0.5, 0.125, 0.25], atol=1e-15)
        np.testing.assert_allclose(curve.per_prompt[:, 1], [5 / 6, 0.25, 0.5], atol=1e-15)
        same = leak_at_k(Scores.from_rows(rows), [1, 2])
        np.testing.assert_array_equal(same.per_prompt, curve.per_prompt)
        np.testing.assert_array_equal(same.low, curve.low)
        assert (curve.n_prompts, curve.n_samples) == (3, 2)

    def test_is_unbiased(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """E[max of 4] of three levels, from 8 samples; 5 standard errors are 0.008."""
        rng = np.random.default_rng(7)
        levels, chances = np.array([0.0, 0.3, 1.0]), np.array([0.7, 0.2, 0.1])
        cumulative = np.cumsum(chances) ** 4
        truth = float(levels @ np.diff(cumulative, prepend=0))
        scores = rng.choice(levels, size=(30_000, 8), p=chances)
        monkeypatch.setattr(
            "leakrepro.stats.clusters.REPLICATES", 10
        )  # the interval is not looked at
        per_prompt = leak_at_k(scores, [4]).per_prompt[:, 0]
        error = per_prompt.std() / math.sqrt(per_prompt.size)
        assert 5 * error < 0.01
        assert abs(per_prompt.mean() - truth) < 5 * error

    @settings(max_examples=60, deadline=None)
    @given(
        hnp.arrays(
            np.float64,
            st.tuples(st.integers(1, 4), st.integers(1, 12)),
            elements=st.floats(0, 1),
        ),
        st.randoms(use_true_random=False),
    )
    def test_properties(self, scores: np.ndarray, random: object) -> None:
        n = scores.shape[1]
        curve = leak_at_k(scores, range(1, n + 1), interval="samples")
        values = curve.per_prompt
        assert np.all(np.diff(values, axis=1) >= -1e-12)
        assert np.all(values >= scores.min(axis=1, keepdims=True))
        assert np.all(values <= scores.max(axis=1, keepdims=True))
        np.testing.assert_allclose(values[:, 0], scores.mean(axis=1), atol=1e-12)
        np.testing.assert_array_equal(values[:, -1], scores.max(axis=1))
        order = np.random.default_rng(random.randrange(1 << 30)).permutation(n)  # type: ignore[attr-defined]
        shuffled = leak_at_k(scores[:, order], range(1, n + 1), interval="samples")
        np.testing.assert_array_equal(shuffled.per_prompt, values)

    @pytest.mark.parametrize(
        ("n", "expected"), [(1, [1]), (4, [1, 2, 4]), (200, 2 ** np.arange(8))]
    )
    def test_default_k_are_powers_of_two(self, n: int, expected: list[int]) -> None:
        np.testing.assert_array_equal(leak_at_k(np.zeros((2, n))).k, expected)

    def test_default_k_stop_at_the_poorest_prompt(self) -> None:
        assert leak_at_k([[0.0] * 9, [0.0] * 5]).k.tolist() == [1, 2, 4]

    def test_at_gives_one_point(self) -> None:
        curve = leak_at_k([[0, 0, 1, 1]], [1, 2])
        assert curve.at(2) == (curve.value[1], curve.low[1], curve.high[1])
        with pytest.raises(ValueError, match=r"does not have k = 4, only \[1, 2\]"):
            curve.at(4)


class TestIntervalOverPrompts:
    def test_covers_where_the_percentile_bootstrap_does_not(self) -> None:
        """Rare leaks, 80 prompts, 200 samples: nominal .95, the percentile bootstrap gives .73."""
        rng = np.random.default_rng(3)
        ks, n, prompts, runs = np.array([1, 128]), 200, 80, 200
        truth = _population_leak(0.02, 20, ks)
        ours, percentile = np.zeros(2), np.zeros(2)
        for _ in range(runs):
            hits = _hits(rng.binomial(n, rng.beta(0.02, 20, prompts)), n)
            curve = leak_at_k(hits, ks, rng=rng)
            ours += (curve.low <= truth) & (truth <= curve.high)
            again = curve.per_prompt[rng.integers(prompts, size=(400, prompts))].mean(axis=1)
            low, high = np.quantile(again, [0.025, 0.975], axis=0)
            percentile += (low <= truth) & (truth <= high)
        assert np.all(ours / runs >= 0.94)
        assert percentile[0] / runs < 0.82

    def test_is_not_needlessly_wide(self) -> None:
        """Where leaks are common it is about the normal interval, 2 x 1.96 standard errors."""
        rng = np.random.default_rng(4)
        curve = leak_at_k(_hits(rng.binomial(200, rng.beta(1, 1, 400)), 200), [1])
        assert 0.98 < (curve.high - curve.low)[0] / (2 * 1.96 * curve.stderr[0]) < 1.1

    def test_covers_under_clusters_of_unequal_size(self) -> None:
        rng = np.random.default_rng(5)
        sizes = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 20, 30])
        labels = np.repeat(np.arange(sizes.size), sizes).tolist()
        ks, runs = np.array([1, 16]), 100
        truth = _population_leak(0.2, 2, ks)
        clustered, plain = np.zeros(2), np.zeros(2)
        for _ in range(runs):
            hits = _hits(rng.binomial(64, np.repeat(rng.beta(0.2, 2, sizes.size), sizes)), 64)
            curve = leak_at_k(hits, ks, clusters=labels, rng=rng)
            clustered += (curve.low <= truth) & (truth <= curve.high)
            curve = leak_at_k(hits, ks, rng=rng)
            plain += (curve.low <= truth) & (truth <= curve.high)
        assert np.all(clustered / runs >= 0.95)
        assert np.all(plain / runs < 0.75)

    def test_clusters_widen_the_interval_when_prompts_agree(self) -> None:
        rng = np.random.default_rng(6)
        hits = _hits(np.repeat(rng.binomial(50, rng.beta(1, 1, 20)), 5), 50)
        labels = [f"author {i // 5}" for i in range(100)]
        alone, together = leak_at_k(hits, [1, 8]), leak_at_k(hits, [1, 8], clusters=labels)
        np.testing.assert_array_equal(alone.value, together.value)
        np.testing.assert_allclose(together.stderr / alone.stderr, math.sqrt(5), rtol=0.03)
        assert np.all(together.high - together.low > 1.8 * (alone.high - alone.low))
        assert (alone.n_clusters, together.n_clusters) == (100, 20)

    def test_clusters_of_one_prompt_change_nothing(self) -> None:
        hits = _hits(np.array([0, 3, 8, 8, 1]), 10)
        alone, labelled = leak_at_k(hits), leak_at_k(hits, clusters="abcde")
        np.testing.assert_array_equal(alone.low, labelled.low)
        np.testing.assert_array_equal(alone.stderr, labelled.stderr)
        np.testing.assert_allclose(
            alone.stderr, alone.per_prompt.std(axis=0, ddof=1) / math.sqrt(5), rtol=1e-12
        )

    def test_no_leak_leaves_an_upper_end(self) -> None:
        """One phantom among 80: its share is Beta(1, 80)."""
        curve = leak_at_k(np.zeros((80, 200)))
        assert np.all(curve.value == 0)
        assert np.all(curve.low == 0)
        np.testing.assert_allclose(curve.high, 1 - 0.025 ** (1 / 80), rtol=0.05)

    def test_all_leaks_leave_a_lower_end(self) -> None:
        curve = leak_at_k(np.ones((80, 200)))
        assert np.all(curve.value == 1)
        assert np.all(curve.high == 1)
        np.testing.assert_allclose(1 - curve.low, 1 - 0.025 ** (1 / 80), rtol=0.05)

    def test_one_cluster_has_no_standard_error_but_an_interval(self) -> None:
        curve = leak_at_k([[0.5, 0.5], [0.5, 0.5]], [1], clusters=["a", "a"])
        assert np.isnan(curve.stderr[0])
        np.testing.assert_allclose([curve.low[0], curve.high[0]], [0.0125, 0.9875], atol=0.005)

    def test_many_prompts_are_drawn_in_chunks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hits = _hits(np.arange(40) % 9, 8)
        whole = leak_at_k(hits)
        monkeypatch.setattr("leakrepro.stats.clusters._CHUNK", 1000)
        parts = leak_at_k(hits)
        np.testing.assert_allclose(parts.low, whole.low, rtol=1e-12)
        np.testing.assert_allclose(parts.high, whole.high, rtol=1e-12)

    def test_seed_and_confidence(self) -> None:
        hits = _hits(np.arange(30) % 11, 10)
        first, again = leak_at_k(hits), leak_at_k(hits, rng=np.random.default_rng(0))
        np.testing.assert_array_equal(first.low, again.low)
        other = leak_at_k(hits, rng=np.random.default_rng(1))
        assert np.any(first.low != other.low)
        wide = leak_at_k(hits, confidence=0.99)
        assert np.all(wide.low < first.low)
        assert np.all(wide.high > first.high)


class TestIntervalOverSamples:
    # 2,000 runs a cell are in reference/measured/coverage.csv (make coverage).
    @pytest.mark.parametrize(("a", "b"), [(0.02, 20), (0.2, 2), (0.5, 0.5)])
    def test_covers_these_prompts(self, a: float, b: float) -> None:
        rng = np.random.default_rng(8)
        ks, runs = np.array([1, 8, 128]), 100
        covered = np.zeros(3)
        for _ in range(runs):
            p = rng.beta(a, b, 60)
            truth = (1 - (1 - p[:, None]) ** ks).mean(axis=0)
            curve = leak_at_k(_hits(rng.binomial(200, p), 200), ks, interval="samples")
            covered += (curve.low <= truth) & (truth <= curve.high)
        assert np.all(covered / runs >= 0.88)

    def test_covers_two_kinds_of_prompts(self) -> None:
        """Some prompts always leak, the others rarely: one base measure covered .5 at k = 128."""
        rng = np.random.default_rng(14)
        ks, runs = np.array([1, 8, 128]), 100
        covered = np.zeros(3)
        for _ in range(runs):
            p = np.where(rng.random(80) < 0.4, 1, rng.beta(0.5, 100, 80))
            truth = (1 - (1 - p[:, None]) ** ks).mean(axis=0)
            curve = leak_at_k(_hits(rng.binomial(200, p), 200), ks, interval="samples")
            covered += (curve.low <= truth) & (truth <= curve.high)
        assert np.all(covered / runs >= 0.87)

    def test_covers_graded_scores(self) -> None:
        rng = np.random.default_rng(9)
        ks, runs, levels = np.array([1, 8, 64]), 100, np.array([0.1, 0.2, 0.45, 1.0])
        covered, width = np.zeros(3), np.zeros(3)
        for _ in range(runs):
            chances = rng.dirichlet([4, 2, 0.5, 0.05], 40)
            cumulative = np.cumsum(chances, axis=1)[:, :, None] ** ks
            truth = np.einsum("pbk,b->k", np.diff(cumulative, axis=1, prepend=0), levels) / 40
            scores = np.stack([rng.choice(levels, 100, p=row) for row in chances])
            curve = leak_at_k(scores, ks, interval="samples")
            covered += (curve.low <= truth) & (truth <= curve.high)
            width += curve.high - curve.low
        assert np.all(covered / runs >= 0.9)
        assert np.all(width / runs < 0.15)

    def test_more_samples_narrow_it_and_more_prompts_do_not_matter_twice(self) -> None:
        few = leak_at_k(_hits(np.arange(40) % 11, 10), [1], interval="samples")
        many = leak_at_k(_hits(np.arange(40) % 11 * 100, 1000), [1], interval="samples")
        np.testing.assert_allclose(many.stderr, few.stderr / 10, rtol=0.1)

    def test_no_leak_is_the_rule_of_three(self) -> None:
        curve = leak_at_k(np.zeros((80, 200)), interval="samples")
        assert np.all(curve.low == 0)
        np.testing.assert_allclose(curve.high[0], -math.log(0.025) / (80 * 200), rtol=0.02)
        assert np.all(np.diff(curve.high) > 0)
        curve = leak_at_k(np.ones((80, 200)), [1], interval="samples")
        assert curve.high[0] == 1
        np.testing.assert_allclose(1 - curve.low[0], -math.log(0.025) / (80 * 200), rtol=0.02)

    def test_continuous_scores_are_binned_for_the_interval_only(self) -> None:
        rng = np.random.default_rng(10)
        scores = rng.random((30, 100))
        curve = leak_at_k(scores, [1, 16], interval="samples")
        np.testing.assert_allclose(curve.value[0], scores.mean(), rtol=1e-12)
        np.testing.assert_allclose(
            curve.high[0] - curve.low[0], 2 * 1.96 * math.sqrt(1 / 12 / 3000), rtol=0.1
        )
        assert curve.low[1] < 16 / 17 < curve.high[1]

    def test_clusters_do_not_matter(self) -> None:
        hits = _hits(np.arange(12) % 5, 6)
        alone = leak_at_k(hits, interval="samples")
        together = leak_at_k(hits, interval="samples", clusters=[0] * 12)
        np.testing.assert_array_equal(alone.low, together.low)
        assert together.n_clusters == 12


class TestCompare:
    def test_is_the_difference_of_the_curves(self) -> None:
        rng = np.random.default_rng(11)
        a, b = rng.random((20, 30)), rng.random((20, 50)) ** 2
        difference = compare_leak(a, b)
        assert difference.k.tolist() == [1, 2, 4, 8, 16]
        ks = difference.k.tolist()
        np.testing.assert_allclose(
            difference.value, leak_at_k(a, ks).value - leak_at_k(b, ks).value, atol=1e-14
        )
        swapped = compare_leak(b, a)
        np.testing.assert_allclose(swapped.value, -difference.value, atol=1e-14)
        np.testing.assert_allclose(swapped.low, -difference.high, atol=1e-12)

    def test_pairing_takes_out_what_the_models_share(self) -> None:
        rng = np.random.default_rng(12)
        p = rng.beta(0.3, 0.3, 100)
        a = _hits(rng.binomial(100, p), 100)
        b = _hits(rng.binomial(100, 0.9 * p), 100)
        difference = compare_leak(a, b, [1])
        apart = math.hypot(leak_at_k(a, [1]).stderr[0], leak_at_k(b, [1]).stderr[0])
        assert difference.stderr[0] < 0.3 * apart
        assert difference.low[0] > 0

    def test_equal_models_leave_an_interval_around_nought(self) -> None:
        a = _hits(np.arange(50) % 4, 8)
        difference = compare_leak(a, a)
        assert np.all(difference.value == 0)
        np.testing.assert_allclose(difference.high, 1 - 0.025 ** (1 / 50), rtol=0.05)
        np.testing.assert_allclose(difference.low, -difference.high, rtol=1e-12)

    def test_clusters(self) -> None:
        a, b = _hits(np.repeat([9, 1, 5, 7], 10), 10), np.zeros((40, 10))
        labels = np.repeat(np.arange(4), 10).tolist()
        assert compare_leak(a, b, [1], clusters=labels).low < compare_leak(a, b, [1]).low

    def test_refuses_other_prompts(self) -> None:
        with pytest.raises(ValueError, match="same prompts on both sides, got 2 and 3"):
            compare_leak(np.zeros((2, 4)), np.zeros((3, 4)))


class TestChance:
    def test_values(self) -> None:
        np.testing.assert_allclose(
            chance_curve([16, 48], [1, 8]),
            [(1 / 16 + 1 / 48) / 2, 1 - ((15 / 16) ** 8 + (47 / 48) ** 8) / 2],
            rtol=1e-14,
        )
        assert chance_curve([1], [1, 5]).tolist() == [1, 1]

    @pytest.mark.parametrize(("pools", "k"), [([], [1]), ([0], [1]), ([math.nan], [1]), ([2], [0])])
    def test_refuses(self, pools: list[float], k: list[int]) -> None:
        with pytest.raises(ValueError, match="at least"):
            chance_curve(pools, k)


class TestErrors:
    @pytest.mark.parametrize(
        ("scores", "message"),
        [
            ([], "at least one prompt"),
            (np.empty((0, 5)), "at least one prompt"),
            ([[0.5], []], "prompt 1 does not have samples"),
            ([[0, 1], [0, math.nan]], "prompt 1, sample 1 has score nan"),
            ([[0, 1], [0, 1], [1.5, 0]], "prompt 2, sample 0 has score 1.5"),
            ([[-0.1]], "prompt 0, sample 0 has score -0.1"),
            ([0.1, 0.2], r"prompt 0 has 0 dimensions; .* as \[scores\]"),
            (np.zeros((2, 2, 2)), "prompt 0 has 2 dimensions"),
        ],
    )
    def test_scores(self, scores: object, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            leak_at_k(scores)  # type: ignore[arg-type]

    @pytest.mark.parametrize("k", [0, [], [2, 1], [1, 1], [1.0], "8", [0, 4]])
    def test_k(self, k: object) -> None:
        with pytest.raises(ValueError, match="k must be"):
            leak_at_k(np.zeros((2, 8)), k)  # type: ignore[arg-type]

    def test_k_above_n_names_the_prompt(self) -> None:
        with pytest.raises(ValueError, match=r"prompt 1 has 3 samples, fewer than k = 4.*up to 3"):
            leak_at_k([[0] * 9, [0] * 3, [0] * 5], [1, 4])

    def test_options(self) -> None:
        scores = np.zeros((2, 4))
        with pytest.raises(ValueError, match="'prompts' or 'samples', got 'both'"):
            leak_at_k(scores, interval="both")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"in \(0, 1\), got 95"):
            leak_at_k(scores, confidence=95)
        with pytest.raises(ValueError, match="1 labels for 2 prompts"):
            leak_at_k(scores, clusters=["a"])


def test_results_print_and_convert_themselves() -> None:
    curve = leak_at_k([[0, 0, 0, 1], [0, 0, 0, 0]], [1, 2])
    frame = curve.to_frame()
    assert list(frame) == ["k", "leak@k", "leak@k low", "leak@k high", "stderr"]
    assert frame["leak@k"].tolist() == [0.125, 0.25]
    assert frame["leak@k high"].tolist() == curve.high.tolist()
    assert "leak@1 0.125, leak@2 0.250; 2 prompts, 4 samples per prompt" in repr(curve)
    difference = compare_leak([[0, 1], [1, 1]], [[0, 0], [0, 1]], k=1)
    assert list(difference.to_frame())[:2] == ["k", "difference"]
    assert repr(difference) == (
        "LeakDifference(leak@1 +0.500; 2 prompts, p_any 0.5, smallest difference that 2 clusters "
        "can show: none)"
    )
    assert difference.at(1) == (0.5, difference.low[0], difference.high[0])
    with pytest.raises(ValueError, match="does not have k = 2, only"):
        difference.at(2)
