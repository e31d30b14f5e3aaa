"""Ids matched on the device against the CPU: every type, on either side, in any stream."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import leakrepro as lr
from leakrepro.rouge._kernel import is_on_device


@pytest.fixture(autouse=True)
def _kernel() -> None:
    native = pytest.importorskip("leakrepro._native")
    assert native.built_with_cuda(), "make gpu builds the native module with CUDA"


def sequences(rng, sizes, top, dtype):
    offsets = np.cumsum([0, *sizes], dtype=np.int64)
    return lr.TokenIds(rng.integers(0, top, offsets[-1]).astype(dtype), offsets)


def on_device(sequences):
    ids = sequences.ids
    if ids.dtype in (np.uint16, np.uint32):  # torch has no arithmetic for them, nor is it needed
        ids = ids.view(np.dtype(f"int{8 * ids.itemsize}"))
    return lr.TokenIds(torch.from_numpy(ids.copy()).cuda(), sequences.offsets)


SIZES = [0, 1, 7, 8, 9, 31, 32, 33, 63, 64, 65, 127, 128, 129, 1023, 1025, 4096, 4097]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64])
@pytest.mark.parametrize("groups", ["all", "own"])
def test_every_type_on_either_side(dtype, groups):
    rng = np.random.default_rng(1)
    for top in (3, 100):
        references = sequences(rng, SIZES, top, dtype)
        candidates = sequences(rng, rng.integers(0, 200, 3 * len(SIZES)), top + 5, dtype)
        shared = "all" if groups == "all" else None
        expected = lr.lcs_length(references, candidates, shared, device="cpu")
        scores = lr.rouge_l_ids(references, candidates, shared, device="cpu")
        for a, b in (
            (references, candidates),
            (on_device(references), on_device(candidates)),
        ):
            np.testing.assert_array_equal(lr.lcs_length(a, b, shared, device="cuda"), expected)
            found = lr.rouge_l_ids(a, b, shared, device="cuda")
            for name in ("precision", "recall", "fmeasure"):
                x, y = (getattr(each, name).values.view(np.int64) for each in (found, scores))
                np.testing.assert_array_equal(x, y)


def test_results_stay_on_the_device():
    rng = np.random.default_rng(2)
    references = sequences(rng, [20] * 5, 30, np.int32)
    candidates = sequences(rng, [40] * 100, 30, np.int32)
    out = torch.empty(5, 100, dtype=torch.int32, device="cuda")
    a, b = on_device(references), on_device(candidates)
    assert lr.lcs_length(a, b, "all", out=out) is out
    expected = lr.lcs_length(references, candidates, "all")
    np.testing.assert_array_equal(out.cpu().numpy(), expected)
    measures = torch.empty(3, 500, dtype=torch.float64, device="cuda")
    assert lr.rouge_l_ids(a, b, "all", out=measures) is measures
    scores = lr.rouge_l_ids(references, candidates, "all")
    np.testing.assert_array_equal(measures[1].cpu().numpy(), scores.recall.values)


def test_the_current_stream_is_heeded():
    rng = np.random.default_rng(3)
    references = on_device(sequences(rng, [50] * 20, 60, np.int32))
    candidates = sequences(rng, [100] * 20000, 60, np.int32)
    expected = lr.lcs_length(lr.TokenIds(references.ids.cpu().numpy(), references.offsets),
                             candidates, "all")  # fmt: skip
    ready = torch.from_numpy(candidates.ids.copy()).pin_memory()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)  # what comes next in this stream comes late
        ids = ready.cuda(non_blocking=True)
        out = torch.empty(20, 20000, dtype=torch.int32, device="cuda")
        lr.lcs_length(references, lr.TokenIds(ids, candidates.offsets), "all", out=out)
        late = out.clone()
    stream.synchronize()
    np.testing.assert_array_equal(late.cpu().numpy(), expected)


class Interface:
    """An array of another library that knows only the CUDA array interface."""

    def __init__(self, tensor):
        self._tensor = tensor
        self.__cuda_array_interface__ = tensor.__cuda_array_interface__ | {
            "version": 3,
            "stream": 1,
        }

    def __len__(self):
        return len(self._tensor)


class Packed:
    """One that knows only DLPack."""

    def __init__(self, tensor):
        self._tensor = tensor
        self.__dlpack__ = tensor.__dlpack__
        self.__dlpack_device__ = tensor.__dlpack_device__

    def __len__(self):
        return len(self._tensor)


@pytest.mark.parametrize("wrap", [Interface, Packed])
def test_arrays_of_other_libraries(wrap):
    rng = np.random.default_rng(4)
    references = sequences(rng, [20, 30], 40, np.int32)
    candidates = sequences(rng, [50] * 10, 40, np.int32)
    there = [
        lr.TokenIds(wrap(on_device(each).ids), each.offsets) for each in (references, candidates)
    ]
    assert all(is_on_device(each.ids) for each in there)
    np.testing.assert_array_equal(
        lr.lcs_length(*there, "all"), lr.lcs_length(references, candidates, "all")
    )


def test_errors():
    rng = np.random.default_rng(5)
    a = sequences(rng, [5], 9, np.int64)
    b = on_device(a)
    with pytest.raises(ValueError, match="cannot read ids on a CUDA device"):
        lr.lcs_length(b, b, device="cpu")
    with pytest.raises(RuntimeError, match="no CUDA device"):
        lr.lcs_length(a, a, device="cuda:99")
    with pytest.raises(ValueError, match="from 0 to 67108863"):
        lr.lcs_length(lr.TokenIds(b.ids + (1 << 26), b.offsets), b)
    with pytest.raises(TypeError, match="ids must be integers"):
        lr.lcs_length(lr.TokenIds(b.ids.float(), b.offsets), b)
    with pytest.raises(TypeError, match="ids differ in type"):
        lr.lcs_length(lr.TokenIds(b.ids.int(), b.offsets), b)
    with pytest.raises(ValueError, match="candidate offsets end at 9"):
        lr.lcs_length(b, lr.TokenIds(b.ids, [0, 9]))
    with pytest.raises(ValueError, match="out is on a CUDA device"):
        lr.lcs_length(a, a, device="cpu", out=torch.zeros(1, dtype=torch.int32, device="cuda"))
    with pytest.raises(ValueError, match="contiguous int32 array of shape"):
        lr.lcs_length(b, b, out=torch.zeros(1, device="cuda"))
