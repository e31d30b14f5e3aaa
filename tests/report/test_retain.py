"""The retain score per decoding: hand-computed values, and a figure that shows them."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from leakrepro.report import retain_figure, retain_table, retain_wide
from leakrepro.types import Decoding, Scores

GREEDY, WARM = Decoding(temperature=0, n=1), Decoding(temperature=0.8, top_p=0.9, n=2)
CLUSTERS = ["a", "a", "b", "c"]


def kept(greedy: list[float], warm: list[list[float]]) -> dict[Decoding, Scores]:
    return {GREEDY: Scores.from_rows([[x] for x in greedy]), WARM: Scores.from_rows(warm)}


SCORES = {
    "Original": kept([1, 1, 1, 0], [[1, 1], [1, 0], [1, 1], [0, 0]]),
    "NPO": kept([1, 1, 0, 0], [[1, 0], [0, 0], [1, 1], [0, 0]]),
}


def test_the_table_matches_hand_computed_values() -> None:
    table = retain_table(SCORES, CLUSTERS)
    assert table["model"].tolist() == ["Original", "Original", "NPO", "NPO"]
    assert table["decoding"].tolist() == ["greedy", "T = 0.8, top-p 0.9"] * 2
    assert table["samples"].tolist() == [1, 2, 1, 2]
    np.testing.assert_allclose(table["retain score"], [3 / 4, 5 / 8, 2 / 4, 3 / 8])
    np.testing.assert_allclose(table["less Original"], [np.nan, np.nan, -1 / 4, -1 / 4])
    assert (table["retain score low"] < table["retain score"]).all()
    assert (table["clusters"] == 3).all()
    # Sums of the clusters' differences from the mean: (-1 + .5), 0.25, 0.25, of 4 prompts.
    by_hand = np.sqrt((0.5**2 + 2 * 0.25**2) * 3 / 2) / 4
    assert table["stderr"].iloc[3] == pytest.approx(by_hand)
    wide = retain_wide(table)
    assert wide.columns.tolist() == ["decoding", "Original", "NPO"]
    assert wide["NPO"].iloc[0].startswith("0.50 [0.")


def test_without_a_baseline() -> None:
    table = retain_table({"NPO": SCORES["NPO"]}, CLUSTERS)
    assert table["less Original"].isna().all()
    assert not [c for c in retain_figure(table, "es").axes[0].collections if c.get_label() == "es"]


def test_the_figure_shows_the_table() -> None:
    table = retain_table(SCORES, CLUSTERS)
    axes = retain_figure(table, "entailment/model@1").axes[0]
    (level,) = [c for c in axes.collections if c.get_label() == "Original"]
    assert isinstance(level, LineCollection)
    assert [segment[0][1] for segment in level.get_segments()] == [0.75, 0.625]
    (drawn,) = [c for c in axes.containers if c.get_label() == "NPO"]
    assert np.asarray(drawn.lines[0].get_ydata()).tolist() == [0.5, 0.375]  # type: ignore[attr-defined]
    assert axes.get_ylabel() == "retain score (entailment/model)"
    assert [text.get_text() for text in axes.texts] == ["higher is better"]


def test_every_model_needs_every_decoding() -> None:
    with pytest.raises(ValueError, match=r"'NPO' does not have scores under T = 0\.8"):
        retain_table(
            {"Original": SCORES["Original"], "NPO": {GREEDY: SCORES["NPO"][GREEDY]}}, CLUSTERS
        )
    with pytest.raises(ValueError, match="no models"):
        retain_table({}, CLUSTERS)
