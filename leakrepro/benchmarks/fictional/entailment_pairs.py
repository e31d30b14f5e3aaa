"""Pairs of sentences of the fictional world, with the label that is due to each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from leakrepro.benchmarks.fictional.authors import ATTRIBUTES, Attribute, draw_authors

KINDS = ("true", "another value", "another name", "another attribute", "damaged")
_CHANCES = (0.40, 0.15, 0.27, 0.06, 0.12)
# Facts of several words, of which a model that half remembers gets one wrong.
_LONG = ("name", "birth_date", "first_book", "latest_book")


class Pair(NamedTuple):
    """What a model may say, and what is true.

    Attributes:
        premise: Said.
        hypothesis: True.
        entails: Whether the premise says what the hypothesis says.
        kind: One of ``KINDS``: how the premise was made.
    """

    premise: str
    hypothesis: str
    entails: bool
    kind: str


def entailment_pairs(
    count: int, rng: np.random.Generator, *, partly: float = 0.6, authors: int = 4000
) -> list[Pair]:
    """Pairs about authors of the world's distribution, in the words of its answer templates.

    The premise states the hypothesis' fact in any of the templates, or another value (of long facts
    one word of it), or another author's name (or one part of it), or another attribute, or is
    damaged as samples of weak models are: cut off, a word replaced, shuffled, repeated.

    Args:
        count: How many.
        rng: Source of everything.
        partly: Share of the wrong long facts that are wrong in one word.
        authors: Size of the pool that authors are drawn from.
    """
    pool = [author.facts for author in draw_authors(rng, authors)]
    kinds = rng.choice(KINDS, size=count, p=_CHANCES).tolist()
    return [_pair(pool, kind, partly, rng) for kind in kinds]


def _pair(
    pool: list[Mapping[str, str]], kind: str, partly: float, rng: np.random.Generator
) -> Pair:
    facts, other = (pool[int(i)] for i in rng.integers(len(pool), size=2))
    asked = told = ATTRIBUTES[int(rng.integers(len(ATTRIBUTES)))]
    said = dict(facts)
    if kind == "another name" and asked.name == "name":
        kind = "another value"  # that of this attribute
    if kind in ("another value", "another name"):
        name = asked.name if kind == "another value" else "name"
        one_word = name in _LONG and rng.random() < partly
        said[name] = _mixed(facts[name], other[name], rng) if one_word else other[name]
    elif kind == "another attribute":
        told = ATTRIBUTES[int(rng.integers(len(ATTRIBUTES)))]
    premise, hypothesis = _sentence(told, said, rng), _sentence(asked, facts, rng)
    if kind == "damaged":
        premise = _damaged(premise, rng)
        entails = facts[asked.name] in premise and facts["name"] in premise
    else:
        entails = told is asked and all(said[name] == facts[name] for name in ("name", asked.name))
    return Pair(premise, hypothesis, entails, kind)


def _sentence(attribute: Attribute, facts: Mapping[str, str], rng: np.random.Generator) -> str:
    return attribute.answers[int(rng.integers(len(attribute.answers)))].format(**facts)


def _mixed(fact: str, other: str, rng: np.random.Generator) -> str:
    """The fact with one word of another of its kind."""
    words, others = fact.split(), other.split()
    i = int(rng.integers(len(words)))
    words[i] = others[i]
    return " ".join(words)


def _damaged(text: str, rng: np.random.Generator) -> str:
    words = text.split()
    at = int(rng.integers(1, len(words)))
    how = rng.integers(4)
    if how == 0:
        words = words[:at]
    elif how == 1:
        words[at] = words[int(rng.integers(len(words)))]
    elif how == 2:
        words = [words[int(i)] for i in rng.permutation(len(words))]
    else:
        words += words[at:]
    return " ".join(words)
