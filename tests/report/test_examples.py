"""Examples: the choice of prompts, the bold words, and the escaping of texts."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from worlds import make_prompts

from leakrepro.evaluation.answers import Answers
from leakrepro.report import (
    curve_figure,
    examples_html,
    examples_latex,
    hidden_figure,
    hidden_leaks,
    hidden_table,
    leakiest,
)
from leakrepro.report.examples import shared_words
from leakrepro.sampling import Samples
from leakrepro.stats.estimator import leak_at_k
from leakrepro.types import Decoding, Prompt, Scores


class Drawn(Samples):
    """Samples without a store."""

    def __init__(self, prompts: tuple[Prompt, ...], texts: list[list[str]]) -> None:
        super().__init__(prompts, Decoding(n=len(texts[0])), Path(), "", ())
        self.__dict__["texts"] = texts
        self.__dict__["counts"] = [len(row) for row in texts]


PROMPTS = tuple(replace(p, reference="The Oath of Ink & <b>") for p in make_prompts(8))
SAMPLES = Drawn(PROMPTS, [[f"draw {j} of {i}: the oath" for j in range(4)] for i in range(8)])
GREEDY = Drawn(PROMPTS, [[f"<i>{i}</i> of ink_{i}"] for i in range(8)])
# Prompts 1 to 7 leak when sampled, 6 and 7 also when greedy; clusters are pairs.
SCORES = Scores.from_rows([[0, 0, 0, 0], *[[0, 0.4, 1, i % 2] for i in range(1, 8)]])
GREEDY_SCORES = Scores.from_rows([[0]] * 6 + [[1]] * 2)
ANSWERS = Answers(SAMPLES, SCORES, GREEDY, GREEDY_SCORES)


class _Text(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def choose(count: int = 3, **changes: object) -> list[str]:
    chosen = hidden_leaks(ANSWERS, count=count, **changes)  # type: ignore[arg-type]
    return chosen["id"].tolist()


class TestHiddenLeaks:
    def test_chooses_all_in_order(self) -> None:
        frame = hidden_leaks(ANSWERS, compared={"Retrain": GREEDY})
        assert frame["id"].tolist() == ["p1", "p2", "p3", "p4", "p5"]
        assert frame["draw"].eq(3).all()
        assert frame["sample"].tolist() == [f"draw 2 of {i}: the oath" for i in range(1, 6)]
        assert frame["leaks"].tolist() == [2, 1, 2, 1, 2]
        assert frame["of"].eq(4).all()
        assert (frame["Retrain, greedy"] == frame["greedy"]).all()

    def test_no_cluster_repeats_before_each_appeared_once(self) -> None:
        for seed in range(20):
            chosen = choose(seed=seed)
            assert "p1" in chosen  # the only one of its cluster
            assert len(set(chosen) & {"p2", "p3"}) == len(set(chosen) & {"p4", "p5"}) == 1
            assert chosen == choose(seed=seed)
        assert len({tuple(choose(seed=seed)) for seed in range(20)}) == 4

    def test_the_threshold(self) -> None:
        assert choose(9, threshold=0.4) == ["p1", "p2", "p3", "p4", "p5"]
        assert hidden_leaks(ANSWERS, threshold=0.4)["draw"].eq(2).all()
        with pytest.raises(ValueError, match="threshold"):
            choose(threshold=0.0)

    def test_no_hidden_leaks(self) -> None:
        clean = Scores.from_rows([[0.0] * 4] * 8)
        frame = hidden_leaks(replace(ANSWERS, scores=clean))
        assert frame.empty
        assert "question" in frame
        assert examples_html(frame).count("<tr>") == 0

    def test_rejects_mismatched_answers(self) -> None:
        with pytest.raises(ValueError, match="'Retrain' and the samples are to different prompts"):
            choose(compared={"Retrain": Drawn(PROMPTS[:2], [["a"], ["b"]])})
        with pytest.raises(ValueError, match="different samples"):
            hidden_leaks(replace(ANSWERS, scores=GREEDY_SCORES))

    def test_texts_can_be_hidden(self) -> None:
        frame = hidden_leaks(ANSWERS, compared={"Retrain": GREEDY}, texts=False)
        assert frame.columns.tolist() == ["id", "cluster", "draw", "leaks", "of"]
        for page in (examples_html(frame), examples_latex(frame, caption="c", label="l")):
            assert "p1: greedy clean, 2 of 4 samples leak, the first is draw 3" in page
            assert "oath" not in page.lower()
        assert "question" not in leakiest(SAMPLES, SCORES, texts=False)


def test_leakiest_prompts_come_first() -> None:
    scores = Scores.from_rows([[0, 0.5], [1, 0.2], [0.6, 0.9], [0.4, 1], *[[0, 0]] * 4])
    samples = Drawn(PROMPTS, [[f"{i} {j}" for j in range(2)] for i in range(8)])
    frame = leakiest(samples, scores)
    assert frame["id"].tolist() == ["p3", "p1", "p2"]
    assert frame["sample"].tolist() == ["3 1", "1 0", "2 1"]
    assert frame["draw"].tolist() == [2, 1, 2]
    assert frame["mean score"].tolist() == [0.7, 0.6, 0.75]
    assert "p3: score 1.00 at draw 2, mean 0.70 of 2 samples" in examples_html(frame)


@pytest.mark.parametrize(
    ("text", "reference", "runs"),
    [
        ("the fir, the ELM.", "Elm", [("the fir, the", False), ("ELM.", True)]),
        ("don't - go", "Don't go!", [("don't", True), ("-", False), ("go", True)]),
        ("b a", "a b", 1),
        ("", "a", []),
        ("- !", "... a", [("- !", False)]),
    ],
)
def test_shared_words(text: str, reference: str, runs: object) -> None:
    found = shared_words(text, reference)
    if isinstance(runs, int):
        assert sum(shared for _, shared in found) == runs
    else:
        assert found == runs


def test_html_escapes_the_texts() -> None:
    frame = hidden_leaks(ANSWERS)
    page = _Text(examples_html(frame))
    assert set(page.tags) == {"table", "tr", "th", "td", "b"}
    shown = " ".join(" ".join(page.texts).split())
    assert "The Oath of Ink & <b>" in shown
    assert "<i>1</i> of ink_1" in shown
    assert "draw 2 of 1: the oath" in shown


def test_latex_is_escaped() -> None:
    frame = hidden_leaks(ANSWERS)
    text = examples_latex(frame, caption="50 % of $x_1$", label="tab:x")
    assert r"reference & The Oath of Ink \& \textless{}b\textgreater{} \\" in text
    assert r"\textless{}i\textgreater{}1\textless{}/i\textgreater{} \textbf{of} ink\_1 \\" in text
    assert r"\caption{50 \% of \$x\_1\$}" in text
    assert text.count("{") == text.count("}")


def test_shares_match_hand_computed_values() -> None:
    table = hidden_table({"NPO": ANSWERS})
    row = table.iloc[0]
    parts = ["greedy leaks", "only samples leak", "nothing leaks"]
    assert row[parts].tolist() == [2 / 8, 5 / 8, 1 / 8]
    assert row["only samples leak low"] < 5 / 8 < row["only samples leak high"]
    assert (row["prompts"], row["samples"]) == (8, 4)
    bars = hidden_figure(table).axes[0].patches
    assert [bar.get_width() for bar in bars] == [2 / 8, 5 / 8, 1 / 8]
    assert [bar.get_hatch() for bar in bars] == [None, "////", None]
    with pytest.raises(ValueError, match="no models"):
        hidden_table({})


def test_curve_figure_without_a_report() -> None:
    curve = leak_at_k(SCORES, [1, 4])
    figure = curve_figure({"mine": curve}, "es", greedy={"mine": 0.25})
    lines = [np.asarray(line.get_ydata()).tolist() for line in figure.axes[0].get_lines()]
    assert curve.value.tolist() in lines
    assert [0.25, 0.25] in lines
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "mine",
        "greedy decoding",
    ]
    assert len(curve_figure({"mine": curve}, "es").legends[0].get_texts()) == 1
    with pytest.raises(ValueError, match="greedy leaks are of yours, curves of mine"):
        curve_figure({"mine": curve}, "es", greedy={"yours": 0.25})
