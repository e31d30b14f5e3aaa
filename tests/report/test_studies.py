"""Grid, agreement, counts and spread: hand-computed values, and figures that show them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from example_reports import report as make_report
from worlds import make_prompts

from leakrepro.report import (
    agreement,
    counts_figure,
    counts_table,
    disagreements,
    grid_figure,
    metrics_figure,
    published_counts,
    published_spread,
    spread_figure,
    spread_table,
)
from leakrepro.sampling import sample
from leakrepro.stats.counts import leak_counts
from leakrepro.stats.estimator import leak_at_k
from leakrepro.types import Decoding, Scores


def test_the_grid_has_one_panel_per_decoding() -> None:
    cells = [Decoding(temperature=t, n=16) for t in (0.2, 0.8, 1.0)]
    reports = [make_report(m, decoding=d) for d in cells for m in ("Original", "NPO")]
    figure = grid_figure(reports)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["greedy", "T = 0.2, top-p 1", "T = 0.8, top-p 1", "T = 1, top-p 1"]
    images = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    curve = reports[-1].curve()
    np.testing.assert_array_equal(images[3][1], curve.value)
    assert images[0].shape == (2, 1)
    with pytest.raises(ValueError, match="'NPO' does not have a report under T = 1"):
        grid_figure(reports[:-1])


def test_metrics_figure_has_one_panel_per_metric() -> None:
    figure = metrics_figure([make_report("Original"), make_report("NPO")])
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == list(make_report("NPO").curves)


def test_agreement_matches_hand_computed_values() -> None:
    a = Scores.from_rows([[1, 1, 0, 0], [1, 0, 0, 0]])
    b = Scores.from_rows([[0.9, 0.2, 0.6, 0.0], [0.5, 0.1, 0.2, 0.3]])
    row = agreement({"a": a, "b": b}).iloc[0]
    assert row[["both", "only a", "only b", "neither"]].tolist() == [2 / 8, 1 / 8, 1 / 8, 4 / 8]
    assert row["kappa"] == pytest.approx((0.75 - (9 + 25) / 64) / (1 - (9 + 25) / 64))
    none = Scores.from_rows([[0] * 4] * 2)
    assert np.isnan(agreement({"a": none, "b": none}).iloc[0]["kappa"])
    with pytest.raises(ValueError, match="different samples"):
        agreement({"a": a, "b": Scores.from_rows([[1.0]])})
    with pytest.raises(ValueError, match="threshold"):
        agreement({"a": a, "b": b}, 0)


def test_disagreements_are_counted(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path))
    torch.set_num_threads(1)
    samples = sample(tiny_llama, make_prompts(2), Decoding(n=6, max_new_tokens=1))
    texts = [t for row in samples.texts for t in row]
    a = Scores(np.array([float("a" in t) for t in texts]), np.array([0, 6, 12]))
    b = Scores(np.zeros(12), np.array([0, 6, 12]))
    frame = disagreements(samples, {"a": a, "b": b}, "a", "b", count=50)
    assert frame["times"].sum() == a.values.sum()
    assert frame["times"].is_monotonic_decreasing
    assert (frame["leaks under"] == "a").all()
    assert all("a" in text for text in frame["sample"])
    with pytest.raises(ValueError, match="no scores of 'c'"):
        disagreements(samples, {"a": a}, "a", "c")


def test_counts() -> None:
    rng = np.random.default_rng(0)
    sampled = {"NPO": leak_counts((rng.random((12, 40)) < 0.2).astype(float))}
    greedy = {"NPO": leak_counts((rng.random((12, 1)) < 0.2).astype(float))}
    row = counts_table(sampled, greedy).iloc[0]
    assert row["samples"] == 40
    assert row["average leak"] == pytest.approx(sampled["NPO"].counts.mean() / 40)
    figure = counts_figure(sampled, greedy)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert sum(heights) == 24
    assert len(counts_figure(sampled, greedy, [0, 20, 41]).axes[0].patches) == 4
    with pytest.raises(ValueError, match="sampled counts are of NPO, greedy counts of RMU"):
        counts_table(sampled, {"RMU": greedy["NPO"]})
    published = published_counts("NPO")
    assert published["greedy"].sum() == published["sampled"].sum() == 400
    assert published["from"].tolist() == list(range(0, 200, 25))
    assert published_counts("RMU").empty


def test_spread_matches_the_standard_error_of_one_seed() -> None:
    """20 seeds give the standard deviation to 16 %, so the ratio is tested with a wide margin."""
    rng = np.random.default_rng(1)
    p = rng.beta(0.5, 2, (100, 1))
    curves = [
        leak_at_k((rng.random((100, 64)) < p).astype(float), [1, 8, 32], interval="samples")
        for _ in range(20)
    ]
    table = spread_table(curves)
    np.testing.assert_allclose(table["std"], np.std([c.value for c in curves], axis=0, ddof=1))
    assert table["ratio"].between(0.6, 1.67).all()
    assert (table["std low"] < table["std"]).all()
    assert (table["std"] < table["std high"]).all()
    assert (table["covered"] >= 0.75).all()
    figure = spread_figure(curves, leak_at_k((rng.random((100, 64)) < p).astype(float), [1, 8, 32]))
    assert len(figure.axes[0].lines) > 20
    with pytest.raises(ValueError, match="at least three"):
        spread_table(curves[:2])
    with pytest.raises(ValueError, match="samples"):
        spread_table([leak_at_k(np.zeros((4, 8)), [1])] * 3)
    published = published_spread()
    assert published["seeds"].eq(24).all()
    assert published.set_index("k").loc[1, "std"] == pytest.approx(0.00108, abs=1e-5)
