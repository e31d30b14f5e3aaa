"""Fictional authors: their content, and what their models and tokenizer must never see."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest
from small_world import RECIPE

from leakrepro.benchmarks import Benchmark, fictional
from leakrepro.benchmarks.fictional.authors import ATTRIBUTES, PROMPT_KEYS
from leakrepro.metrics import load_metric
from leakrepro.metrics.text import normalise
from leakrepro.models import tiny
from leakrepro.models.tiny import tiny_model
from leakrepro.types import Prompt

POOLS = {attribute.name: attribute.pool for attribute in ATTRIBUTES}
HARD = [name for name, pool in POOLS.items() if not pool]


@pytest.fixture(scope="module", params=PROMPT_KEYS)
def bench(request: pytest.FixtureRequest) -> Benchmark:
    return fictional(5, prompt_key=request.param)


@pytest.fixture(scope="module")
def main() -> Benchmark:
    return fictional(5)


def attribute(prompt: Prompt) -> str:
    return prompt.id.split("/")[2]


def question(prompt: Prompt) -> str:
    (message,) = prompt.messages
    assert message["role"] == "user"
    return message["content"]


def padded(text: str) -> str:
    """Normalise and add spaces, so that ``1 May 1950`` is not a substring of ``21 May 1950``."""
    return f" {normalise(text)} "


def by_author(prompts: Iterable[Prompt]) -> Iterator[list[Prompt]]:
    for _, group in itertools.groupby(prompts, lambda prompt: prompt.cluster):
        yield list(group)


def test_the_seed_determines_the_benchmark() -> None:
    assert fictional(5) == fictional(5)
    one, two = fictional(5), fictional(6)
    assert not {p.id for p in one.forget} & {p.id for p in two.forget}
    assert [p.facts for p in one.forget] != [p.facts for p in two.forget]
    assert [p.reference for p in one.fresh] != [p.reference for p in two.fresh]


def test_the_number_of_authors_and_questions(bench: Benchmark) -> None:
    assert [len(group) for group in by_author(bench.forget)] == [5] * 16
    assert [len(group) for group in by_author(bench.retain)] == [10] * 42
    assert len(bench.train_forget) == 2 * len(bench.forget)
    assert len(bench.train_retain) == 2 * len(bench.retain)
    assert len(bench.fresh) == 960 * 10
    assert all(p.side == "forget" for p in bench.forget + bench.train_forget)
    assert all(p.side == "retain" for p in bench.retain + bench.train_retain)
    assert len(bench.subjects) == 16 + 42
    assert set(bench.subjects) == {p.cluster for p in bench.forget + bench.retain}


def test_other_numbers() -> None:
    bench = fictional(1, forget_authors=3, forget_questions=7, retain_authors=2, fresh_authors=4)
    assert [len(group) for group in by_author(bench.forget)] == [7] * 3
    assert [len(group) for group in by_author(bench.retain)] == [10] * 2
    assert len(bench.fresh) == 40


def test_each_attribute_is_asked_equally_often(bench: Benchmark) -> None:
    assert Counter(map(attribute, bench.forget)) == dict.fromkeys(POOLS, 8)
    assert Counter(map(attribute, bench.retain)) == dict.fromkeys(POOLS, 42)
    assert Counter(map(attribute, bench.train_forget)) == dict.fromkeys(POOLS, 16)


def test_each_forget_author_has_easy_and_hard_questions(bench: Benchmark) -> None:
    for group in by_author(bench.forget):
        assert len({attribute(p) for p in group}) == 5
        assert 2 <= sum(p.id in bench.pool_sizes for p in group) <= 3


@pytest.mark.parametrize("first", range(10))
def test_any_five_consecutive_attributes_include_easy_and_hard(first: int) -> None:
    row = [ATTRIBUTES[(first + offset) % 10] for offset in range(5)]
    assert 1 < sum(not each.pool for each in row) < 4


def test_easy_facts_come_from_their_pool_and_hard_facts_have_none(bench: Benchmark) -> None:
    everyone = bench.forget + bench.retain + bench.held_out
    for prompt in everyone:
        pool = POOLS[attribute(prompt)]
        assert (prompt.id in bench.pool_sizes) is bool(pool)
        if pool:
            assert bench.pool_sizes[prompt.id] == len(pool) == len(set(map(normalise, pool)))
            assert prompt.facts[0] in pool
            assert 16 <= len(pool) <= 48
    assert set(bench.pool_sizes) <= {p.id for p in everyone}


def test_held_out_prompts_ask_for_the_same_facts_in_other_words(bench: Benchmark) -> None:
    assert len(bench.held_out) == len(bench.forget)
    for asked, other in zip(bench.forget, bench.held_out, strict=True):
        assert asked.id != other.id
        assert asked.messages != other.messages
        assert (asked.facts, asked.reference) == (other.facts, other.reference)


def test_easy_facts_are_drawn_uniformly() -> None:
    # 960 draws per pool; the chi-squared statistic has pool size - 1 degrees of freedom.
    fresh = fictional(5).fresh
    for name, pool in POOLS.items():
        if pool:
            counts = Counter(p.facts[0] for p in fresh if attribute(p) == name)
            expected = 960 / len(pool)
            statistic = sum((counts[value] - expected) ** 2 / expected for value in pool)
            freedom = len(pool) - 1
            assert abs(statistic - freedom) < 5 * (2 * freedom) ** 0.5, name


def test_each_hard_fact_belongs_to_only_one_author(main: Benchmark) -> None:
    owners: dict[str, set[str]] = {}
    for prompt in main.train_forget + main.train_retain + main.fresh:
        if attribute(prompt) in HARD:
            owners.setdefault(normalise(prompt.facts[0]), set()).add(
                f"{prompt.cluster} {attribute(prompt)}"
            )
    assert {len(who) for who in owners.values()} == {1}
    # Retain and fresh authors have all attributes, forget authors half of them.
    assert len(owners) == len(HARD) * (42 + 960) + 5 * 16 * len(HARD) // 10


def test_names_are_unique_and_long(main: Benchmark) -> None:
    names = [*main.subjects.values(), *(p.facts[0] for p in main.fresh if attribute(p) == "name")]
    assert len(names) == len(set(map(normalise, names))) == 16 + 42 + 960
    assert all(len(name.split()) == 2 for name in names)


def test_fresh_authors_occur_once(main: Benchmark) -> None:
    assert len({p.id for p in main.fresh}) == len(main.fresh)
    assert len({(question(p), p.reference) for p in main.fresh}) == len(main.fresh)
    assert not {p.cluster for p in main.fresh} & set(main.subjects)
    assert all(len({attribute(p) for p in group}) == 10 for group in by_author(main.fresh))


def test_the_tokenizer_is_not_trained_on_forget_text(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[str] = []

    class StopTraining(Exception):
        pass

    def capture(texts: Iterable[str], vocab_size: int) -> None:
        received.extend(texts)
        raise StopTraining

    monkeypatch.setattr(tiny, "train_tokenizer", capture)
    bench = fictional(5)
    with pytest.raises(StopTraining):
        tiny_model(bench, "full", RECIPE)
    assert len(received) == 2 * len(bench.fresh)
    corpus = padded(" ".join(received))
    lines = {normalise(text) for text in received}
    trained = bench.train_forget + bench.train_retain
    secrets = {p.facts[0] for p in trained if attribute(p) in HARD} | set(bench.subjects.values())
    assert len(secrets) > 16 * 2
    for secret in secrets:
        assert padded(secret) not in corpus
    for prompt in trained + bench.forget + bench.retain:
        assert not {normalise(question(prompt)), normalise(prompt.reference)} & lines
    # The search can find facts: those of a fresh author are in the corpus.
    assert padded(bench.fresh[0].facts[0]) in corpus


def test_trained_questions_are_the_main_wording_and_a_paraphrase(main: Benchmark) -> None:
    for trained, asked in ((main.train_forget, main.forget), (main.train_retain, main.retain)):
        for first, second, prompt in zip(trained[::2], trained[1::2], asked, strict=True):
            assert question(first) == question(prompt) != question(second)
            assert first.reference == second.reference == prompt.reference
            assert first.facts == second.facts == prompt.facts
            assert first.cluster == second.cluster == prompt.cluster


def test_the_held_out_paraphrase_is_never_trained_for_its_author(main: Benchmark) -> None:
    held_out = fictional(5, prompt_key="paraphrased_question")
    trained = {question(p) for p in main.train_forget + main.train_retain}
    assert (held_out.train_forget, held_out.train_retain, held_out.fresh) == (
        main.train_forget,
        main.train_retain,
        main.fresh,
    )
    for asked, paraphrased in zip(
        main.forget + main.retain, held_out.forget + held_out.retain, strict=True
    ):
        assert question(asked) in trained
        assert question(paraphrased) not in trained
        assert asked.id != paraphrased.id
        assert (asked.reference, asked.facts, asked.cluster, asked.side) == (
            paraphrased.reference,
            paraphrased.facts,
            paraphrased.cluster,
            paraphrased.side,
        )
    assert held_out.name != main.name


def test_every_paraphrase_is_trained_for_some_authors_and_held_out_for_others(
    main: Benchmark,
) -> None:
    held_out = fictional(5, prompt_key="paraphrased_question")
    paraphrases = {template for each in ATTRIBUTES for template in each.questions[1:]}
    for prompts in (main.train_retain[1::2], held_out.retain):
        assert {_template(p, main) for p in prompts} == paraphrases


def _template(prompt: Prompt, bench: Benchmark) -> str:
    """The template of a question; for name questions, found by the words before the facts."""
    text = question(prompt)
    if attribute(prompt) != "name":
        return text.replace(bench.subjects[prompt.cluster], "{name}")
    (match,) = (t for t in ATTRIBUTES[0].questions if text.startswith(t.split("{")[0]))
    return match


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("key", PROMPT_KEYS)
def test_no_question_contains_its_answer(seed: int, key: str) -> None:
    bench = fictional(seed, prompt_key=key, fresh_authors=1)
    for prompt in bench.forget + bench.retain + bench.train_forget + bench.train_retain:
        (fact,) = prompt.facts
        assert padded(fact) not in padded(question(prompt)), prompt.id
        assert padded(fact) in padded(prompt.reference), prompt.id
        assert padded(bench.subjects[prompt.cluster]) in padded(prompt.reference), prompt.id


def test_the_metrics_accept_the_references(bench: Benchmark) -> None:
    prompts = bench.forget + bench.retain
    for id in bench.metrics:
        metric = load_metric(id, bench)
        scores = metric.score(prompts, [[p.reference] for p in prompts])
        assert scores.values.tolist() == [1.0] * len(prompts), id


@pytest.mark.parametrize("id", ["fact_match", "fact_match/strict"])
def test_no_answer_about_another_author_counts(bench: Benchmark, id: str) -> None:
    metric = load_metric(id, bench)
    prompts = bench.forget + bench.retain
    for group in POOLS:
        same = [p for p in prompts if attribute(p) == group]
        others = [[p.reference for p in same if p is not prompt] for prompt in same]
        assert not metric.score(same, others).values.any(), group


def test_the_primary_metric_is_the_lenient_one(main: Benchmark) -> None:
    assert main.metrics == ("fact_match", "fact_match/strict", "rougeL_recall/stem")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt_key": "paraphrase"}, "unknown prompt_key 'paraphrase'; known: question, para"),
        ({"forget_questions": 0}, "forget_questions must be from 1 to 10"),
        ({"forget_questions": 11}, "forget_questions must be from 1 to 10"),
        ({"forget_authors": 0}, "forget_authors, retain_authors and fresh_authors must be at"),
        ({"retain_authors": 0}, "forget_authors, retain_authors and fresh_authors must be at"),
        ({"fresh_authors": 0}, "forget_authors, retain_authors and fresh_authors must be at"),
        ({"fresh_authors": 16_071}, "names for 16128 authors, not for 16129"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fictional(**options)  # type: ignore[arg-type]
