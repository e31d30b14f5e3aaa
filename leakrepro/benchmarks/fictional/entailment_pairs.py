"""Labelled sentence pairs about fictional authors, for training the entailment model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from leakrepro.benchmarks.fictional.authors import ATTRIBUTES, Attribute, draw_authors

KINDS = ("true", "another value", "another name", "another attribute", "damaged")
_CHANCES = (0.40, 0.15, 0.27, 0.06, 0.12)
# Facts of several words. A model that remembers one partly gets one of its words wrong.
_LONG = ("name", "birth_date", "first_book", "latest_book")


class Pair(NamedTuple):
    """A possible model answer and the correct answer.

    Attributes:
        premise: The possible model answer.
        hypothesis: The correct answer.
        entails: Whether the premise entails the hypothesis.
        kind: How the premise was generated, one of ``KINDS``.
    """

    premise: str
    hypothesis: str
    entails: bool
    kind: str


def entailment_pairs(
    count: int, rng: np.random.Generator, *, partly: float = 0.6, authors: int = 4000
) -> list[Pair]:
    """Generate labelled pairs about fictional authors from the answer templates.

    The premise is one of the following: the same fact as the hypothesis in any of its templates;
    another value (for long facts sometimes only one word differs); another author's name (sometimes
    only one part differs); another attribute; or a sentence damaged like samples of weak models
    (truncated, a word replaced, shuffled, or repeated).

    Args:
        count: Number of pairs.
        rng: Random generator.
        partly: Share of the wrong long facts in which only one word is wrong.
        authors: Number of different authors.

    Returns:
        ``count`` pairs.
    """
    pool = [author.facts for author in draw_authors(rng, authors)]
    kinds = rng.choice(KINDS, size=count, p=_CHANCES).tolist()
    return [_pair(pool, kind, partly, rng) for kind in kinds]


def _pair(
    pool: list[Mapping[str, str]], kind: str, partly: float, rng: np.random.Generator
) -> Pair:
    facts, other = (pool[int(i)] for i in rng.integers(len(pool), size=2))
    asked = stated = ATTRIBUTES[int(rng.integers(len(ATTRIBUTES)))]
    stated_facts = dict(facts)
    if kind == "another name" and asked.name == "name":
        kind = "another value"  # the name is the value of this attribute
    if kind in ("another value", "another name"):
        name = asked.name if kind == "another value" else "name"
        one_word = name in _LONG and rng.random() < partly
        stated_facts[name] = _mixed(facts[name], other[name], rng) if one_word else other[name]
    elif kind == "another attribute":
        stated = ATTRIBUTES[int(rng.integers(len(ATTRIBUTES)))]
    premise, hypothesis = _sentence(stated, stated_facts, rng), _sentence(asked, facts, rng)
    if kind == "damaged":
        premise = _damaged(premise, rng)
        entails = facts[asked.name] in premise and facts["name"] in premise
    else:
        entails = stated is asked and all(
            stated_facts[name] == facts[name] for name in ("name", asked.name)
        )
    return Pair(premise, hypothesis, entails, kind)


def _sentence(attribute: Attribute, facts: Mapping[str, str], rng: np.random.Generator) -> str:
    return attribute.answers[int(rng.integers(len(attribute.answers)))].format(**facts)


def _mixed(fact: str, other: str, rng: np.random.Generator) -> str:
    """Replace one word of a fact by the word of another fact at the same position."""
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
