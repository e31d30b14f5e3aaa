"""What tables show beside leak@k: either interval, both, or the plain standard error."""

from __future__ import annotations

import numpy as np
import pytest
from example_reports import METRICS, report

from leakrepro.evaluation.leak_report import LeakReport, summary, table
from leakrepro.stats.estimator import leak_at_k
from leakrepro.types import Scores

SCORES = Scores.from_rows((np.random.default_rng(0).random((12, 8)) < 0.3).astype(float))
CLUSTERS = [i // 3 for i in range(12)]


def made(interval: str = "prompts") -> LeakReport:
    curve = leak_at_k(SCORES, [1, 8], clusters=CLUSTERS)
    return report(
        curves=dict.fromkeys(METRICS, curve),
        scores=dict.fromkeys(METRICS, SCORES),
        easy=None,
        hard=None,
        chance=None,
        interval=interval,
    )


@pytest.mark.parametrize("how", ["report", "argument"])
def test_tables_show_what_was_asked_for(how: str) -> None:
    over = {each: leak_at_k(SCORES, [1, 8], interval=each, clusters=CLUSTERS) for each in KINDS}

    def rows(shown: str) -> list[dict[str, float]]:
        frame = table([made(shown)]) if how == "report" else table([made()], shown)  # type: ignore[arg-type]
        return frame[frame["metric"] == METRICS[0]].to_dict("records")

    for kind in KINDS:
        found = rows(kind)
        assert [row["interval"] for row in found] == [kind] * 2
        np.testing.assert_array_equal([row["low"] for row in found], over[kind].low)
        np.testing.assert_array_equal([row["high"] for row in found], over[kind].high)
    assert [row["interval"] for row in rows("both")] == ["prompts"] * 2 + ["samples"] * 2
    plain = rows("stderr")
    assert {"low", "high", "interval"}.isdisjoint(plain[0])
    expected = over["prompts"].per_prompt.std(axis=0, ddof=1) / 12**0.5
    np.testing.assert_allclose([row["plain_stderr"] for row in plain], expected)


def test_summaries_show_what_was_asked_for() -> None:
    both = summary([made()], interval="both").iloc[0]
    samples = leak_at_k(SCORES, [8], interval="samples")
    assert both["leak@8 low"] == summary([made()]).iloc[0]["leak@8 low"]
    assert both["leak@8, new samples low"] == pytest.approx(samples.low[0], abs=0.03)
    plain = summary([made("stderr")]).iloc[0]
    assert "leak@8 stderr" in plain
    assert "leak@8 low" not in plain
    assert "leak@8 stderr" in repr(made("stderr"))
    assert "new samples" in repr(made("both"))


def test_what_is_refused() -> None:
    for run in (
        lambda: made("bootstrap"),
        lambda: table([made()], "bootstrap"),  # type: ignore[arg-type]
        lambda: summary([made()], interval="bootstrap"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match="one of prompts, samples, both, stderr, not 'boot"):
            run()
    with pytest.raises(ValueError, match="does not have scores of"):
        table([report(scores={})], "samples")


KINDS = ("prompts", "samples")
