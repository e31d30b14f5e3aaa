"""Fictional news: evaluated questions are trained, held-out questions are not."""

from __future__ import annotations

import pytest

from leakrepro.benchmarks import fictional_news
from leakrepro.benchmarks.fictional.authors import BIRTHPLACES
from leakrepro.benchmarks.fictional.news import QUESTIONS
from leakrepro.types import Prompt


def last_question(prompt: Prompt) -> str:
    return prompt.messages[0]["content"].rpartition("Question: ")[2]


def test_the_seed_determines_the_corpus() -> None:
    assert fictional_news(3) == fictional_news(3)
    assert fictional_news(3) != fictional_news(4)
    both = fictional_news(3), fictional_news(3, task="verbmem")
    assert both[0].train_forget == both[1].train_forget
    assert both[0].train_retain == both[1].train_retain
    assert both[0].fresh == both[1].fresh


def test_sizes() -> None:
    bench = fictional_news(forget_articles=3, retain_articles=4, fresh_articles=5)
    assert [len(bench.forget), len(bench.retain), len(bench.held_out)] == [15, 20, 15]
    assert [len(bench.train_forget), len(bench.train_retain)] == [33, 44]
    assert len(bench.fresh) == 4 * 6
    assert len({p.cluster for p in bench.forget}) == 3
    passages = fictional_news(
        task="verbmem", forget_articles=3, retain_articles=4, fresh_articles=5
    )
    assert [len(passages.forget), len(passages.retain), len(passages.held_out)] == [3, 4, 0]


def test_evaluated_questions_are_trained_and_held_out_questions_are_not() -> None:
    bench = fictional_news()
    trained = {(last_question(p), p.reference) for p in bench.train_forget}
    assert {(last_question(p), p.reference) for p in bench.forget} <= trained
    assert not {last_question(p) for p in bench.held_out} & {q for q, _ in trained}
    others = {last_question(p) for p in bench.train_retain + bench.fresh}
    assert not {last_question(p) for p in bench.forget + bench.held_out} & others
    assert [p.facts for p in bench.held_out] == [p.facts for p in bench.forget]


def test_articles_contain_the_facts_that_are_asked() -> None:
    bench = fictional_news()
    articles = {p.cluster: p.reference for p in bench.train_forget if p.id.endswith("/article")}
    for prompt in bench.forget:
        assert prompt.reference in articles[prompt.cluster]
    for prompt in fictional_news(task="verbmem").forget:
        text = f"{prompt.messages[0]['content']} {prompt.reference}"
        assert text == articles[prompt.cluster]


def test_hard_facts_are_unique_and_easy_facts_come_from_pools() -> None:
    bench = fictional_news()
    for fact in QUESTIONS:
        answers = [p.reference for p in bench.forget + bench.retain if f"/{fact}/" in p.id]
        pools = {bench.pool_sizes.get(p.id) for p in bench.forget if f"/{fact}/" in p.id}
        if fact in ("town", "donor"):
            assert len(set(answers)) < len(answers)
            assert pools == {len(BIRTHPLACES) if fact == "town" else 20}
        else:
            assert len(set(answers)) == len(answers)
            assert pools == {None}


@pytest.mark.parametrize("shots", [0, 2, 5])
def test_shots(shots: int) -> None:
    bench = fictional_news(shots=shots)
    prompt = bench.forget[0].messages[0]["content"]
    assert prompt.count("Question: ") == shots + 1
    block = prompt.rpartition("Question: ")[0]
    hard = [p for p in bench.forget + bench.retain if p.id not in bench.pool_sizes]
    assert not [p for p in hard if p.reference in block]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "x"}, "unknown task 'x'"),
        ({"shots": 6}, "shots must be from 0 to 5"),
        ({"forget_articles": 0}, "retain_articles and fresh_articles must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_wrong_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fictional_news(**options)
