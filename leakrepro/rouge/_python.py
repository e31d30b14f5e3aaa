"""ROUGE-L in readable Python: the oracle of the native kernel, and the fallback without it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

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

    check_texts(references, candidates)
    i = 0
    for reference, row in zip(references, candidates, strict=True):
        target = number(reference)
        for candidate in row:
            prediction = number(candidate)
            length = LCSseq.similarity(target, prediction)
            precision[i], recall[i], fmeasure[i] = _measures(length, target, prediction)
            i += 1


def lcs_length(
    reference_ids: NDArray[Any],
    reference_offsets: NDArray[np.int64],
    candidate_ids: NDArray[Any],
    candidate_offsets: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    out: NDArray[np.int32],
) -> None:
    """The LCS of each pair; arguments as for the native function, which says more of errors."""
    pairs = _pairs(reference_ids, reference_offsets, candidate_ids, candidate_offsets, groups)
    for i, (target, prediction) in enumerate(pairs):
        out[i] = LCSseq.similarity(target, prediction)


def rouge_l_ids(
    reference_ids: NDArray[Any],
    reference_offsets: NDArray[np.int64],
    candidate_ids: NDArray[Any],
    candidate_offsets: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    precision: NDArray[np.float64],
    recall: NDArray[np.float64],
    fmeasure: NDArray[np.float64],
) -> None:
    """ROUGE-L of each pair; arguments as for the native function."""
    pairs = _pairs(reference_ids, reference_offsets, candidate_ids, candidate_offsets, groups)
    for i, (target, prediction) in enumerate(pairs):
        length = LCSseq.similarity(target, prediction)
        precision[i], recall[i], fmeasure[i] = _measures(length, target, prediction)


def _pairs(
    reference_ids: NDArray[Any],
    reference_offsets: NDArray[np.int64],
    candidate_ids: NDArray[Any],
    candidate_offsets: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
) -> Iterator[tuple[list[int], list[int]]]:
    references = _rows(reference_ids, reference_offsets, "reference offsets")
    candidates = _rows(candidate_ids, candidate_offsets, "candidate offsets")
    check_groups(groups, len(references), len(candidates))
    for i, reference in enumerate(references):
        mine = candidates if groups is None else candidates[groups[i] : groups[i + 1]]
        for candidate in mine:
            yield reference, candidate


def _rows(ids: NDArray[Any], offsets: NDArray[np.int64], what: str) -> list[list[int]]:
    check_offsets(offsets, ids.size, what)
    return [ids[a:b].tolist() for a, b in pairwise(offsets)]


def check_groups(groups: NDArray[np.int64] | None, references: int, candidates: int) -> None:
    """Raises ValueError unless the offsets share all candidates among the references."""
    if groups is None:
        return
    check_offsets(groups, candidates, "groups")
    if groups.size != references + 1:
        raise ValueError("groups must have one entry more than there are references")
    if groups[0] != 0 or groups[-1] != candidates:
        raise ValueError("groups must start at 0 and end at the number of candidates")


def check_offsets(offsets: NDArray[np.int64], end: int, what: str) -> None:
    """Raises ValueError unless the offsets rise from 0 or more to ``end`` or less."""
    if offsets.ndim != 1 or offsets.size == 0:
        raise ValueError(f"{what} must be one-dimensional and have at least one entry")
    if offsets[0] < 0 or (np.diff(offsets) < 0).any():
        raise ValueError(f"{what} must not fall or be negative")
    if offsets[-1] > end:
        raise ValueError(f"{what} end at {offsets[-1]}, but there are only {end}")


def _measures(
    length: int, target: Sequence[int], prediction: Sequence[int]
) -> tuple[float, float, float]:
    if length == 0:
        return 0.0, 0.0, 0.0
    p = length / len(prediction)
    r = length / len(target)
    return p, r, 2 * p * r / (p + r)


def check_texts(references: list[str], candidates: list[list[str]]) -> None:
    """Raises TypeError for what is not a string; the message names its place."""
    for i, (reference, row) in enumerate(zip(references, candidates, strict=True)):
        _check_text(reference, f"reference {i}")
        for j, candidate in enumerate(row):
            _check_text(candidate, f"candidate {j} of reference {i}")


def _check_text(text: object, what: str) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a string, not {type(text).__name__}")
