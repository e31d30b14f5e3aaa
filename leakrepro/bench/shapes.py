"""Generated texts for timing, with the statistics of the real benchmarks' texts."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from string import ascii_lowercase

import numpy as np
from numpy.typing import NDArray

from leakrepro.rouge._python import tokenise

# The most common English words, most frequent first. Generated words follow them.
_COMMON = (
    "the of and to in a is that was for his her as on with by he it she at from are has this an be "
    "which have not their or its but they had were one been more also who all when into through "
    "would about how many often first while"
)
_STARTS = "b br c ch d dr f fl g gr h j k l m n p pl pr qu r s sh st str t th tr v w"
_MIDDLES = "a e i o u ea io ou ai a e i o"
_ENDS = "b ct d l ll m n nd ng nt p r rd rm s ss st t v x"
_SUFFIXES = ",,,s,s,ed,ing,er,ly,ation,ations,ment,ive,ness"
_DIFFERENT = 12_000
_ZIPF = 1.05


@dataclass(frozen=True)
class Shape:
    """References with their candidates.

    Attributes:
        name: Name of the shape on the command line.
        references: R texts.
        candidates: R lists of C texts each.
        new_words: Share of the candidates' words that occur nowhere else.
    """

    name: str
    references: list[str]
    candidates: list[list[str]]
    new_words: float

    @property
    def pairs(self) -> int:
        return sum(map(len, self.candidates))

    @cached_property
    def ids(self) -> tuple[list[NDArray[np.int32]], list[NDArray[np.int32]]]:
        """References and all candidates as ids of their stemmed tokens."""
        numbers: dict[str, int] = {}

        def number(text: str) -> NDArray[np.int32]:
            tokens = tokenise(text, stem=True)
            return np.array([numbers.setdefault(t, len(numbers)) for t in tokens], dtype=np.int32)

        return [number(text) for text in self.references], [
            number(text) for row in self.candidates for text in row
        ]

    @cached_property
    def cells(self) -> int:
        """Total number of cells in the LCS tables of all pairs."""
        references, candidates = self.ids
        sizes = [len(reference) for reference in references]
        repeated = np.repeat(sizes, [len(row) for row in self.candidates])
        return int(repeated @ np.array([len(candidate) for candidate in candidates]))

    def describe(self) -> str:
        references, candidates = self.ids
        return (
            f"{len(references)} references of {np.mean([len(r) for r in references]):.0f} tokens, "
            f"{self.pairs} candidates of {np.mean([len(c) for c in candidates]):.0f}, "
            f"{100 * self.new_words:g} % new words"
        )


class Writer:
    """Generates texts of Zipf-distributed words from a seed."""

    def __init__(self, seed: int, new_words: float) -> None:
        self.rng = random.Random(seed)
        self.new_words = new_words
        words = dict.fromkeys(_COMMON.split())
        while len(words) < _DIFFERENT:
            words[self._made_up() + self.rng.choice(_SUFFIXES.split(","))] = None
        self._words = list(words)
        weights = 1 / np.arange(1, len(words) + 1) ** _ZIPF
        ranks = np.random.default_rng(seed).choice(len(words), 1 << 16, p=weights / weights.sum())
        self._ranks = itertools.cycle(ranks.tolist())

    def _made_up(self) -> str:
        choice = self.rng.choice
        syllables = choice([1, 1, 2, 2, 2, 3])
        parts = (choice(_STARTS.split()) + choice(_MIDDLES.split()) for _ in range(syllables))
        return "".join(parts) + choice(_ENDS.split())

    def word(self) -> str:
        if self.rng.random() < self.new_words:
            return "".join(self.rng.choices(ascii_lowercase, k=self.rng.randrange(4, 12)))
        word: str = self._words[next(self._ranks)]
        return word.capitalize() if self.rng.random() < 0.12 else word

    def text(self, size: int) -> str:
        return self.punctuated([self.word() for _ in range(size)])

    def punctuated(self, words: list[str]) -> str:
        """Join words with punctuation and a few non-ASCII characters."""
        pieces = []
        for word in words:
            chance = self.rng.random()
            if chance < 0.05:
                word += "."
            elif chance < 0.11:
                word += ","
            elif chance < 0.125:
                word = f'"{word}"'
            elif chance < 0.135:
                word += "'s"
            elif chance < 0.14:
                word += "\u2019s"
            pieces.append(word)
        return " ".join(pieces) + "."

    def sample(self, reference: str, size: int, shares: Sequence[float]) -> str:
        """Imitate an unlearned model: take one of ``shares`` of the words from the reference."""
        known = reference.split(" ")
        share = self.rng.choice(shares)
        words = [
            known[i % len(known)] if self.rng.random() < share else self.word() for i in range(size)
        ]
        return " ".join(words)


def _shape(
    name: str,
    references: int,
    candidates: int,
    reference_size: Callable[[random.Random], int],
    candidate_size: Callable[[random.Random], int],
    shares: Sequence[float],
    *,
    new_words: float,
    seed: int,
) -> Shape:
    writer = Writer(seed, new_words)
    texts = [writer.text(reference_size(writer.rng)) for _ in range(references)]
    rows = [
        [writer.sample(text, candidate_size(writer.rng), shares) for _ in range(candidates)]
        for text in texts
    ]
    return Shape(name, texts, rows, new_words)


def tofu(*, new_words: float = 0.02, seed: int = 0, scale: float = 1.0) -> Shape:
    """400 answers of about 28 words, with 200 samples each of about 57 words."""
    return _shape(
        "tofu",
        max(2, round(400 * scale)),
        200,
        lambda rng: max(3, round(rng.gauss(28, 12))),
        lambda rng: max(1, round(rng.gauss(57, 22))),
        (0.1, 0.3, 0.5, 0.8),
        new_words=new_words,
        seed=seed,
    )


def knowmem(*, new_words: float = 0.02, seed: int = 0, scale: float = 1.0) -> Shape:
    """100 answers of a few words, as in MUSE, with 200 samples each of up to 27 words."""
    return _shape(
        "knowmem",
        max(2, round(100 * scale)),
        200,
        lambda rng: rng.randrange(1, 8),
        lambda rng: rng.randrange(1, 28),
        (0.1, 0.3, 0.5, 0.8),
        new_words=new_words,
        seed=seed,
    )


def verbmem(*, new_words: float = 0.02, seed: int = 0, scale: float = 1.0) -> Shape:
    """10 long passages with 40 continuations each; all have 1,000 to 2,000 words."""
    return _shape(
        "verbmem",
        max(2, round(10 * scale)),
        40,
        lambda rng: rng.randrange(1000, 2001),
        lambda rng: rng.randrange(1000, 2001),
        (0.0, 0.0, 0.1, 0.3),
        new_words=new_words,
        seed=seed,
    )
