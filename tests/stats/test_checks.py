"""Arguments of the statistics: clusters, plans, k, and the side of a comparison in errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from leakrepro.stats import (
    AdaptivePlan,
    PilotPlan,
    compare_leak,
    extrapolate_leak,
    leak_at_k,
    leak_counts,
)

torch = pytest.importorskip("torch")
pa = pytest.importorskip("pyarrow")

SCORES = np.array([[0, 1, 0, 1], [0, 0, 0, 0], [1, 1, 0, 1], [0, 0, 0, 1]], dtype=np.float64)
LABELS = [3, 3, 5, 5]
COLUMNS: dict[str, Any] = {
    "tuple": tuple(LABELS),
    "numpy": np.array(LABELS),
    "numpy text": np.array(["x", "x", "y", "y"]),
    "torch": torch.tensor(LABELS),
    "list of tensors": list(torch.tensor(LABELS)),
    "series": pd.Series(LABELS, index=[9, 8, 7, 7]),
    "categorical": pd.Series(["x", "x", "y", "y"], dtype="category"),
    "index": pd.Index(LABELS),
    "arrow": pa.array(LABELS),
    "arrow chunks": pa.chunked_array([LABELS[:1], LABELS[1:]]),
    "text": "xxyy",
}


@pytest.mark.parametrize("name", COLUMNS)
def test_clusters_of_any_type_are_the_same(name: str) -> None:
    expected = leak_at_k(SCORES, clusters=LABELS)
    found = leak_at_k(SCORES, clusters=COLUMNS[name])
    assert found.n_clusters == 2
    np.testing.assert_array_equal(found.low, expected.low)
    assert compare_leak(SCORES, SCORES, clusters=COLUMNS[name]).n_clusters == 2
    assert leak_counts(SCORES, clusters=COLUMNS[name]).average.n_clusters == 2
    assert extrapolate_leak(SCORES, [4], clusters=COLUMNS[name]).n_clusters == 2


@pytest.mark.parametrize("missing", [None, np.nan, float("nan"), pd.NA, pd.NaT])
def test_a_missing_cluster_is_refused(missing: object) -> None:
    with pytest.raises(ValueError, match="prompt 2 does not have a cluster label"):
        leak_at_k(SCORES, clusters=["a", "a", missing, "b"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="prompt 1 does not have a cluster label"):
        leak_at_k(SCORES, clusters=pd.Series([1.0, None, 2.0, 2.0]))


@pytest.mark.parametrize("clusters", [{"a": 1}, {1, 2, 3, 4}, 4, [[1], [1], [2], [2]]])
def test_clusters_that_are_not_labels_are_refused(clusters: Any) -> None:
    with pytest.raises(TypeError, match="cluster"):
        leak_at_k(SCORES, clusters=clusters)


@pytest.mark.parametrize("plan", [{"hits": 2}, "adaptive", AdaptivePlan, 2, ()])
def test_a_plan_that_is_none_is_refused(plan: Any) -> None:
    for run in (
        lambda: leak_at_k(SCORES, plan=plan),
        lambda: compare_leak(SCORES, SCORES, plan=plan),
    ):
        with pytest.raises(TypeError, match="plan must be an AdaptivePlan"):
            run()


def test_plans_have_integers() -> None:
    for wrong in (2.5, 2.0, True, "2", None, np.nan):
        with pytest.raises(TypeError, match="hits must be an integer"):
            AdaptivePlan(hits=wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="cap must be an integer"):
            AdaptivePlan(cap=wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="pilot must be an integer"):
            PilotPlan(pilot=wrong)  # type: ignore[arg-type]
    plan = AdaptivePlan(hits=np.int64(3))  # type: ignore[arg-type]
    assert repr(plan) == "AdaptivePlan(hits=3, cap=200)"


@pytest.mark.parametrize("wrong", [[np.nan, 0.5], [], [2.0, 0.0]])
def test_pilot_scores_are_checked(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="prompt 1: pilot scores"):
        PilotPlan().counts([np.array([0.0, 1.0]), np.array(wrong)])


@pytest.mark.parametrize("k", [2**70, [1, 2**70], True, [True], [1.0], 3.0, np.nan, None.__class__])
def test_k_is_whole_and_fits(k: Any) -> None:
    for run in (leak_at_k, extrapolate_leak):
        with pytest.raises(ValueError, match="k must be"):
            run(SCORES, k)


@pytest.mark.parametrize(
    "k", [np.int32(2), np.uint64(2), np.array([2]), torch.tensor([2]), pd.Series([2]), range(2, 3)]
)
def test_k_of_any_integer_type(k: Any) -> None:
    assert leak_at_k(SCORES, k).k.tolist() == [2]


@pytest.mark.parametrize("k", [[1, 2], 1.0, True, None, "1", np.array([1, 2])])
def test_at_takes_one_k(k: Any) -> None:
    for curve in (leak_at_k(SCORES, [1, 2]), compare_leak(SCORES, SCORES, [1, 2])):
        with pytest.raises(TypeError, match="at\\(\\) takes one integer k"):
            curve.at(k)
    assert leak_at_k(SCORES, [1, 2]).at(np.int64(2)) == leak_at_k(SCORES, [1, 2]).at(2)


def test_errors_of_a_comparison_name_the_side() -> None:
    bad = SCORES.copy()
    bad[2, 1] = np.nan
    with pytest.raises(ValueError, match="scores_a: prompt 2, sample 1 has score nan"):
        compare_leak(bad, SCORES)
    with pytest.raises(ValueError, match="scores_b: prompt 2, sample 1 has score nan"):
        compare_leak(SCORES, bad)
    with pytest.raises(TypeError, match="scores_b: scores must be"):
        compare_leak(SCORES, "text")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="scores_b: prompt 0 has 2 samples, fewer than k = 3"):
        compare_leak(SCORES, SCORES[:, :2], 3)
    with pytest.raises(ValueError, match=r"scores_b: prompt 0: .* does not stop"):
        compare_leak(np.ones((1, 8)), np.ones((1, 7)), 1, plan=AdaptivePlan(hits=2, cap=16))
