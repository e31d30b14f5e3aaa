from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import pytest

from leakrepro.benchmarks import Benchmark
from leakrepro.metrics import CoreMetric, load_metric, normalise
from leakrepro.types import Decoding, Prompt

SUBJECTS = {"ana": "Ana Brik", "li": "Li-Wei Zhào", "mary": "Mary Ana Brik", "ib": "Ib O'Dell"}
IDS = ["fact_match", "fact_match/strict", "exact_match", "rougeL_recall/stem", "rougeL_recall"]


def _prompt(*facts: str, cluster: str = "ana", reference: str = "An answer.") -> Prompt:
    messages = ({"role": "user", "content": "?"},)
    return Prompt("q1", messages, reference, cluster=cluster, side="forget", facts=facts)


def _load(id: str, subjects: Mapping[str, str] = SUBJECTS) -> CoreMetric:
    """A metric for a benchmark with these subjects."""
    prompts, decoding = (_prompt("Rome"),), Decoding()
    return load_metric(id, Benchmark("b", prompts, (), (id,), decoding, subjects=subjects))


def _score(id: str, prompt: Prompt, *candidates: str) -> list[float]:
    metric = _load(id)
    return metric.score([prompt], [list(candidates)]).values.tolist()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  The  “Straße”,\n1984! ", "the strasse 1984"),
        ("don't a_b 3.14", "don t a b 3 14"),
        ("ﬁne ①²", "fine 12"),
        ("Cafe\u0301", "caf\u00e9"),
        ("\u0130zmir", "i\u0307zmir"),
        ("नमस्ते", "नमस्ते"),
        ("a\u00a0b\u200bc\x00d", "a b c d"),
        ("?!", ""),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected
    assert normalise(expected) == expected


class TestFactMatch:
    def test_any_fact_counts_on_token_boundaries(self) -> None:
        prompt = _prompt("Rome", "the Gold Quill")
        assert _score(
            "fact_match",
            prompt,
            "She lives in ROME.",
            "Romeo and Juliet",
            "Jerome",
            "She won the “Gold Quill”",
            "the gold quills",
            "The gold, quill",
            "",
        ) == [1, 0, 0, 1, 0, 1, 0]

    def test_a_fact_about_another_subject_does_not_count(self) -> None:
        assert _score(
            "fact_match",
            _prompt("Rome"),
            "Ana Brik was born in Rome.",
            "Li Wei ZHÀO was born in Rome.",
            "Ana Brik, unlike Ib O\u2019Dell, was born in Rome.",
            "Li was born in Rome.",
            "Li Weizhào was born in Rome.",
        ) == [1, 0, 0, 1, 1]

    def test_a_name_within_the_own_name_or_a_fact_is_allowed(self) -> None:
        rome = "was born in Rome."
        assert _score("fact_match", _prompt("Rome"), f"Mary Ana Brik {rome}") == [0]
        mary = _prompt("Rome", cluster="mary")
        assert _score(
            "fact_match", mary, f"Mary Ana Brik {rome}", f"Mary Ana Brik and Ana Brik {rome}"
        ) == [1, 0]
        title = _prompt("Letters to Ib O'Dell")
        assert _score(
            "fact_match",
            title,
            "She wrote Letters to Ib O'Dell",
            "Ib O'Dell Ib O'Dell wrote Letters to Ib O'Dell",
        ) == [1, 0]

    def test_strict_requires_the_subjects_name(self) -> None:
        prompt = _prompt("Rome")
        candidates = "Ana Brik, of Rome", "She is of Rome", "Brik, Ana, of Rome", "Ana Brik"
        assert _score("fact_match/strict", prompt, *candidates) == [1, 0, 0, 0]
        assert _score("fact_match", prompt, *candidates) == [1, 1, 1, 0]
        name = _prompt("Ana Brik")
        assert _score("fact_match/strict", name, "It is Ana Brik.", "Ana", "Ib O'Dell") == [1, 0, 0]

    def test_without_subjects_other_names_are_ignored(self) -> None:
        metric = load_metric("fact_match")
        assert metric.score([_prompt("Rome")], [["Ib O'Dell, Rome"]]).values.tolist() == [1]

    def test_the_same_text_is_scored_separately_per_prompt(self) -> None:
        prompts = [_prompt("Rome"), _prompt("Rome", cluster="ib"), _prompt("Oslo", cluster="ib")]
        text = "Ib O'Dell, Rome"
        scores = _load("fact_match").score(prompts, [[text]] * 3)
        assert scores.values.tolist() == [0, 1, 0]

    def test_prompts_may_differ_in_the_number_of_candidates(self) -> None:
        scores = load_metric("fact_match").score(
            [_prompt("Rome"), _prompt("Oslo")], [["Rome", "Oslo", "Rome"], ["Oslo"]]
        )
        assert [row.tolist() for row in scores] == [[1, 0, 1], [1]]

    def test_invalid_prompts_and_subjects_are_rejected(self) -> None:
        for facts in ((), ("Rome", "?!")):
            with pytest.raises(ValueError, match="'q1' has no facts"):
                _score("fact_match", _prompt(*facts), "Rome")
        with pytest.raises(ValueError, match=r"'q1': fact_match/strict needs the full name.*'zoe'"):
            _score("fact_match/strict", _prompt("Rome", cluster="zoe"), "Rome")
        with pytest.raises(ValueError, match="'x' has no name"):
            _load("fact_match", {"x": "-"})

    def test_is_fast(self) -> None:
        """100,000 distinct answers take well under a second; the limit allows for a busy core."""
        subjects = {f"c{i}": f"Name{i} Surname{i % 7}" for i in range(60)}
        rng = np.random.default_rng(0)
        words = np.array([f"word{i}" for i in range(500)] + list(subjects.values()) + ["Rome"])
        texts = [
            [" ".join(row) for row in rng.choice(words, (1000, 25)).tolist()] for _ in range(100)
        ]
        metric = _load("fact_match", subjects)
        start = time.process_time()
        scores = metric.score([_prompt("Rome", cluster="c0")] * 100, texts)
        assert time.process_time() - start < 8
        assert 0 < scores.values.mean() < 0.05


def test_exact_match() -> None:
    prompt = _prompt(reference="She was born in Rome.")
    assert _score("exact_match", prompt, "she was born in ROME", "She was born", "") == [1, 0, 0]


@pytest.mark.parametrize(
    ("id", "expected"), [("rougeL_recall/stem", [1, 0.5]), ("rougeL_recall", [0.75, 0.5])]
)
def test_rouge_recall(id: str, expected: list[float]) -> None:
    prompt = _prompt(reference="She writes long novels")
    assert _score(id, prompt, "she, writes long novel!", "she was in long rows") == expected


class TestTable:
    @pytest.mark.parametrize("id", IDS)
    def test_ids(self, id: str) -> None:
        metric: CoreMetric = _load(id)
        assert metric.id == id
        assert metric.higher_is_better
        prompts = [_prompt("Rome"), _prompt("Oslo")]
        scores = metric.score(prompts, [["Ana Brik, Rome", "no"], ["yes"]])
        assert scores.counts.tolist() == [2, 1]
        assert np.all((scores.values >= 0) & (scores.values <= 1))

    @pytest.mark.parametrize("id", IDS)
    def test_bad_candidates(self, id: str) -> None:
        metric = _load(id)
        prompt = _prompt("Rome")
        with pytest.raises(ValueError, match="2 lists of candidates for 1 prompts"):
            metric.score([prompt], [["a"], ["b"]])
        with pytest.raises(ValueError, match="'q1': candidates must be a list"):
            metric.score([prompt], ["Rome"])
        with pytest.raises(TypeError, match="'q1': candidate 1 is NoneType, not text"):
            metric.score([prompt], [["a", None]])  # type: ignore[list-item]

    def test_unpaired_surrogates(self) -> None:
        with pytest.raises(ValueError, match=r"prompt 'q1': candidate 1 has the unpaired .*udfff"):
            load_metric("exact_match").score([_prompt("Rome")], [["x", "\udfff"]])

    def test_unknown_id_lists_the_known(self) -> None:
        with pytest.raises(ValueError, match="unknown core metric 'rouge'; known are fact_match, "):
            load_metric("rouge")


def test_rouge_warns_about_references_in_other_scripts() -> None:
    prompts = [
        Prompt(name, ({"role": "user", "content": "?"},), text, cluster="c", side="forget")
        for name, text in (("latin", "Straße 7"), ("cyrillic", "Война и мир"))
    ]
    with pytest.warns(UserWarning, match=r"1 references hold .* 'cyrillic' first"):
        scores = load_metric("rougeL_recall/stem").score(prompts, [["strasse 7"], ["Война и мир"]])
    assert scores[1].tolist() == [0.0]
