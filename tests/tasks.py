"""Tasks for the tests of executors; workers import them by name."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from leakrepro.execution import local

Progress = Callable[[int, int], None]


def spin(seconds: float, progress: Progress) -> None:
    """Work at full speed for some time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        progress(0, 1)


def square(number: int, progress: Progress) -> int:
    for step in range(1, 4):
        progress(step, 3)
    return number * number


def worker_settings(_: int, progress: Progress) -> tuple[int, str, str]:
    import torch

    return torch.get_num_threads(), os.environ.get("OMP_WAIT_POLICY", ""), str(os.getpid())


def hold(value: int, progress: Progress) -> tuple[int, int | None]:
    """Return this process, and the value that the previous task left in it."""
    values = _values()
    before = next(iter(values), None)
    values.append(value)
    time.sleep(0.2)  # so that each worker gets one
    return os.getpid(), before


_values: local.Held[list[int]] = local.Held(list)


def initialise_gpu(_: int, progress: Progress) -> int:
    """Make torch report an initialised GPU."""
    import torch

    torch.cuda.is_initialized = lambda: True
    time.sleep(0.2)
    return os.getpid()


def fail_on_three(number: int, progress: Progress) -> int:
    if number == 3:
        raise ValueError("three is refused")
    time.sleep(0.05)
    return number


class UnpicklableError(Exception):
    """An exception that cannot be restored from its pickle."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


def fail_with_unpicklable_error(_: int, progress: Progress) -> int:
    raise UnpicklableError("this", "that")


def die(number: int, progress: Progress) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
    return number


def sleep_long(folder: str, number: int, progress: Progress) -> None:
    Path(folder, str(number)).write_text(str(os.getpid()), encoding="utf-8")
    time.sleep(120)


def die_once(number: int, folder: str, progress: Progress) -> int:
    """Kill the first worker of tasks 1 and 4."""
    mark = Path(folder) / f"died-{number}"
    if number in (1, 4) and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def die_always_at_one(number: int, progress: Progress) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def default_signals() -> None:
    """For ``preexec_fn``: the child does not ignore SIGINT and SIGHUP, as a background job may."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
