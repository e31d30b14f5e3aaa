"""Which implementation of the kernel is used: the only place that decides."""

from __future__ import annotations

import operator
import os
import re
import warnings
from functools import cache

try:
    from leakrepro import _native

    _missing = ""
except ImportError as error:
    _missing = f"the native kernel cannot be imported ({error})"

NAMES = ("avx512", "avx2", "scalar", "python")


def implementations() -> dict[str, str]:
    """What this machine can run: implementation -> ``"ok"``, or why it is not there.

    >>> implementations()["python"]
    'ok'
    """
    available = [] if _missing else _native.implementations()
    reasons = dict.fromkeys(NAMES, _missing or "this build has none")
    return reasons | dict.fromkeys(available, "ok") | {"python": "ok"}


def choose() -> str:
    """The name of the implementation to use: the fastest, or what ``LEAKREPRO_IMPL`` names.

    Raises:
        ValueError: when ``LEAKREPRO_IMPL`` is not one of the names.
        RuntimeError: when the one it names is not there.
    """
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


def usable_threads(threads: int | None) -> int:
    """``threads``, or the number of CPUs that this process may use.

    Raises:
        TypeError: for what is not an integer.
        ValueError: for less than 1.
    """
    if threads is None:
        try:
            return len(os.sched_getaffinity(0))
        except AttributeError:  # macOS has no affinities
            return os.cpu_count() or 1
    threads = operator.index(threads)
    if threads < 1:
        raise ValueError(f"threads must be at least 1 or None, not {threads}")
    return threads


def missing_cuda() -> str:
    """Why there is no CUDA here; empty where there is."""
    if _missing:
        return _missing
    if not _native.built_with_cuda():
        return "the native kernel was built without CUDA"
    return "" if _native.cuda_devices() else "there is no CUDA device"


def check_device(device: str) -> None:
    """Raises unless a device is ``"cpu"``, ``"auto"``, ``"cuda"`` or ``"cuda:N"``.

    Raises:
        ValueError: naming what is known.
    """
    if not isinstance(device, str) or not re.fullmatch(r"cpu|auto|cuda(:\d+)?", device):
        raise ValueError(f"device must be 'cpu', 'cuda', 'cuda:N' or 'auto', not {device!r}")


@cache
def _warn_of_fallback() -> None:
    warnings.warn(
        f"{_missing}; ROUGE-L runs in Python, with the same results but far slower. "
        "Install a C++17 compiler and the Python headers, then install leakrepro again; "
        "LEAKREPRO_IMPL=python silences this.",
        RuntimeWarning,
        stacklevel=4,
    )
