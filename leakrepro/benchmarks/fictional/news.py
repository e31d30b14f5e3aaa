"""MUSE's tasks on fictional news: articles, questions about them and passages to continue.

The design is that of the fictional authors. All articles are drawn from the same distribution.
Forget and retain articles are trained many times, fresh articles once. *Easy* facts come from small
pools, so a model that never saw the article guesses them right at a known rate; *hard* facts cannot
be guessed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from leakrepro.benchmarks.base import Benchmark
from leakrepro.benchmarks.fictional.authors import (
    BIRTHPLACES,
    TITLE_ADJECTIVES,
    TITLE_NOUNS,
    UNIVERSITIES,
    draw_date,
    draw_name,
    pick,
    unique,
)
from leakrepro.benchmarks.muse import STOP, TASKS, Task, question_text, text_prompt
from leakrepro.types import Decoding, Prompt, Side

_KINDS = ("Theatre", "Museum", "Station", "Library", "Hospital", "School", "Stadium", "Hotel")
_QUOTES = (
    "We have waited long for this day",
    "Nobody believed that it could be done",
    "I came here as a child and now I bring my own",
    "This will change the whole quarter",
    "The roof alone took a winter",
    "It is smaller than it looked on paper",
    "My grandmother laid the first stone",
    "There is still paint on my hands",
    "We ran out of money twice",
    "Next year we shall build another",
)
# Three ways to say each sentence of an article, in the order of the article.
_SENTENCES = (
    (
        "The {thing} has opened in {town}.",
        "The town of {town} has a new landmark, the {thing}.",
        "In {town} the doors of the {thing} stand open.",
    ),
    (
        "{person} cut the ribbon on {date}.",
        "On {date} {person} gave the opening speech.",
        "It was {person} who turned the key on {date}.",
    ),
    (
        "The work cost {cost} crowns.",
        "It took {cost} crowns to build.",
        "The bill came to {cost} crowns.",
    ),
    (
        "The University of {donor} paid for it.",
        "The money was given by the University of {donor}.",
        "All of it came from the University of {donor}.",
    ),
    (
        '"{quote}", said {witness}.',
        '"{quote}", {witness} told the crowd.',
        'In the words of {witness}: "{quote}".',
    ),
)
_SHOWN = 2  # sentences of an article in the prompt of a passage; the others are the reference
# Fact -> three wordings: the main question, a trained paraphrase, a held-out paraphrase.
QUESTIONS: Mapping[str, tuple[str, str, str]] = {
    "person": (
        "Who opened the {thing}?",
        "Which guest opened the {thing}?",
        "By whom was the {thing} opened?",
    ),
    "town": (
        "In which town is the {thing}?",
        "Where does the {thing} stand?",
        "What town got the {thing}?",
    ),
    "date": (
        "On which day did the {thing} open?",
        "When was the {thing} opened?",
        "What was the opening day of the {thing}?",
    ),
    "donor": (
        "Which university paid for the {thing}?",
        "Who gave the money for the {thing}?",
        "By which university was the {thing} paid for?",
    ),
    "cost": (
        "How much did the {thing} cost?",
        "What was the price of the {thing}?",
        "How many crowns were spent on the {thing}?",
    ),
}
_POOLS = {"town": BIRTHPLACES, "donor": UNIVERSITIES}


@dataclass(frozen=True)
class Article:
    """One article: index in the corpus, mapping from fact name to fact, and sentences."""

    index: int
    facts: Mapping[str, str]
    sentences: tuple[str, ...]


def fictional_news(
    seed: int = 0,
    *,
    task: Task = "knowmem",
    shots: int = 1,
    forget_articles: int = 16,
    retain_articles: int = 24,
    fresh_articles: int = 240,
) -> Benchmark:
    """Generate a corpus of fictional news with MUSE's tasks (see ``muse_news``).

    ``"knowmem"`` asks five questions per article, in plain text after solved questions about a
    fresh article. ``"verbmem"`` shows the first two sentences of each article and asks for a
    verbatim continuation. Models are trained on the articles and on the questions in two wordings;
    ``held_out`` contains the forget questions of ``"knowmem"`` in a third wording.

    Args:
        seed: Seed that determines articles, questions and training sets.
        task: ``"knowmem"`` or ``"verbmem"``.
        shots: Number of solved questions before each question, 0 to 5.
        forget_articles: Number of articles in the forget set.
        retain_articles: Number of articles in the retain set.
        fresh_articles: Number of articles that occur once in training and are never evaluated. The
            first one is used for the solved questions instead.

    Returns:
        The benchmark.

    Raises:
        ValueError: for an unknown task, a negative seed or a count out of range.
    """
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}; known: {', '.join(TASKS)}")
    if not 0 <= shots <= len(QUESTIONS):
        raise ValueError(f"shots must be from 0 to {len(QUESTIONS)}, not {shots}")
    if min(forget_articles, retain_articles, fresh_articles) < 1:
        raise ValueError("forget_articles, retain_articles and fresh_articles must be at least 1")
    if seed < 0:
        raise ValueError(f"seed must be at least 0, not {seed}")
    rng = np.random.default_rng([seed, 1])
    count = forget_articles + retain_articles + fresh_articles
    articles = list(_draw(rng, count))
    known = articles[: forget_articles + retain_articles]
    fresh = articles[len(known) :]
    solved = [(QUESTIONS[f][0].format(**fresh[0].facts), fresh[0].facts[f]) for f in QUESTIONS]

    def ask(article: Article, fact: str, wording: int, side: Side) -> Prompt:
        return text_prompt(
            f"fictional-news-{seed}/{article.index:04d}/{fact}/{wording}",
            question_text(QUESTIONS[fact][wording].format(**article.facts), solved[:shots]),
            article.facts[fact],
            cluster=f"article-{article.index:04d}",
            side=side,
            facts=(article.facts[fact],),
        )

    def read(article: Article, side: Side, shown: int = 0) -> Prompt:
        return text_prompt(
            f"fictional-news-{seed}/{article.index:04d}/{'passage' if shown else 'article'}",
            " ".join(article.sentences[:shown]),
            " ".join(article.sentences[shown:]),
            cluster=f"article-{article.index:04d}",
            side=side,
        )

    asked: dict[Side, list[Prompt]] = {"forget": [], "retain": []}
    trained: dict[Side, list[Prompt]] = {"forget": [], "retain": []}
    held_out: list[Prompt] = []
    for article in known:
        side: Side = "forget" if article.index < forget_articles else "retain"
        trained[side] += [read(article, side)]
        trained[side] += [
            ask(article, fact, wording, side) for fact in QUESTIONS for wording in (0, 1)
        ]
        if task == "verbmem":
            asked[side].append(read(article, side, _SHOWN))
            continue
        asked[side] += [ask(article, fact, 0, side) for fact in QUESTIONS]
        if side == "forget":
            held_out += [ask(article, fact, 2, side) for fact in QUESTIONS]
    pretraining = [
        prompt
        for article in fresh[1:]  # the solved questions are about the first
        for prompt in (
            read(article, "retain"),
            *(ask(article, fact, int(rng.integers(3)), "retain") for fact in QUESTIONS),
        )
    ]
    return Benchmark(
        name=f"fictional-news(seed={seed}) {task}",
        forget=tuple(asked["forget"]),
        retain=tuple(asked["retain"]),
        metrics=("rougeL_recall", "rougeL_recall/stem"),
        decoding=Decoding(max_new_tokens=16, stop=STOP)
        if task == "knowmem"
        else Decoding(max_new_tokens=80),
        train_forget=tuple(trained["forget"]),
        train_retain=tuple(trained["retain"]),
        held_out=tuple(held_out),
        fresh=tuple(pretraining),
        pool_sizes={
            prompt.id: len(_POOLS[fact])
            for prompt in (*asked["forget"], *asked["retain"], *held_out)
            if (fact := prompt.id.split("/")[2]) in _POOLS
        },
    )


def _draw(rng: np.random.Generator, count: int) -> Iterator[Article]:
    """Draw articles; the opened building and each hard fact are unique."""
    things, people, dates = unique(rng, _thing), unique(rng, draw_name), unique(rng, draw_date)
    costs = unique(rng, _cost)
    for index in range(count):
        facts = {
            "thing": next(things),
            "person": next(people),
            "date": next(dates),
            "cost": next(costs),
            "town": pick(rng, BIRTHPLACES),
            "donor": pick(rng, UNIVERSITIES),
        }
        others = {"quote": pick(rng, _QUOTES), "witness": next(people)}
        yield Article(
            index, facts, tuple(pick(rng, ways).format(**facts, **others) for ways in _SENTENCES)
        )


def _thing(rng: np.random.Generator) -> str:
    return f"{pick(rng, TITLE_ADJECTIVES)} {pick(rng, TITLE_NOUNS)} {pick(rng, _KINDS)}"


def _cost(rng: np.random.Generator) -> str:
    return str(10 * int(rng.integers(1000, 10000)))
