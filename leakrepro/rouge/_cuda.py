"""Matching of token ids on a CUDA device; torch tensors share the caller's memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.utils.dlpack
from numpy.typing import NDArray

from leakrepro import _native
from leakrepro.rouge._kernel import is_on_device

__all__ = ["Match", "to_host"]

# torch does not support all operations on unsigned types. A signed view keeps equal ids equal.
_SIGNED = {np.uint16: np.int16, np.uint32: np.int32, np.uint64: np.int64}


def to_host(values: Any) -> Any:
    """Return an array on a device as a NumPy array, and other values unchanged."""
    return _tensor(values).cpu().numpy() if is_on_device(values) else values


def _tensor(values: Any) -> torch.Tensor:
    """Return a tensor that shares the memory of the values."""
    if isinstance(values, torch.Tensor):
        return values
    if isinstance(values, np.ndarray):
        array = (
            values if values.flags.writeable else values.copy()
        )  # torch warns about read-only memory
        signed = _SIGNED.get(array.dtype.type)
        return torch.from_numpy(array if signed is None else array.view(signed))
    interface = getattr(values, "__cuda_array_interface__", None)
    if interface is None:
        return torch.utils.dlpack.from_dlpack(values)  # synchronises streams
    tensor = torch.as_tensor(values, device="cuda")
    if interface.get("stream") is not None:  # wait for pending writes
        torch.cuda.synchronize(tensor.device)
    return tensor


class Match:
    """LCS lengths of one call, computed in the device's current stream.

    Args:
        device: ``"cuda"``, ``"cuda:N"`` or ``"auto"``. Without a number, the device of the ids, or
            the current device if the ids are on the host.
        references: Ids on the host or a device, and checked offsets on the host.
        candidates: The same for the candidates, with ids of the same type.
        groups: Offsets of each reference's candidates; None to compare every reference with every
            candidate.

    Raises:
        TypeError: If ids are not integers, or have two types.
        ValueError: If ids are on several devices or on another device than ``device``, or if a
            reference has ids of 2^26 or more.
        RuntimeError: If the device is not available, or if CUDA reports an error.
    """

    def __init__(
        self,
        device: str,
        references: tuple[Any, NDArray[np.int64]],
        candidates: tuple[Any, NDArray[np.int64]],
        groups: NDArray[np.int64] | None,
    ) -> None:
        if not torch.cuda.is_available():
            raise RuntimeError(f"cannot score on device {device!r}: torch was built without CUDA")
        ids = [_tensor(side[0]) for side in (references, candidates)]
        for each in ids:
            if each.is_floating_point() or each.is_complex() or each.dtype == torch.bool:
                raise TypeError(f"ids must be integers, not {each.dtype}")
            if each.ndim != 1:
                raise ValueError(f"ids must be one-dimensional, not {tuple(each.shape)}")
        if ids[0].dtype != ids[1].dtype:
            raise TypeError(f"ids differ in type: {ids[0].dtype} and {ids[1].dtype}")
        self.device = _choose(device, ids)
        self._ids = [each.to(self.device).contiguous() for each in ids]
        offsets = (references[1], candidates[1])
        with torch.cuda.device(self.device):
            self._offsets = [torch.from_numpy(each.copy()).to(self.device) for each in offsets]
            sides = [
                (each.data_ptr(), there.data_ptr())
                for each, there in zip(self._ids, self._offsets, strict=True)
            ]
            width = ids[0].element_size()
            self._call = (sides[0], offsets[0], sides[1], offsets[1], width, groups)
            pairs = offsets[1].size - 1
            pairs *= offsets[0].size - 1 if groups is None else 1
            self.lengths = torch.empty(pairs, dtype=torch.int32, device=self.device)
            _native.cuda_lcs_length(
                *self._call,
                self.lengths.data_ptr(),
                device=self.device.index,
                stream=torch.cuda.current_stream().cuda_stream,
            )

    def measures(self) -> torch.Tensor:
        """Return precision, recall and F-measure on the device, float64 ``[3, pairs]``."""
        with torch.cuda.device(self.device):
            values = torch.empty((3, self.lengths.numel()), dtype=torch.float64, device=self.device)
            _native.cuda_measures(
                *self._call,
                self.lengths.data_ptr(),
                *(row.data_ptr() for row in values),
                device=self.device.index,
                stream=torch.cuda.current_stream().cuda_stream,
            )
        return values

    @staticmethod
    def copy(values: torch.Tensor, out: Any) -> None:
        """Copy to an array of the same size, on the host or a device."""
        _tensor(out).view(-1).copy_(values.view(-1))


def _choose(device: str, ids: list[torch.Tensor]) -> torch.device:
    homes = {each.device for each in ids if each.is_cuda}
    if len(homes) > 1:
        raise ValueError(f"ids are on several devices: {', '.join(sorted(map(str, homes)))}")
    home = next(iter(homes), torch.device("cuda", torch.cuda.current_device()))
    index = home.index if device in ("auto", "cuda") else int(device.partition(":")[2])
    count = torch.cuda.device_count()
    if index >= count:
        raise RuntimeError(f"no CUDA device {index}: this machine has {count}")
    if homes and index != home.index:
        raise ValueError(f"the ids are on {home}, not on {device!r}")
    return torch.device("cuda", index)
