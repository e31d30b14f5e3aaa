"""ROUGE as ``rouge_score`` 0.1.2 has it, in readable Python: the twin of the native scorer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from functools import cache
from typing import Any, NamedTuple

from rapidfuzz.distance import LCSseq

from leakrepro.rouge import _python

__all__ = ["ROUGE_L", "ROUGE_LSUM", "Score", "parse_type", "score", "split", "tokenise"]

# What the native scorer calls them; ROUGE-N is n.
ROUGE_L, ROUGE_LSUM = 0, -1

Tokens = Sequence[Hashable]


class Score(NamedTuple):
    """Precision, recall and F-measure, each in [0, 1]."""

    precision: float
    recall: float
    fmeasure: float


@cache
def parse_type(name: Any) -> int:
    """The number of a rouge type.

    Raises:
        TypeError: for what is neither a string nor bytes.
        ValueError: for a type that is not known.
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


def tokenise(text: Any, *, stem: bool) -> list[str]:
    """Tokens of a text, or of bytes, which are lower-cased before they are decoded.

    Raises:
        AttributeError: for what has no ``lower()``.
    """
    if isinstance(text, bytes):
        # No character beyond ASCII has a lower-case form then.
        text = "".join(c if c.isascii() else " " for c in text.decode())
    elif not isinstance(text, str):
        text = _text(text.lower())
    return _python.tokenise(text, stem=stem)


def split(text: Any, *, with_nltk: bool) -> list[str]:
    """The sentences of a text: its lines, or what nltk finds.

    Raises:
        LookupError: when nltk has no data for that.
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
    """One score for each type; errors come in the order in which rouge_score has them."""
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
    p, r = hits / theirs, hits / ours
    return Score(p, r, 2 * p * r / (p + r) if p + r > 0 else 0.0)


def _rouge_n(ours: Tokens, theirs: Tokens, n: int) -> Score:
    """C.-Y. Lin, "ROUGE: A package for automatic evaluation of summaries", 2004, section 2."""

    def ngrams(tokens: Tokens) -> Counter[tuple[Hashable, ...]]:
        return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))

    a, b = ngrams(ours), ngrams(theirs)
    return _measures((a & b).total(), max(a.total(), 1), max(b.total(), 1))


def _rouge_l(ours: Tokens, theirs: Tokens) -> Score:
    """Section 3.1."""
    if not ours or not theirs:
        return Score(0, 0, 0)
    # rapidfuzz compares hashes: small integers are their own.
    numbers: dict[Hashable, int] = {}
    a, b = ([numbers.setdefault(t, len(numbers)) for t in tokens] for tokens in (ours, theirs))
    return _measures(LCSseq.similarity(a, b), len(ours), len(theirs))


def _rouge_lsum(ours: list[Tokens], theirs: list[Tokens]) -> Score:
    """Section 3.2, but that a token counts at most as often as each side has it."""
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
    """Where in ``a`` the tokens of the subsequence are that rouge_score's backtracking finds."""
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
