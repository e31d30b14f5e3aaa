"""Predicted widths match simulation, and the cost tables are consistent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from worlds import make_prompts

from leakrepro.metrics import ExactMatch, Usage
from leakrepro.report import adaptive_table, cost_table, width_figure, width_table
from leakrepro.sampling import sample
from leakrepro.stats.adaptive import AdaptivePlan
from leakrepro.stats.estimator import leak_at_k
from leakrepro.types import Decoding


def test_widths_match_simulated_estimates() -> None:
    """A pilot of 400 prompts predicts the spread for 80 prompts and more samples within 16 %."""
    rng = np.random.default_rng(0)

    def draw(prompts: int, n: int) -> np.ndarray:
        p = rng.beta(0.3, 3, (prompts, 1))
        return (rng.random((prompts, n)) < p).astype(float)

    table = width_table(draw(400, 100), 64, [64, 200], [80, 320]).set_index(["prompts", "n"])
    for n in (64, 200):
        values = [leak_at_k(draw(80, n), 64).value[0] for _ in range(400)]
        expected = 2 * 1.96 * np.std(values)
        assert table.loc[(80, n), "width over prompts"] == pytest.approx(expected, rel=0.16)
    assert table.loc[(320, 64), "width over prompts"] == pytest.approx(
        table.loc[(80, 64), "width over prompts"] / 2, rel=1e-6
    )
    p = rng.beta(0.3, 3, (200, 1))
    again = [(rng.random((200, 200)) < p).astype(float) for _ in range(200)]
    spread = np.std([leak_at_k(scores, 64).value[0] for scores in again])
    pilot = width_table(again[0][:, :100], 64, [200], [200])
    assert pilot["width for new draws"][0] == pytest.approx(2 * 1.96 * spread, rel=0.16)
    assert table["samples"].tolist() == [80 * 64, 80 * 200, 320 * 64, 320 * 200]


def test_invalid_arguments_are_rejected() -> None:
    with pytest.raises(ValueError, match="scores of 0 and 1"):
        width_table([[0.5, 1.0]], 1, [2], [10])
    with pytest.raises(ValueError, match="leak@8 needs at least 8"):
        width_table([[0.0] * 8], 8, [4], [10])
    table = width_table([[0.0, 1.0], [0.0, 0.0]], 2, [2, 4], [10, 20])
    with pytest.raises(ValueError, match="several numbers of prompts"):
        width_figure({"a": table})
    assert width_figure({"NPO": table[table["prompts"] == 10]}).axes


def test_cost_and_adaptive_tables(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path))
    torch.set_num_threads(1)
    prompts = make_prompts(4)
    decoding = Decoding(n=16, max_new_tokens=8)
    whole = sample(tiny_llama, prompts, decoding)
    used = Usage(candidates=64, gated=10, repeated=20, cached=4, scored=30, tokens=250, padding=50)
    table = cost_table({"m": whole}, {"m": used}, {"m": 1200})
    row = table.iloc[0]
    tokens = sum(whole.table["n_tokens"].to_pylist())
    assert (row["samples"], row["tokens"]) == (64, tokens)
    assert (row["read"], row["saving"]) == (34, 4.0)
    plan = AdaptivePlan(hits=1, cap=16)
    metric = ExactMatch()
    drawn = sample(tiny_llama, prompts, decoding, plan=plan, metric=metric)
    curve = leak_at_k(metric.score(drawn.prompts, drawn.texts), [1, 16], plan=plan)
    full = leak_at_k(metric.score(prompts, whole.texts), [1, 16])
    saved = adaptive_table({"m": full}, {"m": curve}, {"m": drawn}, 16, 16).iloc[0]
    assert (saved["drawn"], saved["of"]) == (sum(drawn.counts), 64)
    assert saved["adaptive"] == curve.at(16)[0]
