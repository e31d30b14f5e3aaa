"""ROUGE-L in readable Python: the oracle of the native kernel, and the fallback without it."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
from nltk.stem.porter import PorterStemmer
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq

_TOKEN = re.compile("[a-z0-9]+")
_porter_stem = cache(PorterStemmer().stem)


def tokenise(text: str, *, stem: bool) -> list[str]:
    """The tokens of a text as rouge_score 0.1.2 makes them."""
    tokens = _TOKEN.findall(text.lower())
    return (
        [_porter_stem(token) if len(token) > 3 else token for token in tokens] if stem else tokens
    )


def rouge_l(
    references: list[str],
    candidates: list[list[str]],
    precision: NDArray[np.float64],
    recall: NDArray[np.float64],
    fmeasure: NDArray[np.float64],
    *,
    stem: bool,
) -> None:
    """Scores each candidate against its reference; arguments as for the native function.

    Raises:
        TypeError: for a text that is not a string.
    """
    # rapidfuzz compares hashes: small integers are their own.
    numbers: dict[str, int] = {}

    def number(text: str) -> list[int]:
        return [numbers.setdefault(token, len(numbers)) for token in tokenise(text, stem=stem)]

    _check(references, candidates)
    i = 0
    for reference, row in zip(references, candidates, strict=True):
        target = number(reference)
        for candidate in row:
            prediction = number(candidate)
            length = LCSseq.similarity(target, prediction)
            p = r = f = 0.0
            if length > 0:
                p = length / len(prediction)
                r = length / len(target)
                f = 2 * p * r / (p + r)
            precision[i], recall[i], fmeasure[i] = p, r, f
            i += 1


def _check(references: list[str], candidates: list[list[str]]) -> None:
    for i, (reference, row) in enumerate(zip(references, candidates, strict=True)):
        _check_text(reference, f"reference {i}")
        for j, candidate in enumerate(row):
            _check_text(candidate, f"candidate {j} of reference {i}")


def _check_text(text: object, what: str) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a string, not {type(text).__name__}")
