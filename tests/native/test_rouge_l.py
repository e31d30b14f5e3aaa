"""Every implementation against rouge_score and the reference implementation, bit for bit."""

from __future__ import annotations

import random
import signal
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from leakrepro.rouge.texts import RougeL
from leakrepro.types import Scores

PEERS = {stem: RougeScorer(["rougeL"], use_stemmer=stem) for stem in (False, True)}
MEASURES = ("precision", "recall", "fmeasure")


def peer(references, candidates, stem):
    scores = [
        PEERS[stem].score(reference, candidate)["rougeL"]
        for reference, row in zip(references, candidates, strict=True)
        for candidate in row
    ]
    return np.array(scores, dtype=np.float64).reshape(-1, 3)


def python_reference(references, candidates, stem):
    from leakrepro.rouge import _python

    result = np.full((3, sum(map(len, candidates))), np.nan)
    _python.rouge_l(references, candidates, *result, stem=stem)
    return result.T


def columns(result: RougeL) -> np.ndarray:
    return np.stack([getattr(result, measure).values for measure in MEASURES], axis=1)


def assert_same_bits(result: RougeL, expected: np.ndarray):
    np.testing.assert_array_equal(columns(result).view(np.int64), expected.view(np.int64))


def words(rng: random.Random, count: int, alphabet: int) -> str:
    return " ".join(f"w{rng.randrange(alphabet)}" for _ in range(count))


ANY = st.text(
    st.one_of(st.sampled_from("abAB yYs1 '-\u0130\u212a\ud800\x00"), st.characters(codec=None))
)
PLAIN = st.text("ab c")
FORMS = [
    "hope",
    "hopes",
    "hoping",
    "hopeful",
    "news",
    "new",
    "dying",
    "die",
    "skies",
    "sky",
    "using",
]
STEMMED = st.lists(st.sampled_from(FORMS), max_size=20).map(" ".join)


@pytest.mark.parametrize("stem", [False, True])
@settings(deadline=None)
@given(data=st.data())
def test_any_text(score, stem, data):
    text = data.draw(st.sampled_from([ANY, PLAIN, STEMMED]))
    groups = data.draw(st.lists(st.tuples(text, st.lists(text, max_size=4)), max_size=4))
    references = [reference for reference, _ in groups]
    candidates = [row for _, row in groups]
    assert_same_bits(score(references, candidates, stem=stem), peer(references, candidates, stem))


SIZES = [0, 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 191, 192, 193, 257]


@pytest.mark.parametrize("alphabet", [1, 2, 7, 400])
@pytest.mark.parametrize("size", SIZES)
def test_sizes_around_word_edges(score, size, alphabet):
    rng = random.Random(size * 1000 + alphabet)
    references = [words(rng, size, alphabet)]
    candidates = [[words(rng, n, alphabet) for n in SIZES]]
    assert_same_bits(score(references, candidates), python_reference(references, candidates, True))


@pytest.mark.parametrize("size", [64, 65, 129])
def test_word_edges_against_rouge_score(score, size):
    rng = random.Random(size)
    references = [words(rng, size, 5)]
    candidates = [[words(rng, n, 5) for n in (1, 63, 64, 65, 128, 130)]]
    assert_same_bits(score(references, candidates), peer(references, candidates, True))


@pytest.mark.parametrize("length", [1, 2, 7, 8, 9, 15, 16, 17, 18, 23, 24, 25, 31, 32, 33, 300])
def test_words_that_differ_in_one_letter(score, length):
    word = "b" * length
    others = [word[:i] + "c" + word[i + 1 :] for i in range(length)]
    others += [word[:-1], word + "b", word + "c"]
    result = score([word], [[word, *others]], stem=False)
    assert result.recall.values.tolist() == [1.0] + [0.0] * len(others)


@pytest.mark.parametrize("alphabet", [2, 3000])
@pytest.mark.parametrize("size", [1023, 1024, 1025, 2049, 3000])
def test_references_of_several_bands(score, size, alphabet):
    rng = random.Random(size)
    references = ["before", words(rng, size, alphabet), "after"]
    candidates = [
        ["before"],
        [words(rng, n, alphabet) for n in (0, 1, 1000, 1100, 2500)],
        ["after"],
    ]
    assert_same_bits(score(references, candidates), python_reference(references, candidates, True))


def test_more_than_65535_tokens(score):
    rng = random.Random(0)
    distinct = [f"w{i}" for i in range(66_000)]
    references = [" ".join(distinct), words(rng, 66_000, 3)]
    candidates = [
        [" ".join(distinct), " ".join(reversed(distinct)), "w65999", "w0 w65998"],
        [words(rng, 3000, 3)],
    ]
    result = score(references, candidates)
    assert result.fmeasure[0][0] == 1.0
    assert (result.recall[0] * 66_000).round().tolist() == [66_000, 1, 1, 2]
    assert_same_bits(result, python_reference(references, candidates, True))


@pytest.mark.parametrize("stem", [False, True])
def test_groups_do_not_touch_each_other(score, stem):
    # Words are numbered as they come: a number that changed meaning would show here.
    rng = random.Random(1)
    references = [words(rng, rng.randrange(90), 40) for _ in range(40)]
    candidates = [[words(rng, rng.randrange(90), 40) for _ in range(5)] for _ in references]
    alone = [
        columns(score([reference], [row], stem=stem))
        for reference, row in zip(references, candidates, strict=True)
    ]
    assert_same_bits(score(references, candidates, stem=stem), np.concatenate(alone))


def test_more_words_than_are_remembered(score):
    made_up = " ".join(f"w{i}" for i in range(1_100_000))
    references = ["alpha beta", "alpha beta w5", "w5 w6"]
    candidates = [[made_up, "beta"], ["beta w5"], ["w6 w5 w6"]]
    result = score(references, candidates, stem=False, threads=1)
    assert result.recall.values.tolist() == [0.0, 0.5, 2 / 3, 1.0]


@pytest.mark.parametrize("threads", [2, 4, 64])
def test_threads_do_not_change_scores(score, threads):
    rng = random.Random(2)
    references = [words(rng, 80, 300) for _ in range(60)]
    candidates = [[words(rng, 100, 300) for _ in range(20)] for _ in references]
    # Fewer characters than this would be scored by one thread.
    assert sum(len(text) for row in candidates for text in row) > 4 << 16
    one = score(references, candidates, threads=1)
    assert_same_bits(score(references, candidates, threads=threads), columns(one))


def long_work(pairs: int) -> tuple[list[str], list[list[str]]]:
    rng = random.Random(3)
    reference, candidate = words(rng, 1500, 50), words(rng, 1500, 50)
    return [reference] * (pairs // 10), [[candidate] * 10 for _ in range(pairs // 10)]


def test_signals_are_answered(score):
    class Stop(Exception):
        pass

    def stop(*_):
        raise Stop

    references, candidates = long_work(40_000)
    offsets = np.arange(0, 40_001, 10)
    out = RougeL(*(Scores(np.full(40_000, np.nan), offsets) for _ in MEASURES))
    previous = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Stop):
            score(references, candidates, threads=2, out=out)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert np.isnan(out.recall.values[-1])  # it ended before the work did


def test_other_threads_run_meanwhile(score):
    references, candidates = long_work(1000)
    offsets = np.arange(0, 1001, 10)
    out = RougeL(*(Scores(np.full(1000, np.nan), offsets) for _ in MEASURES))
    recall, done, seen = out.recall.values, threading.Event(), []

    def watch():
        while not done.is_set() and not seen:
            if np.isnan(recall[-1]) and not np.isnan(recall[0]):
                seen.append("half-finished work")

    thread = threading.Thread(target=watch)
    thread.start()
    score(references, candidates, threads=1, out=out)
    done.set()
    thread.join()
    assert seen


def test_texts_outlive_the_callers_lists(implementation, score):
    if implementation == "python":
        pytest.skip("the Python implementation keeps the GIL")
    rng = random.Random(4)
    references = [words(rng, 300, 50) for _ in range(400)]
    candidates = [[words(rng, 300, 50) for _ in range(4)] for _ in references]
    expected = columns(score(references, candidates, threads=2))
    begun = threading.Event()

    def replace_every_text():
        begun.wait()
        for row in candidates:
            row[:] = ["gone"] * len(row)
        references[:] = ["gone"] * len(references)

    thread = threading.Thread(target=replace_every_text)
    thread.start()
    begun.set()
    result = columns(score(references, candidates, threads=2))
    thread.join()
    # Each text was read whole, as it was before the change or after it.
    kept = (result == expected).all(axis=1)
    assert np.isin(result[~kept], [0.0, 1.0]).all()
