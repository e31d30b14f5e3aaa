"""The Python interface of the kernel: arguments, errors, and the choice of implementation."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from leakrepro.rouge import _kernel
from leakrepro.rouge.texts import RougeL, implementations, rouge_l
from leakrepro.types import Scores

REFERENCES = ["The cat sat on the mat.", "one two", ""]
CANDIDATES = [["A cat sat.", "", "the mats"], [], ["anything"]]
AVAILABLE = [name for name, reason in implementations().items() if reason == "ok"]
MEASURES = ("precision", "recall", "fmeasure")


@pytest.fixture(autouse=True, params=AVAILABLE)
def implementation(request, monkeypatch):
    monkeypatch.setenv("LEAKREPRO_IMPL", request.param)
    return request.param


def assert_equal(a: RougeL, b: RougeL):
    for measure in MEASURES:
        left, right = getattr(a, measure), getattr(b, measure)
        np.testing.assert_array_equal(left.values, right.values)
        np.testing.assert_array_equal(left.offsets, right.offsets)


def test_values_by_hand():
    result = rouge_l(REFERENCES, CANDIDATES)
    assert [row.tolist() for row in result.recall] == [[2 / 6, 0.0, 2 / 6], [], [0.0]]
    assert [row.tolist() for row in result.precision] == [[2 / 3, 0.0, 1.0], [], [0.0]]
    assert [row.tolist() for row in result.fmeasure] == [[4 / 9, 0.0, 0.5], [], [0.0]]


def test_stemming_is_a_choice():
    assert rouge_l(["mats"], [["mat"]]).recall.values.tolist() == [1.0]
    assert rouge_l(["mats"], [["mat"]], stem=False).recall.values.tolist() == [0.0]


def test_nothing_to_score():
    result = rouge_l([], [])
    assert len(result.recall) == 0
    assert result.recall.values.size == 0


@pytest.mark.parametrize(
    "convert",
    [
        lambda rows: tuple(tuple(row) for row in rows),
        lambda rows: (iter(row) for row in rows),
        lambda rows: [np.array(row, dtype=object) for row in rows],
        lambda rows: [np.array(row, dtype=str) for row in rows],
        lambda rows: [pa.array(row, pa.string()) for row in rows],
        lambda rows: pa.array(rows, pa.list_(pa.string())),
        lambda rows: pa.array(rows, pa.large_list(pa.large_string())),
        lambda rows: pa.chunked_array([pa.array(rows[:1]), pa.array(rows[1:])]),
    ],
    ids=["tuples", "iterators", "objects", "numpy", "arrow", "list", "large-list", "chunked"],
)
def test_kinds_of_candidates(convert):
    assert_equal(rouge_l(REFERENCES, convert(CANDIDATES)), rouge_l(REFERENCES, CANDIDATES))


def test_arrow_references():
    assert_equal(rouge_l(pa.array(REFERENCES), CANDIDATES), rouge_l(REFERENCES, CANDIDATES))


def test_out_is_filled_and_returned():
    expected = rouge_l(REFERENCES, CANDIDATES)
    offsets = expected.recall.offsets
    out = RougeL(*(Scores(np.full(offsets[-1], np.nan), offsets) for _ in MEASURES))
    arrays = [getattr(out, measure).values for measure in MEASURES]
    assert rouge_l(REFERENCES, CANDIDATES, out=out) is out
    assert_equal(out, expected)
    assert all(getattr(out, m).values is a for m, a in zip(MEASURES, arrays, strict=True))


def test_out_of_another_shape():
    out = rouge_l(REFERENCES, CANDIDATES)
    with pytest.raises(ValueError, match="3 references with 4 candidates"):
        rouge_l(REFERENCES, [["a"], ["b", "c", "d"], []], out=out)


def test_out_that_cannot_be_written():
    out = rouge_l(REFERENCES, CANDIDATES)
    out.recall.values.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        rouge_l(REFERENCES, CANDIDATES, out=out)


def test_out_that_would_overwrite_itself():
    scores = rouge_l(REFERENCES, CANDIDATES).recall
    with pytest.raises(ValueError, match="share their memory"):
        rouge_l(REFERENCES, CANDIDATES, out=RougeL(scores, scores, scores))


@pytest.mark.parametrize(
    ("bad", "kind"), [(None, "NoneType"), (3, "int"), (0.5, "float"), (b"text", "bytes")]
)
def test_what_is_not_text_is_named(bad, kind):
    with pytest.raises(TypeError, match=f"^reference 1 must be a string, not {kind}$"):
        rouge_l(["a", bad], [["b"], ["c"]])
    message = f"^candidate 2 of reference 1 must be a string, not {kind}$"
    with pytest.raises(TypeError, match=message):
        rouge_l(["a", "b"], [["c"], ["d", "e", bad]])
    with pytest.raises(TypeError, match=r"candidates of reference 1 must be a list, not"):
        rouge_l(["a", "b"], [["c"], bad])


@pytest.mark.parametrize("row", ["text", {"a": 1}, {"a"}])
def test_a_row_must_be_a_list(row):
    with pytest.raises(TypeError, match="candidates of reference 0 must be a list, not"):
        rouge_l(["a"], [row])
    with pytest.raises(TypeError, match="candidates must be a list, not"):
        rouge_l(["a"], row)
    with pytest.raises(TypeError, match="references must be a list, not"):
        rouge_l(row, [["a"]])


def test_arrow_nulls_are_refused():
    with pytest.raises(TypeError, match="candidate 1 of reference 0 must be a string, not None"):
        rouge_l(["a"], pa.array([["b", None]]))
    with pytest.raises(TypeError, match="candidates of reference 0 must be a list, not None"):
        rouge_l(["a"], pa.array([None], pa.list_(pa.string())))


def test_one_list_of_candidates_a_reference():
    with pytest.raises(ValueError, match="2 references but 1 lists"):
        rouge_l(["a", "b"], [["c"]])


@pytest.mark.parametrize("threads", [0, -1])
def test_at_least_one_thread(threads):
    with pytest.raises(ValueError, match="threads must be at least 1"):
        rouge_l(["a"], [["b"]], threads=threads)


def test_threads_are_whole():
    with pytest.raises(TypeError):
        rouge_l(["a"], [["b"]], threads=1.5)


def test_devices():
    with pytest.raises(RuntimeError, match="cannot score on device 'cuda': "):
        rouge_l(["a"], [["b"]], device="cuda")
    with pytest.raises(
        ValueError, match="device must be 'cpu', 'cuda', 'cuda:N' or 'auto', not 'tpu"
    ):
        rouge_l(["a"], [["b"]], device="tpu")


@pytest.mark.parametrize(
    ("missing", "built", "devices", "reason"),
    [
        ("no kernel", False, [], "no kernel"),
        ("", False, [], "built without CUDA"),
        ("", True, [], "there is no CUDA device"),
        ("", True, [("H200", (9, 0))], "matched on the CPU; use rouge_l_ids"),
    ],
)
def test_why_there_is_no_cuda(monkeypatch, missing, built, devices, reason):
    class Native:
        built_with_cuda = staticmethod(lambda: built)
        cuda_devices = staticmethod(lambda: devices)

    monkeypatch.setattr(_kernel, "_missing", missing)
    monkeypatch.setattr(_kernel, "_native", Native, raising=False)
    with pytest.raises(RuntimeError, match=reason):
        rouge_l(["a"], [["b"]], device="cuda")


def test_an_unknown_implementation(monkeypatch):
    monkeypatch.setenv("LEAKREPRO_IMPL", "avx1024")
    with pytest.raises(ValueError, match="must be auto, avx512, avx2, scalar, python, not 'avx"):
        rouge_l(["a"], [["b"]])


def test_an_implementation_that_is_not_there(monkeypatch):
    monkeypatch.setattr(_kernel, "_missing", "no kernel")
    monkeypatch.setenv("LEAKREPRO_IMPL", "scalar")
    with pytest.raises(RuntimeError) as error:
        rouge_l(["a"], [["b"]])
    assert "LEAKREPRO_IMPL=scalar is not available here" in str(error.value)
    assert "\n  avx512: no kernel" in str(error.value)
    assert "\n  python: ok" in str(error.value)


def test_the_fallback_says_so_once(monkeypatch):
    monkeypatch.setattr(_kernel, "_missing", "no kernel")
    monkeypatch.setenv("LEAKREPRO_IMPL", "auto")
    _kernel._warn_of_fallback.cache_clear()
    with pytest.warns(RuntimeWarning, match="no kernel; ROUGE-L runs in Python"):
        assert rouge_l(["a"], [["a"]]).recall.values.tolist() == [1.0]
    rouge_l(["a"], [["a"]])  # a second warning would be an error
    _kernel._warn_of_fallback.cache_clear()


def test_the_environment_is_read_at_every_call(monkeypatch):
    for name in AVAILABLE:
        monkeypatch.setenv("LEAKREPRO_IMPL", name)
        assert _kernel.kernel(1).is_native == (name != "python")
    monkeypatch.setenv("LEAKREPRO_IMPL", "avx1024")
    with pytest.raises(ValueError, match="LEAKREPRO_IMPL must be"):
        _kernel.kernel(1)


def test_the_native_kernel_imports_neither_nltk_nor_rapidfuzz(implementation):
    code = (
        "import sys; import leakrepro as lr; lr.rouge_l(['cats sat'], [['cat']]); "
        "lr.RougeScorer(['rougeLsum'], use_stemmer=True).score('cats sat', 'cat'); "
        "print({'nltk', 'rapidfuzz'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout == "set()\n") == (implementation != "python")
