"""Token ids through every implementation, against the textbook table and ``rouge_l``."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import leakrepro as lr

TYPES = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.uint64, np.int64]


@pytest.fixture(autouse=True, scope="module")
def _implementation(implementation):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEAKREPRO_IMPL", implementation)
        yield


def pack(sequences, dtype=np.int64):
    offsets = np.cumsum([0, *map(len, sequences)], dtype=np.int64)
    ids = [id for sequence in sequences for id in sequence]
    return lr.TokenIds(np.array(ids, dtype=dtype), offsets)


def table(a, b):
    """The length by the textbook recurrence."""
    row = [0] * (len(b) + 1)
    for x in a:
        before = 0
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], before + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]


def values_of(dtype):
    limits = np.iinfo(dtype)
    near = [0, 1, 2, 3, 254, 255, 256, 65534, 65535, 65536, (1 << 20) - 1, 1 << 20, -1]
    return sorted({limits.min, limits.max, *(n for n in near if limits.min <= n <= limits.max)})


@st.composite
def cases(draw):
    dtype = draw(st.sampled_from(TYPES))
    ids = st.lists(st.sampled_from(values_of(dtype)), max_size=70)
    references = draw(st.lists(ids, min_size=1, max_size=3))
    rows = [draw(st.lists(ids, max_size=20)) for _ in references]
    return dtype, references, rows


@settings(deadline=None, max_examples=150)
@given(case=cases())
def test_any_ids_of_any_type(case):
    dtype, references, rows = case
    flat = [candidate for row in rows for candidate in row]
    a, b = pack(references, dtype), pack(flat, dtype)
    groups = np.cumsum([0, *map(len, rows)])
    expected = [table(r, c) for r, row in zip(references, rows, strict=True) for c in row]
    assert lr.lcs_length(a, b, groups).tolist() == expected
    everyone = [[table(r, c) for c in flat] for r in references]
    assert lr.lcs_length(a, b, "all").tolist() == everyone
    scores = lr.rouge_l_ids(a, b, groups)
    for length, r, c, p, recall, f in zip(
        expected,
        [r for r, row in zip(references, rows, strict=True) for _ in row],
        flat,
        scores.precision.values,
        scores.recall.values,
        scores.fmeasure.values,
        strict=True,
    ):
        assert p == (length / len(c) if c else 0)
        assert recall == (length / len(r) if r else 0)
        assert f == (2 * p * recall / (p + recall) if length else 0)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("different", [3, 15, 16, 31, 32, 33, 64, 100])
def test_references_of_many_sizes(dtype, different):
    """Beside the sizes at which other tables are used."""
    rng = np.random.default_rng(different)
    alphabet = rng.integers(0, min(np.iinfo(dtype).max, 2**62), different)
    for size in (1, 16, 17, 63, 64, 65, 129):
        reference = rng.choice(alphabet, size)
        candidates = [
            np.where(rng.random(n) < 0.6, rng.choice(alphabet, n), rng.integers(0, 127, n))
            for n in (0, 1, 15, 16, 17, 63, 64, 65, 128, 130, *rng.integers(0, 90, 40))
        ]
        found = lr.lcs_length(pack([reference], dtype), pack(candidates, dtype))
        assert found.tolist() == [table(reference, c) for c in candidates]


def test_ids_score_as_the_words_they_stand_for(implementation, tokenise):
    rng = np.random.default_rng(0)
    words = ["use", "using", "news", "hoping", "hope", "a", "dying", "die"]
    texts = [" ".join(rng.choice(words, n)) for n in rng.integers(0, 80, 60)]
    numbers: dict[str, int] = {}
    ids = [[numbers.setdefault(t, len(numbers)) for t in tokenise(x, True)] for x in texts]
    by_ids = lr.rouge_l_ids(pack(ids[:3]), pack(ids[3:]))
    by_text = lr.rouge_l(texts[:3], [texts[3 + 19 * i : 22 + 19 * i] for i in range(3)])
    for name in ("precision", "recall", "fmeasure"):
        np.testing.assert_array_equal(getattr(by_ids, name).values, getattr(by_text, name).values)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_and_slices_do_not_change_lengths(threads):
    rng = np.random.default_rng(1)
    a = pack(rng.integers(0, 30, (3, 40)), np.int32)
    b = pack(rng.integers(0, 40, (2500, 60)), np.int32)  # several slices a reference
    every = lr.lcs_length(a, b, "all", threads=threads)
    picked = rng.integers(0, 2500, 50)
    for r in range(3):
        for c in picked:
            assert every[r, c] == table(a.ids[40 * r : 40 * r + 40], b.ids[60 * c : 60 * c + 60])


def test_offsets_may_leave_ids_out():
    ids = np.array([9, 1, 2, 3, 9, 9, 2, 3, 9])
    a, b = lr.TokenIds(ids, [1, 4]), lr.TokenIds(ids, [4, 4, 8])
    assert lr.lcs_length(a, b).tolist() == [0, 2]


def test_out_is_filled_and_returned():
    a, b = pack([[1, 2, 3]]), pack([[1, 3], [4]])
    out = np.full(2, -1, dtype=np.int32)
    assert lr.lcs_length(a, b, out=out) is out
    assert out.tolist() == [2, 0]
    rows = np.full((1, 2), -1, dtype=np.int32)
    assert lr.lcs_length(a, b, "all", out=rows) is rows
    measures = np.full((3, 2), -1.0)
    assert lr.rouge_l_ids(a, b, out=measures) is measures
    assert measures[0].tolist() == [1.0, 0.0]
    scores = lr.rouge_l_ids(a, b)
    assert lr.rouge_l_ids(a, b, out=scores) is scores


@pytest.mark.parametrize(
    ("a", "b", "groups", "error", "message"),
    [
        ([[1]], [[1.0]], None, TypeError, "ids of candidates must be integers, not float64"),
        ([[1]], np.zeros((1, 1), int), None, ValueError, "one-dimensional"),
        ([[1], [1]], [[1]], None, ValueError, "2 references cannot share 1 candidates equally"),
        ([[1]], [[1]], "each", ValueError, "groups must be offsets, None or 'all', not 'each'"),
        ([[1]], [[1], [2]], [0, 1], ValueError, "start at 0 and end at the number"),
        ([[1]], [[1], [2]], [0, 1, 2], ValueError, "one entry more than there are references"),
        ([[1], [1]], [[1], [2]], [0, 2, 1], ValueError, "must not fall"),
    ],
)
def test_what_does_not_fit_is_named(a, b, groups, error, message):
    def tokens(rows):
        if isinstance(rows, np.ndarray):
            return lr.TokenIds(rows, [0, 1])
        flat = [id for row in rows for id in row]
        return lr.TokenIds(np.array(flat), np.cumsum([0, *map(len, rows)]))

    with pytest.raises(error, match=message):
        lr.lcs_length(tokens(a), tokens(b), groups)


def test_offsets_are_checked():
    good = pack([[1, 2]])
    for offsets, message in (([0, 3], "end at 3"), ([-1, 2], "negative"), ([2, 1], "not fall")):
        with pytest.raises(ValueError, match=message):
            lr.lcs_length(good, lr.TokenIds(good.ids, offsets))
    with pytest.raises(TypeError, match="offsets of references must be integers"):
        lr.lcs_length(lr.TokenIds(good.ids, [0.0, 2.0]), good)
    with pytest.raises(TypeError, match="uint64 in one place and int64 in the other"):
        lr.lcs_length(pack([[1]], np.uint64), pack([[1]], np.int64))
    two = pack([[1], [2]])
    for out in (np.zeros(3, np.int32), np.zeros(2, np.int64), np.zeros(4, np.int32)[::2]):
        with pytest.raises(ValueError, match="contiguous int32 array of shape"):
            lr.lcs_length(good, two, out=out)


def test_devices_that_are_not_there():
    one = pack([[1]])
    with pytest.raises(RuntimeError, match="cannot score on device 'cuda:3': "):
        lr.lcs_length(one, one, device="cuda:3")
    with pytest.raises(ValueError, match="device must be 'cpu'"):
        lr.rouge_l_ids(one, one, device="gpu")
    assert lr.lcs_length(one, one, device="auto").tolist() == [1]


def test_empty_calls():
    nothing = lr.TokenIds([], [0])
    assert lr.lcs_length(nothing, nothing).shape == (0,)
    assert lr.lcs_length(pack([[1]]), nothing, "all").shape == (1, 0)
    assert lr.lcs_length(pack([[], [1]]), pack([[1], []])).tolist() == [0, 0]
