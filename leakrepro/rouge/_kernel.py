"""Binds the implementation of the kernel, and decides between CPU and CUDA device."""

from __future__ import annotations

import operator
import os
import re
import warnings
from functools import cache, partial
from typing import Any

import numpy as np

from leakrepro.rouge import _python

try:
    from leakrepro import _native

    _missing = ""
except ImportError as error:
    _missing = f"the native kernel cannot be imported ({error})"

NAMES = ("avx512", "avx2", "scalar", "python")

_KDLCUDA = 2  # DLPack's constant for CUDA devices


class Native:
    """Functions of the native kernel, bound to an implementation and a number of threads.

    Their other arguments are described in ``_native.pyi``.
    """

    is_native = True

    def __init__(self, implementation: str, threads: int) -> None:
        name = implementation
        self.rouge_l = partial(_native.rouge_l, implementation=name, threads=threads)
        self.lcs_length = partial(_native.lcs_length, implementation=name, threads=threads)
        self.rouge_l_ids = partial(_native.rouge_l_ids, implementation=name, threads=threads)
        self.score = partial(_native.score, implementation=name)
        self.score_ids = partial(_native.score_ids, implementation=name)
        self.score_batch = partial(_native.score_batch, implementation=name, threads=threads)


class Python:
    """The same functions of the reference implementation, as far as it has them."""

    is_native = False
    rouge_l = staticmethod(_python.rouge_l)
    lcs_length = staticmethod(_python.lcs_length)
    rouge_l_ids = staticmethod(_python.rouge_l_ids)


def kernel(threads: int | None) -> Native | Python:
    """Return the implementation that ``LEAKREPRO_IMPL`` names, or the fastest one.

    Args:
        threads: Maximum number of threads; None for the CPUs that this process may use.

    Raises:
        TypeError: If ``threads`` is not an integer.
        ValueError: If ``threads`` is below 1, or if ``LEAKREPRO_IMPL`` is not a known name.
        RuntimeError: If the implementation that ``LEAKREPRO_IMPL`` names is not available.
    """
    implementation, threads = _choose(), usable_threads(threads)
    return Python() if implementation == "python" else _native_kernel(implementation, threads)


_native_kernel = cache(Native)


def implementations() -> dict[str, str]:
    """Return the state of each implementation on this machine: ``"ok"``, or why it is missing.

    >>> implementations()["python"]
    'ok'
    """
    available = [] if _missing else _native.implementations()
    reasons = dict.fromkeys(NAMES, _missing or "not part of this build")
    return reasons | dict.fromkeys(available, "ok") | {"python": "ok"}


def _choose() -> str:
    wanted = os.environ.get("LEAKREPRO_IMPL", "auto")
    if wanted == "auto":
        if not _missing:
            return _native.implementations()[0]
        _warn_of_fallback()
        return "python"
    reasons = implementations()
    if wanted not in reasons:
        raise ValueError(f"LEAKREPRO_IMPL must be auto, {', '.join(NAMES)}, not {wanted!r}")
    if reasons[wanted] != "ok":
        listed = "".join(f"\n  {name}: {reason}" for name, reason in reasons.items())
        raise RuntimeError(f"LEAKREPRO_IMPL={wanted} is not available here:{listed}")
    return wanted


@cache
def _warn_of_fallback() -> None:
    warnings.warn(
        f"{_missing}; ROUGE-L runs in Python, with the same results but much slower. "
        "Install a C++17 compiler and the Python headers, then install leakrepro again; "
        "set LEAKREPRO_IMPL=python to silence this warning.",
        RuntimeWarning,
        stacklevel=5,  # the caller of the public function
    )


def usable_threads(threads: int | None) -> int:
    """Return ``threads``, or the number of CPUs that this process may use.

    Raises:
        TypeError: If ``threads`` is not an integer.
        ValueError: If ``threads`` is below 1.
    """
    if threads is None:
        try:
            return len(os.sched_getaffinity(0))
        except AttributeError:  # macOS does not have CPU affinities
            return os.cpu_count() or 1
    threads = operator.index(threads)
    if threads < 1:
        raise ValueError(f"threads must be at least 1 or None, not {threads}")
    return threads


def check_device(device: str) -> None:
    """Raise ValueError unless a device is ``"cpu"``, ``"auto"``, ``"cuda"`` or ``"cuda:N"``."""
    if not isinstance(device, str) or not re.fullmatch(r"cpu|auto|cuda(:\d+)?", device):
        raise ValueError(f"device must be 'cpu', 'cuda', 'cuda:N' or 'auto', not {device!r}")


def runs_on_cuda(device: str, *ids: Any) -> bool:
    """Return whether ids are matched on a CUDA device.

    Args:
        device: ``"cpu"``, ``"cuda"``, ``"cuda:N"``, or ``"auto"``: on a CUDA device if any of the
            ids are there, otherwise on the CPU.
        ids: Ids of references and candidates.

    Raises:
        ValueError: If the device is unknown, or is ``"cpu"`` and ids are on a CUDA device.
        RuntimeError: If a CUDA device is needed and not available.
    """
    check_device(device)
    are_there = any(map(is_on_device, ids))
    if device == "cpu" and are_there:
        raise ValueError("device='cpu' cannot read ids on a CUDA device; copy them or use 'auto'")
    if device == "cpu" or (device == "auto" and not are_there):
        return False
    reason = missing_cuda()
    if reason:
        raise RuntimeError(f"cannot score on device {device!r}: {reason}")
    return True


def is_on_device(values: Any) -> bool:
    """Return whether an array is in the memory of a CUDA device."""
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


def missing_cuda() -> str:
    """Return why CUDA is not available; an empty string if it is."""
    if _missing:
        return _missing
    if not _native.built_with_cuda():
        return "the native kernel was built without CUDA"
    return "" if _native.cuda_devices() else "there is no CUDA device"
