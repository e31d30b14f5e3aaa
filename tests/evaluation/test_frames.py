from __future__ import annotations

import pandas as pd
import pytest
from example_reports import METRICS, report

from leakrepro.evaluation.frames import readable
from leakrepro.evaluation.leak_report import summary, table
from leakrepro.report import latex
from leakrepro.types import Decoding


class TestTable:
    def test_has_one_row_per_model_metric_and_k(self) -> None:
        npo, retrain = report("NPO"), report("Retrain")
        frame = table([npo, retrain])
        assert frame.shape == (2 * 2 * 8, 18)
        assert not frame.duplicated(["model", "metric", "k"]).any()
        assert frame["model"].unique().tolist() == ["NPO", "Retrain"]
        row = frame.query("model == 'NPO' and metric == 'fact_match/strict' and k == 32").iloc[0]
        assert (row["leak@k"], row["low"], row["high"]) == npo.curves[METRICS[1]].at(32)
        assert row["stderr"] == npo.curves[METRICS[1]].stderr[5]
        plain = npo.curves[METRICS[1]].per_prompt[:, 5].std(ddof=1) / 80**0.5
        assert row["plain_stderr"] == pytest.approx(plain)
        assert row["plain_stderr"] < row["stderr"]  # five questions per author
        assert (row["prompts"], row["clusters"], row["n"]) == (80, 16, 200)
        assert (row["weights"], row["confidence"], row["interval"]) == (
            "weights of NPO",
            0.95,
            "prompts",
        )

    def test_top_k_may_be_missing(self) -> None:
        npo = report(decoding=Decoding(top_k=50))
        assert table([npo])["top_k"].unique().tolist() == [50]
        assert table([report()])["top_k"].isna().all()

    def test_checks_the_reports(self) -> None:
        with pytest.raises(ValueError, match="same weights"):
            table(
                [report("NPO", weights_fingerprint="w"), report("Retrain", weights_fingerprint="w")]
            )


class TestSummary:
    def test_values(self) -> None:
        npo = report()
        row = summary([npo, report("Retrain")]).iloc[0]
        names = [name for name in row.index if not name.endswith((" low", " high"))]
        assert names == [
            "benchmark",
            "model",
            "decoding",
            "greedy leak",
            "leak@1",
            "leak@8",
            "leak@32",
            "leak@128",
            "easy leak@128",
            "easy chance@128",
            "hard leak@128",
            "retain score (greedy)",
            "retain score (sampled)",
            "finished",
        ]
        metric = METRICS[0]
        assert npo.easy is not None
        assert npo.hard is not None
        assert npo.chance is not None
        for name, curve, k in (
            ("greedy leak", npo.greedy[metric], 1),
            ("leak@8", npo.curves[metric], 8),
            ("leak@128", npo.curves[metric], 128),
            ("easy leak@128", npo.easy, 128),
            ("hard leak@128", npo.hard, 128),
            ("retain score (greedy)", npo.retain_greedy[metric], 1),
            ("retain score (sampled)", npo.retain_sampled[metric], 1),
        ):
            assert (row[name], row[name + " low"], row[name + " high"]) == curve.at(k)
        assert row["easy chance@128"] == npo.chance[-1]
        assert row["finished"] == 0.995

    def test_another_metric_has_no_split(self) -> None:
        npo = report()
        row = summary([npo], METRICS[1]).iloc[0]
        assert row["leak@1"] == npo.curves[METRICS[1]].value[0]
        assert not [name for name in row.index if name.startswith(("easy", "hard"))]

    def test_without_a_split(self) -> None:
        row = summary([report(easy=None, hard=None, chance=None)]).iloc[0]
        assert not [name for name in row.index if name.startswith(("easy", "hard"))]

    def test_without_hard_prompts_the_leak_is_shown_once(self) -> None:
        row = summary([report(hard=None)]).iloc[0]
        assert not [name for name in row.index if name.startswith(("easy", "hard"))]

    def test_shows_the_k_that_exist_and_the_largest(self) -> None:
        frame = summary([report()], k=[2, 3, 1000])
        shown = [name for name in frame.columns if name.startswith("leak@") and " " not in name]
        assert shown == ["leak@2", "leak@128"]


class TestReadable:
    def test_joins_estimate_and_interval(self) -> None:
        frame = pd.DataFrame(
            {
                "benchmark": ["b", "b"],
                "model": ["m", "n"],
                "leak@1": [0.123, float("nan")],
                "leak@1 low": [0.1, float("nan")],
                "leak@1 high": [0.2, float("nan")],
                "finished": [1.0, 0.5],
            }
        )
        assert readable(frame).to_dict("list") == {
            "model": ["m", "n"],
            "leak@1": ["0.12 [0.10, 0.20]", "-"],
            "finished": ["1.00", "0.50"],
        }
        assert readable(frame, digits=1)["leak@1"][0] == "0.1 [0.1, 0.2]"

    def test_keeps_a_decoding_that_varies(self) -> None:
        cool = report(decoding=Decoding(temperature=0.2), texts_digest="others")
        frame = readable(summary([report(), cool]))
        assert frame["decoding"].tolist() == ["T = 1, top-p 1", "T = 0.2, top-p 1"]
        assert "benchmark" not in frame


def test_latex() -> None:
    text = latex(summary([report("NPO")]), caption="95 % of fact_match", label="tab:leak")
    assert r"\caption{95 \% of fact\_match}" in text
    assert r"\label{tab:leak}" in text
    lines = text.splitlines()
    head, body = (line for line in lines if "&" in line)
    assert head.startswith("model & greedy leak & leak@1 & ")
    assert body.startswith("NPO & 0.24 [")
    assert head.count("&") == body.count("&") == 11
    assert r"\begin{tabular}{l" + "r" * 11 + "}" in lines
    odd = pd.DataFrame({"model": [r"a_b\{50%}~^&#$"], "x": [0.5]})
    assert (
        r"a\_b\textbackslash{}\{50\%\}\textasciitilde{}\textasciicircum{}\&\#\$ & 0.50 \\"
        in latex(odd, caption="", label="x")
    )
