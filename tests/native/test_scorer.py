"""RougeScorer by every implementation against rouge_score, and rouge_score's own unit tests."""

from __future__ import annotations

import copy
import pickle
import random
import re
import threading
import unittest
from unittest import mock

import nltk
import numpy as np
import pyarrow as pa
import pytest
import rouge_score.rouge_scorer as peer
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rouge_score import rouge_scorer_test, scoring_test, test_util

import leakrepro as lr

TYPES = [*(f"rouge{n}" for n in range(1, 10)), "rougeL", "rougeLsum"]
# Few words, so that sentences share many; forms of one word; what cuts tokens and sentences.
PIECES = [
    "a",
    "b",
    "c",
    "use",
    "using",
    "used",
    "dying",
    "die",
    " ",
    " ",
    " ",
    "\n",
    "\n\n",
    ".",
    "-",
]
SUMMARY = st.lists(st.sampled_from(PIECES), max_size=80).map("".join)
ANY = st.text(
    st.one_of(st.sampled_from("abAB yY1\n\n '-\u0130\u212a\ud800\x00"), st.characters(codec=None))
)


@pytest.fixture(autouse=True)
def _implementation(implementation, monkeypatch):
    monkeypatch.setenv("LEAKREPRO_IMPL", implementation)


def assert_same(found, expected):
    """The same keys in the same order, the same numbers of the same Python types."""
    assert list(found) == list(expected)
    for name, score in expected.items():
        assert repr(found[name]) == repr(score), name
        assert found[name] == tuple(score)


def assert_as_peer(target, prediction, types=TYPES, **options):
    for stem in (False, True):
        ours = lr.RougeScorer(types, use_stemmer=stem, **options)
        theirs = peer.RougeScorer(types, use_stemmer=stem, **options)
        assert_same(ours.score(target, prediction), theirs.score(target, prediction))


class OneToken:
    """A tokenizer that makes all of a text one token, and of an empty one none."""

    def tokenize(self, text):
        return [text] if text else []


class Letters:
    """Tokens that are not strings."""

    def tokenize(self, text):
        return [(letter, letter.isupper()) for letter in text if not letter.isspace()]


@settings(deadline=None, max_examples=200)
@given(SUMMARY, SUMMARY)
@example("", "")
@example("\n", "a")
@example("a b c d e", "e d c b a\na c e")
def test_summaries(target, prediction):
    assert_as_peer(target, prediction)


@settings(deadline=None, max_examples=200)
@given(ANY, ANY)
@example("\u0130\n\u212a", "i k")
def test_any_text(target, prediction):
    assert_as_peer(target, prediction)


@settings(deadline=None, max_examples=100)
@given(SUMMARY, SUMMARY)
def test_own_tokenizers(target, prediction):
    for tokenizer in (OneToken(), Letters()):
        assert_as_peer(target, prediction, tokenizer=tokenizer)


@pytest.mark.parametrize("size", [15, 16, 17, 63, 64, 65, 127, 128, 129, 300])
def test_sizes_beside_the_width_of_a_word(size):
    rng = random.Random(size)
    for alphabet in (2, 30):
        words = [f"w{rng.randrange(alphabet)}" for _ in range(2 * size)]
        for separators in (" ", " \n", " " * 30 + "\n"):
            target, prediction = (
                "".join(word + rng.choice(separators) for word in half)
                for half in (words[:size], words[size:])
            )
            assert_as_peer(target, prediction)


def test_bits_of_a_union_that_is_made_in_parts(implementation):
    """Two sentences so long that only some columns of their table are kept at a time."""
    if implementation == "python":
        pytest.skip("the Python implementation keeps the whole table")
    rng = random.Random(5)
    size = 17000  # 266 words by 17,000 columns are more than 2 ** 22 words
    a, b = ([f"w{rng.randrange(4000)}" for _ in range(size)] for _ in range(2))
    b[2000:9000] = a[1000:8000]
    found = lr.RougeScorer(["rougeLsum", "rougeL"]).score(" ".join(a), " ".join(b))
    # One sentence each: the union is one longest subsequence, of which every token counts once.
    assert found["rougeLsum"] == found["rougeL"]
    assert found["rougeL"].recall > 7000 / size


def test_sentences_found_by_nltk(monkeypatch):
    """nltk's model of sentences is not everywhere; any other function will do here."""
    monkeypatch.setattr(nltk, "sent_tokenize", lambda text: re.split(r"(?<=[.!]) ", text))
    target, prediction = "We met. She left! And I \n stayed.", "She left! We met. I stayed here."
    assert_as_peer(target, prediction, split_summaries=True)
    assert_as_peer(target, prediction, split_summaries=True, tokenizer=Letters())
    scorer = lr.RougeScorer(TYPES, split_summaries=True)
    batch = scorer.score_batch([target], [[prediction, ""]])
    assert batch["rougeLsum"].recall[0][0] == scorer.score(target, prediction)["rougeLsum"].recall


@pytest.mark.parametrize(
    ("types", "target", "prediction"),
    [
        (["rouge0"], "a", "a"),
        (["rouge10"], "a", "a"),
        (["rougen"], "a", "a"),
        (["rouge1", "RougeL"], "a", "a"),
        ("rouge1", "a", "a"),
        ([1], "a", "a"),
        (iter(["rouge1"]), "a", "a"),
        (["rouge1"], None, "a"),
        (["rouge1"], "a", 5),
        (["rougeX"], None, "a"),
        (["rougeLsum"], "a", None),
        (["rougeL"], b"\xff", "a"),
    ],
)
def test_the_same_errors(types, target, prediction):
    ours, theirs = lr.RougeScorer(types), peer.RougeScorer(types)
    with pytest.raises(Exception) as expected:  # noqa: PT011
        theirs.score(target, prediction)
    with pytest.raises(expected.type, match=re.escape(str(expected.value))):
        ours.score(target, prediction)


def test_bytes_and_odd_types_as_rouge_score_takes_them():
    text = "Caf\u00e9 KIND \u0130 \u212aelvin".encode()
    assert_as_peer(text, b"cafe kind kelvin i")
    assert_as_peer("a b", "a c", types=["rouge1\n", b"rouge2"])
    assert_as_peer("a b", "a c", types=[])
    assert_as_peer("a b", "a c", types=("rougeL", "rougeL", "rouge2"))


def test_score_multi():
    targets = ["first text", "first something", "text first"]
    ours, theirs = lr.RougeScorer(TYPES), peer.RougeScorer(TYPES)
    assert_same(ours.score_multi(targets, "text first"), theirs.score_multi(targets, "text first"))
    for scorer in (ours, theirs):
        with pytest.raises(ValueError):  # noqa: PT011
            scorer.score_multi([], "text")


@pytest.mark.parametrize("stem", [False, True])
def test_batches_equal_single_scores(stem):
    rng = random.Random(3)
    references = ["".join(rng.choices(PIECES, k=60)) for _ in range(30)] + ["", "\n"]
    rows = [
        ["".join(rng.choices(PIECES, k=rng.randrange(90))) for _ in range(40)] for _ in references
    ]
    rows[3] = []
    scorer = lr.RougeScorer(TYPES, use_stemmer=stem)
    for threads in (1, 3):
        found = scorer.score_batch(references, rows, threads=threads)
        assert list(found) == TYPES
        for i, (reference, row) in enumerate(zip(references, rows, strict=True)):
            for j, candidate in enumerate(row):
                single = scorer.score(reference, candidate)
                for name, score in single.items():
                    measures = found[name]
                    assert measures.precision[i][j] == score.precision
                    assert measures.recall[i][j] == score.recall
                    assert measures.fmeasure[i][j] == score.fmeasure
    arrow = scorer.score_batch(pa.array(references), pa.array(rows))
    own = lr.RougeScorer(TYPES, tokenizer=Letters()).score_batch(references[:2], rows[:2])
    for name in TYPES:
        np.testing.assert_array_equal(arrow[name].fmeasure.values, found[name].fmeasure.values)
        score = lr.RougeScorer([name], tokenizer=Letters()).score(references[1], rows[1][0])
        assert own[name].fmeasure[1][0] == score[name].fmeasure
    only = lr.RougeScorer(["rougeL"], use_stemmer=stem).score_batch(references, rows)
    np.testing.assert_array_equal(only["rougeL"].recall.values, found["rougeL"].recall.values)


def test_errors_of_batches():
    scorer = lr.RougeScorer(["rouge2"])
    with pytest.raises(TypeError, match="candidate 1 of reference 0 must be a string, not int"):
        scorer.score_batch(["a"], [["b", 3]])
    with pytest.raises(TypeError, match="reference 0 must be a string, not bytes"):
        scorer.score_batch([b"a"], [["b"]])
    with pytest.raises(ValueError, match="2 references but 1 lists"):
        scorer.score_batch(["a", "b"], [["b"]])
    with pytest.raises(ValueError, match="Invalid rouge type: rouge"):
        lr.RougeScorer(["rouge"]).score_batch(["a"], [["b"]])
    scorer = lr.RougeScorer(["rouge1"], tokenizer=mock.Mock(tokenize=lambda text: [[text]]))
    with pytest.raises(TypeError, match="unhashable"):
        scorer.score("a", "b")


def test_copies_pickles_and_threads():
    scorer = lr.RougeScorer(TYPES, use_stemmer=True)
    texts = [" ".join(f"words{i * j % 17}ing" for j in range(30)) for i in range(40)]
    expected = [scorer.score(texts[0], text) for text in texts]
    for other in (copy.deepcopy(scorer), pickle.loads(pickle.dumps(scorer))):
        assert [other.score(texts[0], text) for text in texts] == expected
    wrong = []

    def run():
        for _ in range(20):
            if [scorer.score(texts[0], text) for text in texts] != expected:
                wrong.append(1)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_rouge_scores_own_tests(monkeypatch, tmp_path):
    """All that do not need its data files, which no release contains."""
    texts = tmp_path / "texts"
    texts.write_text("The cat sat on the mat.\nA dog barked at cats.\n")
    for name in (
        "TARGETS_FILE",
        "PREDICTIONS_FILE",
        "LARGE_TARGETS_FILE",
        "LARGE_PREDICTIONS_FILE",
    ):
        monkeypatch.setattr(test_util, name, str(texts))
    monkeypatch.setattr(peer, "RougeScorer", lr.RougeScorer)
    monkeypatch.setattr(nltk, "sent_tokenize", lambda text: re.split(r"(?<=\.) ", text))
    suite = unittest.TestSuite()
    for module in (rouge_scorer_test, scoring_test):
        for tests in unittest.defaultTestLoader.loadTestsFromModule(module):
            suite.addTests(test for test in tests if not re.search("Rouge155|Large$", test.id()))
    result = unittest.TestResult()
    suite.run(result)
    assert result.testsRun >= 25
    assert not result.failures + result.errors, (result.failures + result.errors)[0][1]
