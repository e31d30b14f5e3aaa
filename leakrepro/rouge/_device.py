"""Where ids are matched: on the CPU or on a CUDA device. Nothing here needs torch."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from leakrepro.rouge._kernel import missing_cuda

__all__ = ["goes_to_cuda", "is_on_device", "threshold"]

_KDLCUDA = 2  # DLPack's name for CUDA devices


def is_on_device(values: Any) -> bool:
    """Whether an array is in the memory of a CUDA device."""
    if isinstance(values, np.ndarray):
        return False
    try:
        if values.__cuda_array_interface__ is not None:
            return True
    except AttributeError:  # torch raises it for tensors on the host
        pass
    if not hasattr(values, "__dlpack_device__"):
        return False
    return int(values.__dlpack_device__()[0]) == _KDLCUDA


def goes_to_cuda(device: str, ids: tuple[Any, ...], cells: int) -> bool:
    """Whether ids are to be matched on a CUDA device.

    Args:
        device: ``"cpu"``, ``"cuda"``, ``"cuda:N"`` or ``"auto"``: where the ids are, or, for ids on
            the host, on a device if there is one and that pays.
        ids: Of references and candidates.
        cells: Cells of all LCS tables.

    Raises:
        ValueError: for ``"cpu"`` and ids on a device.
        RuntimeError: when there is no device to go to.
    """
    there = any(map(is_on_device, ids))
    if device == "cpu" and there:
        raise ValueError("device='cpu' cannot read ids on a CUDA device; copy them or use 'auto'")
    if device == "auto" and not there:
        return cells >= threshold() and not missing_cuda()
    if device == "cpu":
        return False
    reason = missing_cuda()
    if reason:
        raise RuntimeError(f"cannot score on device {device!r}: {reason}")
    return True


@cache
def threshold() -> float:
    """Cells of the LCS tables from which it pays to copy ids to a device, as measured.

    It is in the newest ``reference/measured/gpu_*.json``; without one it never does.
    """
    folder = files("leakrepro") / "reference/measured"
    found = [
        json.loads(file.read_text())
        for file in folder.iterdir()
        if file.name.startswith("gpu_") and file.name.endswith(".json")
    ]
    if not found:
        return float("inf")
    cells = max(found, key=lambda content: content["date"])["host_ids_pay_from_cells"]
    return float("inf") if cells is None else float(cells)
