"""ROUGE in readable Python: the reference implementation, and the fallback without the kernel.

Results and errors are those of ``rouge_score`` 0.1.2. Only a call that needs nltk or rapidfuzz
imports it, because the native kernel needs neither.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Types of scores as the kernel numbers them; ROUGE-N is n.
ROUGE_L, ROUGE_LSUM = 0, -1

Tokens = Sequence[Hashable]

_TOKEN = re.compile("[a-z0-9]+")


class Score(NamedTuple):
    """Precision, recall and F-measure, each in [0, 1]."""

    precision: float
    recall: float
    fmeasure: float


def tokenise(text: str, *, stem: bool) -> list[str]:
    """Return the tokens of a text as rouge_score 0.1.2 makes them."""
    tokens = _TOKEN.findall(text.lower())
    if not stem:
        return tokens
    porter_stem = _porter_stemmer()
    return [porter_stem(token) if len(token) > 3 else token for token in tokens]


@cache
def _porter_stemmer() -> Callable[[str], str]:
    from nltk.stem.porter import PorterStemmer

    return cache(PorterStemmer().stem)


def rouge_l(
    references: list[str],
    candidates: list[list[str]],
    precision: NDArray[np.float64],
    recall: NDArray[np.float64],
    fmeasure: NDArray[np.float64],
    *,
    stem: bool,
) -> None:
    """Score each candidate against its reference, with the arguments of the native function.

    Raises:
        TypeError: If a text is not a string.
    """
    from rapidfuzz.distance import LCSseq

    # rapidfuzz compares hashes, and the hash of a small integer is the integer itself.
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
            measures = _measures(length, len(target), len(prediction))
            precision[i], recall[i], fmeasure[i] = measures
            i += 1


def lcs_length(
    reference_ids: NDArray[Any],
    reference_offsets: NDArray[np.int64],
    candidate_ids: NDArray[Any],
    candidate_offsets: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    out: NDArray[np.int32],
) -> None:
    """Fill in the LCS length of each pair, with the arguments of the native function.

    Raises:
        ValueError: If offsets or groups are invalid.
    """
    from rapidfuzz.distance import LCSseq

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
    """Fill in ROUGE-L of each pair, with the arguments of the native function.

    Raises:
        ValueError: If offsets or groups are invalid.
    """
    from rapidfuzz.distance import LCSseq

    pairs = _pairs(reference_ids, reference_offsets, candidate_ids, candidate_offsets, groups)
    for i, (target, prediction) in enumerate(pairs):
        length = LCSseq.similarity(target, prediction)
        measures = _measures(length, len(target), len(prediction))
        precision[i], recall[i], fmeasure[i] = measures


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
    """Raise ValueError unless the groups divide all candidates among the references."""
    if groups is None:
        return
    check_offsets(groups, candidates, "groups")
    if groups.size != references + 1:
        raise ValueError("groups must have one entry more than there are references")
    if groups[0] != 0 or groups[-1] != candidates:
        raise ValueError("groups must start at 0 and end at the number of candidates")


def check_offsets(offsets: NDArray[np.int64], end: int, what: str) -> None:
    """Raise ValueError unless the offsets do not decrease and lie between 0 and ``end``."""
    if offsets.ndim != 1 or offsets.size == 0:
        raise ValueError(f"{what} must be one-dimensional and have at least one entry")
    if offsets[0] < 0 or (np.diff(offsets) < 0).any():
        raise ValueError(f"{what} must not fall or be negative")
    if offsets[-1] > end:
        raise ValueError(f"{what} end at {offsets[-1]}, but there are only {end}")


def check_texts(references: list[str], candidates: list[list[str]]) -> None:
    """Raise TypeError if any text is not a string; the message names its position."""
    for i, (reference, row) in enumerate(zip(references, candidates, strict=True)):
        _check_text(reference, f"reference {i}")
        for j, candidate in enumerate(row):
            _check_text(candidate, f"candidate {j} of reference {i}")


def _check_text(text: object, what: str) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{what} must be a string, not {type(text).__name__}")


@cache
def parse_type(name: Any) -> int:
    """Return the number of a rouge type: n, ``ROUGE_L`` or ``ROUGE_LSUM``.

    Raises:
        TypeError: If ``name`` is neither a string nor bytes.
        ValueError: If the type is unknown.
    """
    if name == "rougeL":
        return ROUGE_L
    if name == "rougeLsum":
        return ROUGE_LSUM
    if not re.match("rouge[0-9]$", _text(name)):
        raise ValueError(f"Invalid rouge type: {name}")
    n = int(name[5:])
    if n == 0:
        raise ValueError(f"rougen requires positive n: {name}")
    return n


def tokenise_any(text: Any, *, stem: bool) -> list[str]:
    """Return the tokens of a text, or of bytes, which are lower-cased before they are decoded.

    Raises:
        AttributeError: If ``text`` does not have a method ``lower``.
    """
    if isinstance(text, bytes):
        # Lower-casing bytes changes ASCII letters only.
        text = "".join(c if c.isascii() else " " for c in text.decode())
    elif not isinstance(text, str):
        text = _text(text.lower())
    return tokenise(text, stem=stem)


def split(text: Any, *, with_nltk: bool) -> list[str]:
    """Return the sentences of a text, which are its lines or the sentences that nltk finds.

    Raises:
        LookupError: If the data of nltk's sentence tokenizer is not installed.
    """
    if with_nltk:
        import nltk

        sentences: list[str] = nltk.sent_tokenize(text)
    else:
        sentences = _text(text).split("\n")
    return [sentence for sentence in sentences if sentence]


def _text(text: Any) -> str:
    if isinstance(text, bytes):
        return text.decode()
    if not isinstance(text, str):
        raise TypeError(f"not expecting type '{type(text)}'")
    return text


def score(
    types: Sequence[Any],
    target: Any,
    prediction: Any,
    *,
    tokenise: Callable[[Any], Tokens],
    with_nltk: bool,
) -> dict[Any, Score]:
    """Return one score per type; errors occur in the same order as in rouge_score."""
    ours: Tokens = []
    theirs: Tokens = []
    if list(types) != ["rougeLsum"]:
        ours, theirs = tokenise(target), tokenise(prediction)
    scores = {}
    for name in types:
        n = parse_type(name)
        if n == ROUGE_L:
            scores[name] = _rouge_l(ours, theirs)
        elif n == ROUGE_LSUM:
            our_sentences = [tokenise(s) for s in split(target, with_nltk=with_nltk)]
            their_sentences = [tokenise(s) for s in split(prediction, with_nltk=with_nltk)]
            scores[name] = _rouge_lsum(our_sentences, their_sentences)
        else:
            scores[name] = _rouge_n(ours, theirs, n)
    return scores


def _measures(hits: int, ours: int, theirs: int) -> Score:
    if hits == 0:
        return Score(0.0, 0.0, 0.0)
    p, r = hits / theirs, hits / ours
    return Score(p, r, 2 * p * r / (p + r))


def _rouge_n(ours: Tokens, theirs: Tokens, n: int) -> Score:
    """C.-Y. Lin, "ROUGE: A package for automatic evaluation of summaries", 2004, section 2."""

    def ngrams(tokens: Tokens) -> Counter[tuple[Hashable, ...]]:
        return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))

    a, b = ngrams(ours), ngrams(theirs)
    return _measures((a & b).total(), a.total(), b.total())


def _rouge_l(ours: Tokens, theirs: Tokens) -> Score:
    """Lin 2004, section 3.1."""
    if not ours or not theirs:
        return Score(0, 0, 0)
    from rapidfuzz.distance import LCSseq

    numbers: dict[Hashable, int] = {}  # small integers, as in rouge_l
    a, b = ([numbers.setdefault(t, len(numbers)) for t in tokens] for tokens in (ours, theirs))
    return _measures(LCSseq.similarity(a, b), len(ours), len(theirs))


def _rouge_lsum(ours: list[Tokens], theirs: list[Tokens]) -> Score:
    """Lin 2004, section 3.2, with every token counted at most as often as each side has it."""
    m, n = sum(map(len, ours)), sum(map(len, theirs))
    if not m or not n:
        return Score(0, 0, 0)
    our_left = Counter(token for sentence in ours for token in sentence)
    their_left = Counter(token for sentence in theirs for token in sentence)
    hits = 0
    for sentence in ours:
        union = set().union(*(_lcs_positions(sentence, other) for other in theirs))
        for i in sorted(union):
            token = sentence[i]
            if our_left[token] > 0 and their_left[token] > 0:
                hits += 1
                our_left[token] -= 1
                their_left[token] -= 1
    return _measures(hits, m, n)


def _lcs_positions(a: Tokens, b: Tokens) -> set[int]:
    """Return the positions in ``a`` of the subsequence that rouge_score's backtracking finds."""
    t = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a, 1):
        for j, y in enumerate(b, 1):
            t[i][j] = t[i - 1][j - 1] + 1 if x == y else max(t[i - 1][j], t[i][j - 1])
    positions = set()
    i, j = len(a), len(b)
    while i and j:
        if a[i - 1] == b[j - 1]:
            i, j = i - 1, j - 1
            positions.add(i)
        elif t[i][j - 1] > t[i - 1][j]:
            j -= 1
        else:
            i -= 1
    return positions
