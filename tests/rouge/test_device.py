"""Where ids are matched, as far as this can be tested without a GPU; tests/gpu has the rest."""

from __future__ import annotations

import contextlib
import ctypes
from unittest import mock

import numpy as np
import pytest
import torch

import leakrepro as lr
from leakrepro.rouge import _kernel
from leakrepro.rouge._kernel import is_on_device, runs_on_cuda


class OnDevice:
    """The attributes of an array on a device that are read before it is matched."""

    __cuda_array_interface__ = {  # noqa: RUF012
        "shape": (3,), "typestr": "<i4", "data": (1 << 20, False), "version": 3,
    }  # fmt: skip


class Packed:
    def __init__(self, kind):
        self._kind = kind

    def __dlpack_device__(self):
        return self._kind, 0


def test_arrays_on_a_device_are_known():
    assert is_on_device(OnDevice())
    assert is_on_device(Packed(2))
    for host in (Packed(1), np.zeros(1), torch.zeros(1), [1, 2], (), None):
        assert not is_on_device(host)


def test_without_a_device_ids_there_are_an_error(monkeypatch):
    monkeypatch.setattr(_kernel, "missing_cuda", lambda: "there is no CUDA device")
    ids = lr.TokenIds(OnDevice(), [0, 3])
    with pytest.raises(RuntimeError, match="cannot score on device 'auto': there is no CUDA dev"):
        lr.lcs_length(ids, ids)
    with pytest.raises(ValueError, match="device='cpu' cannot read ids on a CUDA device"):
        lr.rouge_l_ids(ids, ids, device="cpu")


def test_an_output_on_a_device_needs_ids_there():
    one = lr.TokenIds([1, 2, 3], [0, 1, 2, 3])
    out = OnDevice()
    with pytest.raises(ValueError, match="out is on a CUDA device"):
        lr.lcs_length(one, one, out=out)
    with pytest.raises(ValueError, match="contiguous int32 array of shape"):
        lr.lcs_length(one, one, "all", out=out)


def test_auto_matches_ids_where_they_are(monkeypatch):
    monkeypatch.setattr(_kernel, "missing_cuda", lambda: "")
    host, there = np.zeros(1, np.int32), OnDevice()
    assert not runs_on_cuda("auto", host, host)
    assert runs_on_cuda("auto", there, there)
    assert runs_on_cuda("auto", host, there)
    assert not runs_on_cuda("cpu", host, host)
    assert runs_on_cuda("cuda:1", host, host)
    monkeypatch.setattr(_kernel, "missing_cuda", lambda: "no kernel")
    assert not runs_on_cuda("auto", host, host)
    for device, ids in (("auto", there), ("cuda", host)):
        with pytest.raises(RuntimeError, match=f"cannot score on device '{device}': no kernel"):
            runs_on_cuda(device, ids, ids)
    with pytest.raises(ValueError, match="device must be 'cpu', 'cuda', 'cuda:N' or 'auto'"):
        runs_on_cuda("gpu", host, host)


class OnHost:
    """The native functions for a device whose memory is the host's."""

    @staticmethod
    def _sequences(addresses, offsets, width):
        def read(address, count, dtype):
            size = count * np.dtype(dtype).itemsize
            return np.frombuffer((ctypes.c_char * size).from_address(address), dtype)

        ids, there = addresses
        np.testing.assert_array_equal(read(there, offsets.size, np.int64), offsets)
        return lr.TokenIds(read(ids, int(offsets[-1]), f"u{width}"), offsets)

    def cuda_lcs_length(
        self, a, a_offsets, b, b_offsets, width, groups, lengths, *, device, stream
    ):
        found = lr.lcs_length(
            self._sequences(a, a_offsets, width),
            self._sequences(b, b_offsets, width),
            "all" if groups is None else groups,
            device="cpu",
        )
        ctypes.memmove(lengths, found.ctypes.data, found.nbytes)

    def cuda_measures(self, a, a_offsets, b, b_offsets, width, groups, lengths, *out, **_where):
        found = lr.rouge_l_ids(
            self._sequences(a, a_offsets, width),
            self._sequences(b, b_offsets, width),
            "all" if groups is None else groups,
            device="cpu",
        )
        for address, measure in zip(
            out, (found.precision, found.recall, found.fmeasure), strict=True
        ):
            ctypes.memmove(address, measure.values.ctypes.data, measure.values.nbytes)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64])
@pytest.mark.parametrize("groups", ["all", None, [0, 1, 1, 6]])
def test_what_is_handed_to_the_device(monkeypatch, dtype, groups):
    """The torch code around the CUDA kernels, on the host."""
    from leakrepro.rouge import _cuda

    monkeypatch.setattr(_kernel, "missing_cuda", lambda: "")
    monkeypatch.setattr(_cuda, "_native", OnHost())
    monkeypatch.setattr(_cuda, "_choose", lambda device, ids: torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    stream = mock.Mock(cuda_stream=0)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)

    rng = np.random.default_rng(0)
    a = lr.TokenIds(rng.integers(0, 9, 30).astype(dtype), [0, 10, 10, 30])
    b = lr.TokenIds(rng.integers(0, 12, 60).astype(dtype), np.arange(0, 61, 10))
    found = lr.lcs_length(a, b, groups, device="cuda")
    np.testing.assert_array_equal(found, lr.lcs_length(a, b, groups, device="cpu"))
    scores = lr.rouge_l_ids(a, b, groups, device="cuda")
    expected = lr.rouge_l_ids(a, b, groups, device="cpu")
    for name in ("precision", "recall", "fmeasure"):
        np.testing.assert_array_equal(getattr(scores, name).values, getattr(expected, name).values)
    out = np.zeros((3, expected.recall.values.size))
    assert lr.rouge_l_ids(a, b, groups, device="cuda", out=out) is out
    np.testing.assert_array_equal(out[1], expected.recall.values)
    frozen = lr.TokenIds(a.ids.copy(), a.offsets)
    frozen.ids.flags.writeable = False
    np.testing.assert_array_equal(lr.lcs_length(frozen, b, groups, device="cuda"), found)
    with pytest.raises(ValueError, match="candidate offsets end at 61"):
        lr.lcs_length(a, lr.TokenIds(b.ids, [0, 10, 61]), "all", device="cuda")
    with pytest.raises(ValueError, match="groups must"):
        lr.lcs_length(a, b, [0, 6], device="cuda")
