"""Where the text path takes short cuts: blocks, the filter, Arrow's buffers, kept words."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

import leakrepro as lr

EDGES = [n + d for n in (16, 32, 64, 128, 192) for d in (-1, 0, 1)]
PEERS = {stem: RougeScorer(["rougeL"], use_stemmer=stem) for stem in (False, True)}
# Stems of one letter, stems whose second letter differs from their word's, and their neighbours.
BEGINNINGS = [
    "aing", "aed", "as", "a", "using", "use", "us", "uing", "eing", "ying", "yed", "y", "i", "ies",
    "dying", "die", "died", "dies", "di", "dy", "tying", "tie", "ty", "lying", "lie", "ly", "skies",
    "sky", "ski", "skis", "vying", "vie", "1s", "1ing", "42nds", "s", "ss", "sses", "oed", "oing",
    "bying", "bies", "by", "hying", "hie", "ized", "ational", "ies", "ied", "eed", "feed",
]  # fmt: skip


def assert_as_peer(score, references, rows, stem):
    result = score(references, rows, stem=stem)
    found = np.stack(
        [result.precision.values, result.recall.values, result.fmeasure.values], axis=1
    )
    expected = [
        PEERS[stem].score(r, c)["rougeL"]
        for r, row in zip(references, rows, strict=True)
        for c in row
    ]
    expected = np.array(expected, dtype=np.float64).reshape(-1, 3)
    np.testing.assert_array_equal(found.view(np.int64), expected.view(np.int64))


@pytest.mark.parametrize("wide", ["", "\u00e9", "\u0416", "\U0001f600"], ids=[1, 1.1, 2, 4])
def test_tokens_across_the_edges_of_blocks(tokenise, wide):
    """A token that starts, ends or is cut at each place around each edge, in each width."""
    for edge in (16, 32, 64, 128):
        for start, length in itertools.product(range(edge - 3, edge + 2), (1, 2, 3, 17)):
            for after in ("", ".", " z", "\x00" * 40):
                text = wide + "-" * (start - len(wide)) + "aZ9" * 6
                text = text[: start + length] + after
                assert tokenise(text, False) == [
                    t for t in (text[start : start + length].lower(), after.strip(" .\0")) if t
                ]


@pytest.mark.parametrize("size", EDGES)
def test_texts_of_the_size_of_blocks(tokenise, size):
    rng = random.Random(size)
    for letters in ("ab ", "a\u00e9B", "a\u0130 \u212a", "a \U0001f600B", "aA1"):
        text = "".join(rng.choices(letters, k=size))
        lower = text.lower().replace("\u0307", " ")
        expected = "".join(c if c in "abcdefghijklmnopqrstuvwxyz019" else " " for c in lower)
        assert tokenise(text, False) == expected.split()


def test_every_pair_of_odd_beginnings(score):
    """The filter looks up no word whose first two letters fit no stem of the reference."""
    assert_as_peer(score, BEGINNINGS, [BEGINNINGS] * len(BEGINNINGS), True)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_beginnings_in_sentences(score, data):
    words = st.lists(st.sampled_from(BEGINNINGS), max_size=12).map(" ".join)
    stem = data.draw(st.booleans())
    assert_as_peer(score, [data.draw(words)], [data.draw(st.lists(words, max_size=5))], stem)


@settings(deadline=None, max_examples=60)
@given(
    words=st.lists(
        st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=3), min_size=1
    ),
    ending=st.sampled_from(["", "s", "ing", "ies", "ed", "ying"]),
)
def test_short_stems(score, words, ending):
    assert_as_peer(score, [" ".join(words)], [[word + ending for word in words]], True)


ANY = st.text(
    st.one_of(
        st.sampled_from("abAB \u0130\u212a\u00e9'"), st.characters(exclude_categories=["Cs"])
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_arrow_arrays_score_as_lists(score, data):
    references = data.draw(st.lists(ANY, min_size=1, max_size=4))
    rows = [data.draw(st.lists(ANY, max_size=4)) for _ in references]
    expected = score(references, rows)
    skip = data.draw(st.integers(0, 2))
    for text in (pa.string(), pa.large_string(), pa.string_view()):
        padding = ["unused"] * skip
        a = pa.array(padding + references, text)[skip:]
        for many in (pa.list_, pa.large_list):
            b = pa.array([padding] * skip + rows, many(text))[skip:]
            chunked = pa.chunked_array([b[: len(b) // 2], b[len(b) // 2 :]], type=b.type)
            for candidates in (b, chunked):
                found = score(a, candidates)
                np.testing.assert_array_equal(found.recall.values, expected.recall.values)
                np.testing.assert_array_equal(found.precision.values, expected.precision.values)


def test_dictionaries_and_fixed_lists(score):
    texts = ["a b", "b a b", "c", "a b"]
    expected = score(["a b", "c"], [texts[:2], texts[2:]]).fmeasure.values
    encoded = pa.array(texts).dictionary_encode()
    fixed = pa.FixedSizeListArray.from_arrays(encoded, 2)
    np.testing.assert_array_equal(score(["a b", "c"], fixed).fmeasure.values, expected)


def test_what_was_scored_before_changes_nothing(score):
    """Words that were first seen in a candidate, then in a reference, with caches in between."""
    first = score(["alpha beta"], [["gamma delta", "alpha"]]).recall.values.tolist()
    second = score(["gamma delta"], [["gamma delta", "alpha"]]).recall.values.tolist()
    assert first == [0.0, 0.5]
    assert second == [1.0, 0.0]
    for _ in range(3):
        assert score(["alpha beta"], [["gamma delta", "alpha"]]).recall.values.tolist() == first


_GROWTH = """
import gc, random
import leakrepro as lr

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

def work(seed):
    rng = random.Random(seed)
    word = lambda: "".join(rng.choices("abcdefgh", k=9))
    texts = [" ".join(word() for _ in range(40)) for _ in range(400)]
    lr.rouge_l(texts[:4], [texts[4:100]] * 4)
    lr.RougeScorer(["rouge2", "rougeLsum"]).score_batch(texts[:4], [texts[300:]] * 4)
    ids = lr.TokenIds([rng.randrange(1000) for _ in range(4000)], range(0, 4001, 40))
    lr.lcs_length(ids, ids, "all")

for seed in range(60):
    work(seed)
gc.collect()
before = resident()
for seed in range(60, 260):
    work(seed)
gc.collect()
print(resident() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
def test_memory_does_not_grow(implementation):
    """Words that were never seen before, again and again: 200 calls of 16,000 new ones each."""
    if implementation == "python":
        pytest.skip("nltk's stems are kept by functools.cache")
    environment = os.environ | {"LEAKREPRO_IMPL": implementation}
    command = [sys.executable, "-c", _GROWTH]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    # Kept words come and go, some 30 MB of them and at times 75; a leak would be 160 MB.
    assert int(done.stdout) < 112 * 2**20


def test_the_package_forgets_on_request():
    from leakrepro import _native

    lr.rouge_l(["alpha"], [["alpha"]])
    _native.forget_words()
    assert lr.rouge_l(["alpha"], [["alpha"]]).recall.values.tolist() == [1.0]
