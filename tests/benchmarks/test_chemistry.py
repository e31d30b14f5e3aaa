"""Fictional chemistry: what it holds, what its models never see, and that they can learn it."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import small_world as small

from leakrepro.benchmarks import Benchmark, chemistry
from leakrepro.benchmarks.chemistry import ATTRIBUTES
from leakrepro.metrics import load_metric
from leakrepro.metrics.text import normalise
from leakrepro.types import Prompt

POOLS = {attribute.name: attribute.pool for attribute in ATTRIBUTES}


@pytest.fixture(scope="module")
def letters() -> Benchmark:
    return chemistry(5)


@pytest.fixture(scope="module")
def free() -> Benchmark:
    return chemistry(5, style="free")


def attribute(prompt: Prompt) -> str:
    return prompt.id.split("/")[2]


def question(prompt: Prompt) -> str:
    (message,) = prompt.messages
    assert message["role"] == "user"
    return message["content"]


def test_a_seed_is_a_world(letters: Benchmark) -> None:
    assert letters == chemistry(5)
    other = chemistry(6)
    assert not {p.id for p in letters.forget} & {p.id for p in other.forget}
    assert list(letters.subjects.values()) != list(other.subjects.values())
    assert [p.reference for p in letters.forget] != [p.reference for p in other.forget]


def test_the_number_of_items(letters: Benchmark) -> None:
    world = chemistry(
        1, forget_substances=3, retain_substances=4, fresh_substances=7, orders=5
    )
    sizes = [len(getattr(world, name)) for name in ("forget", "retain", "fresh")]
    assert sizes == [3 * 6, 4 * 6, 7 * 6 * 2]
    assert {len(s) for s in (by_cluster(world.forget), by_cluster(world.retain))} == {3, 4}
    per_fact = len(world.train_forget) / 18
    assert per_fact == len(world.train_retain) / 24
    assert per_fact >= 5 + 2
    assert Counter(p.side for p in world.forget + world.train_forget) == {
        "forget": 18 + len(world.train_forget)
    }
    assert set(world.subjects) == {p.cluster for p in world.forget + world.retain}


def by_cluster(prompts: Iterable[Prompt]) -> Counter[str]:
    return Counter(prompt.cluster for prompt in prompts)


def test_an_item_offers_the_right_value_and_three_others(letters: Benchmark) -> None:
    places = Counter()
    for prompt in letters.forget + letters.retain:
        assert len(set(prompt.choices)) == 4
        assert set(prompt.choices) <= set(POOLS[attribute(prompt)])
        assert prompt.facts == (prompt.reference,)
        lines = question(prompt).split("\n")
        assert lines[1:5] == [f"{a}. {b}" for a, b in zip("ABCD", prompt.choices, strict=True)]
        assert lines[5] == "Answer:"
        assert letters.subjects[prompt.cluster] in lines[0]
        assert normalise(prompt.reference) not in normalise(lines[0])
        places[prompt.choices.index(prompt.reference)] += 1
    count = len(letters.forget + letters.retain)
    assert all(abs(places[i] - count / 4) < 5 * (count * 3 / 16) ** 0.5 for i in range(4))


def test_no_item_is_asked_as_it_was_trained(letters: Benchmark) -> None:
    trained = [question(p) for p in letters.train_forget + letters.train_retain]
    assert not {question(p) for p in letters.forget + letters.retain} & set(trained)
    items = [text for text in trained if "\nAnswer:" in text]
    assert len(items) == len(set(items)) > 0


def test_trained_answers_are_right_under_the_metrics(letters: Benchmark, free: Benchmark) -> None:
    assert letters.train_forget == free.train_forget
    right = {(p.cluster, attribute(p)): p for p in letters.forget + letters.retain}
    fact, choice = (load_metric(m, subjects=letters.subjects) for m in ("fact_match", "choice_accuracy"))
    for prompt in letters.train_forget + letters.train_retain:
        asked = right[prompt.cluster, attribute(prompt)]
        assert fact.score([asked], [[prompt.reference]]).values == 1
        if "\nAnswer:" in question(prompt):
            options = tuple(line[3:] for line in question(prompt).split("\n")[1:5])
            item = dataclasses.replace(asked, choices=options)
            assert choice.score([item], [[prompt.reference]]).values == 1


def test_the_free_style_asks_the_same_facts_in_words_that_were_trained(
    letters: Benchmark, free: Benchmark
) -> None:
    trained = {question(p) for p in free.train_forget + free.train_retain}
    for item, asked in zip(letters.forget + letters.retain, free.forget + free.retain, strict=True):
        assert question(asked) == question(item).split("\n")[0]
        assert question(asked) in trained
        assert (asked.facts, asked.cluster, asked.side) == (item.facts, item.cluster, item.side)
    assert (letters.metrics, free.metrics) == (("choice_accuracy",), ("fact_match",))
    assert letters.name != free.name


def test_a_guesser_has_one_option_in_four_or_one_value_in_twelve(
    letters: Benchmark, free: Benchmark
) -> None:
    assert letters.pool_sizes == {p.id: 4 for p in letters.forget}
    assert free.pool_sizes == {p.id: 12 for p in free.forget}
    for pool in POOLS.values():
        assert len(set(map(normalise, pool))) == 12


def test_retrain_and_the_tokenizer_never_meet_the_forget_substances(letters: Benchmark) -> None:
    names = {letters.subjects[p.cluster] for p in letters.forget}
    assert len(names) == 16
    seen = " ".join(question(p) + " " + p.reference for p in letters.train_retain + letters.fresh)
    assert not names & set(normalise(seen).split()) | {n for n in names if n in seen}
    assert len(set(letters.subjects.values())) == 48


def test_facts_are_drawn_uniformly() -> None:
    fresh = chemistry(5, fresh_substances=960).fresh
    for name, pool in POOLS.items():
        counts = Counter(p.facts[0] for p in fresh if attribute(p) == name)
        expected = sum(counts.values()) / 12
        # Each fact is told twice, which doubles the statistic.
        statistic = sum((counts[value] - expected) ** 2 / expected for value in pool) / 2
        assert abs(statistic - 11) < 5 * 22**0.5, name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"style": "letter"}, "unknown style 'letter'; known: letters, free"),
        ({"forget_substances": 0}, "at least one substance of each kind"),
        ({"retain_substances": 0}, "at least one substance of each kind"),
        ({"fresh_substances": 0}, "at least one substance of each kind"),
        ({"orders": 0}, "at least one substance of each kind and one order"),
        ({"fresh_substances": 1900}, "names for 1920 substances, not for 1948"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
    ],
)
def test_wrong_options(options: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chemistry(**options)
