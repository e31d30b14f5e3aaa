"""The native stemmer against nltk's."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer

from leakrepro.storage import paths

_native = pytest.importorskip("leakrepro._native", reason="the native kernel is not built")

NLTK = PorterStemmer()
HERE = Path(__file__).parent
# Every suffix that a rule names, alone and before those that come off first.
SUFFIXES = (HERE / "suffixes.txt").read_text().split()
STEMS = (HERE / "stems.txt").read_text().split()


def differences(words: set[str]) -> list[tuple[str, str, str]]:
    pairs = ((word, _native.porter_stem(word), NLTK.stem(word)) for word in sorted(words))
    return [pair for pair in pairs if pair[1] != pair[2]]


def test_stems_with_every_pair_of_suffixes():
    endings = ["", *SUFFIXES, *map("".join, itertools.product(SUFFIXES, repeat=2))]
    words = sorted({stem + ending for stem in STEMS for ending in endings})
    assert len(words) > 400_000
    assert differences(set(words[::5])) == []  # all of them take ten seconds


def test_stems_with_every_suffix():
    assert differences({stem + suffix for stem in STEMS for suffix in SUFFIXES}) == []


def test_irregular_forms_and_their_neighbours():
    words = {form + tail for form in NLTK.pool for tail in ("", "s", "ed", "ing")}
    words |= {head + form for form in NLTK.pool for head in "aysk"}
    assert differences(words) == []


@given(
    st.text("aeyscltizdbgnr0", max_size=9),
    st.lists(st.sampled_from(SUFFIXES), max_size=3).map("".join),
)
def test_any_word(stem, ending):
    word = stem + ending
    assert _native.porter_stem(word) == NLTK.stem(word)


def test_long_words_take_linear_time():
    # Measuring letter by letter would take minutes here.
    for word in ("y" * 200_000, "ay" * 100_000 + "ing", "b" + "y" * 200_000 + "ational"):
        assert _native.porter_stem(word) == NLTK.stem(word)


@pytest.mark.parametrize("word", ["Word", "two words", "caf\xe9", "nul\x00"])
def test_other_characters_are_refused(word):
    with pytest.raises(ValueError, match="a-z and 0-9"):
        _native.porter_stem(word)


@pytest.mark.skipif(paths.data() is None, reason="LEAKREPRO_DATA names no benchmark files")
def test_every_word_of_tofu():
    lines = (paths.data() / "tofu" / "full.json").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    text = " ".join(row["question"] + " " + row["answer"] for row in rows)
    words = set(_native.tokenise(text, stem=False, implementation="scalar"))
    assert len(words) > 5_000
    assert differences(words) == []
