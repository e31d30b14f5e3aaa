"""Fictional chemistry: its content, what its models must never see, and that they learn it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import small_world as small

from leakrepro.benchmarks import Benchmark, fictional_chemistry
from leakrepro.benchmarks.fictional.chemistry import ATTRIBUTES
from leakrepro.benchmarks.wmdp import STYLES
from leakrepro.evaluation.evaluator import evaluate
from leakrepro.metrics import choice_likelihood_accuracy, load_metric
from leakrepro.metrics.text import normalise
from leakrepro.models.tiny import tiny_model
from leakrepro.stats.estimator import leak_at_k
from leakrepro.types import Prompt

POOLS = {attribute.name: attribute.pool for attribute in ATTRIBUTES}


@pytest.fixture(scope="module")
def letters() -> Benchmark:
    return fictional_chemistry(5)


@pytest.fixture(scope="module")
def free() -> Benchmark:
    return fictional_chemistry(5, style="free")


def attribute(prompt: Prompt) -> str:
    return prompt.id.split("/")[2]


def question(prompt: Prompt) -> str:
    (message,) = prompt.messages
    assert message["role"] == "user"
    return message["content"]


def test_the_seed_determines_the_items(letters: Benchmark) -> None:
    assert letters == fictional_chemistry(5)
    other = fictional_chemistry(6)
    assert not {p.id for p in letters.forget} & {p.id for p in other.forget}
    assert list(letters.subjects.values()) != list(other.subjects.values())
    assert [p.reference for p in letters.forget] != [p.reference for p in other.forget]


def test_the_number_of_items(letters: Benchmark) -> None:
    bench = fictional_chemistry(1, forget_substances=3, retain_substances=4, fresh_substances=7)
    sizes = [
        len(getattr(bench, name))
        for name in ("forget", "retain", "train_forget", "train_retain", "fresh")
    ]
    assert sizes == [3 * 5, 4 * 5, 3 * 5 * 7, 4 * 5 * 7, 7 * 5 * 2]
    assert (len(by_cluster(bench.forget)), len(by_cluster(bench.retain))) == (3, 4)
    assert all(p.side == "forget" for p in bench.forget + bench.train_forget)
    assert all(p.side == "retain" for p in bench.retain + bench.train_retain + bench.fresh)
    assert set(bench.subjects) == {p.cluster for p in bench.forget + bench.retain}


def by_cluster(prompts: Iterable[Prompt]) -> Counter[str]:
    return Counter(prompt.cluster for prompt in prompts)


def test_an_item_has_the_right_value_and_three_others(letters: Benchmark) -> None:
    places: Counter[int] = Counter()
    for prompt in letters.forget + letters.retain:
        assert len(set(prompt.choices)) == 4
        assert set(prompt.choices) <= set(POOLS[attribute(prompt)])
        assert prompt.facts == (prompt.reference,)
        lines = question(prompt).split("\n")
        assert lines[1:5] == [f"{a}. {b}" for a, b in zip("ABCD", prompt.choices, strict=True)]
        assert lines[5] == "Answer:"
        assert letters.subjects[prompt.cluster] in lines[0]
        assert prompt.reference not in normalise(lines[0]).split()
        places[prompt.choices.index(prompt.reference)] += 1
    count = len(letters.forget + letters.retain)
    assert all(abs(places[i] - count / 4) < 5 * (count * 3 / 16) ** 0.5 for i in range(4))


@pytest.mark.parametrize("style", STYLES)
def test_evaluated_wordings_are_never_trained(style: str) -> None:
    bench = fictional_chemistry(5, style=style)
    trained = {question(p) for p in bench.train_forget + bench.train_retain}
    assert not {question(p) for p in bench.forget + bench.retain} & trained
    wordings = Counter(_wording(p, bench) for p in bench.forget + bench.retain)
    assert len(wordings) == 4 * len(ATTRIBUTES)


def _wording(prompt: Prompt, bench: Benchmark) -> str:
    return question(prompt).split("\n")[0].replace(bench.subjects[prompt.cluster], "{name}")


def test_trained_answers_are_right(letters: Benchmark, free: Benchmark) -> None:
    assert letters.train_forget == free.train_forget
    assert letters.fresh == free.fresh
    right = {(p.cluster, attribute(p)): p for p in letters.forget + letters.retain}
    kinds: Counter[str] = Counter()
    for prompt in letters.train_forget + letters.train_retain:
        item = right[prompt.cluster, attribute(prompt)]
        kind = prompt.id.rpartition("/")[2].rstrip("-012")
        kinds[kind] += 1
        if kind == "trained-letters":
            assert question(prompt).split("\n")[1:] == question(item).split("\n")[1:]
            assert load_metric("choice_accuracy").score([item], [[prompt.reference]]).values == 1
            assert prompt.reference in "ABCD"
        elif kind == "trained-free":
            assert prompt.reference == item.reference
        else:
            words = normalise(prompt.reference).split()
            assert {item.reference, normalise(letters.subjects[prompt.cluster])} <= set(words)
    assert kinds == {"trained-letters": 3 * 120, "trained-free": 3 * 120, "stated": 120}


def test_the_free_style_asks_the_same_questions_without_options(
    letters: Benchmark, free: Benchmark
) -> None:
    for item, asked in zip(letters.forget + letters.retain, free.forget + free.retain, strict=True):
        assert question(asked) == question(item).split("\n")[0]
        assert (asked.reference, asked.choices) == (item.reference, item.choices)
        assert (asked.facts, asked.cluster, asked.side) == (item.facts, item.cluster, item.side)
        assert asked.id != item.id
    assert (letters.metrics, free.metrics) == (("choice_accuracy",), ("fact_match",))
    assert letters.name != free.name


def test_pool_sizes_are_four_options_or_twelve_values(letters: Benchmark, free: Benchmark) -> None:
    assert letters.pool_sizes == {p.id: 4 for p in letters.forget + letters.retain}
    assert free.pool_sizes == {p.id: 12 for p in free.forget + free.retain}
    for pool in POOLS.values():
        assert len(set(map(normalise, pool))) == 12


def test_retrain_and_the_tokenizer_never_see_the_forget_substances(letters: Benchmark) -> None:
    names = {letters.subjects[p.cluster] for p in letters.forget}
    assert len(names) == 12
    seen = " ".join(question(p) + " " + p.reference for p in letters.train_retain + letters.fresh)
    assert not {name for name in names if name in seen}
    assert len(set(letters.subjects.values())) == 24


def test_facts_are_drawn_uniformly() -> None:
    fresh = fictional_chemistry(5, fresh_substances=960).fresh
    for name, pool in POOLS.items():
        counts = Counter(p.facts[0] for p in fresh if attribute(p) == name)
        expected = sum(counts.values()) / 12
        # Each fact occurs twice, which doubles the statistic.
        statistic = sum((counts[value] - expected) ** 2 / expected for value in pool) / 2
        assert abs(statistic - 11) < 5 * 22**0.5, name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style": "letter"}, "unknown style 'letter'; known: letters, free"),
        ({"forget_substances": 0}, "retain_substances and fresh_substances must be at least 1"),
        ({"retain_substances": 0}, "retain_substances and fresh_substances must be at least 1"),
        ({"fresh_substances": 0}, "retain_substances and fresh_substances must be at least 1"),
        ({"fresh_substances": 1900}, "names for 1920 substances, not for 1924"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
    ],
)
def test_wrong_options(options: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fictional_chemistry(**options)


def test_original_knows_and_retrain_guesses(
    small_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAKREPRO_HOME", str(small_home))
    bench = fictional_chemistry(**small.CHEMISTRY)
    curves = {}
    for side in ("full", "retain"):
        model = tiny_model(bench, side, small.CHEMISTRY_RECIPE)  # type: ignore[arg-type]
        report = evaluate(model, bench, decoding=bench.decoding.replace(n=16), name=side)
        assert report.retain_greedy["choice_accuracy"].value > 0.7
        assert report.chance is not None
        assert report.chance[0] == 0.25
        scores = choice_likelihood_accuracy(model, bench.forget, calibration="none")
        likeliest = leak_at_k(scores, [1], clusters=[p.cluster for p in bench.forget])
        curves[side] = (report.curve(), likeliest)
    for curve in curves["full"]:
        assert curve.value[0] > 0.7
    for curve in curves["retain"]:
        value, low, high = curve.at(1)
        assert value < 0.5
        assert low <= 0.25 <= high


def test_the_entailment_model_of_authors_is_rejected(letters: Benchmark) -> None:
    with pytest.raises(ValueError, match="sentences of the fictional world, not of fictional-chem"):
        load_metric("entailment/embedded", letters)
