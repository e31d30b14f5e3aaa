"""Where independent tasks run: in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from leakrepro.execution import local
from leakrepro.execution import ray as cluster
from leakrepro.execution.local import Watcher

T = TypeVar("T")

EXECUTORS = ("local", "ray")


def stream(
    executor: str,
    function: Callable[..., T],
    arguments: Sequence[tuple[Any, ...]],
    *,
    workers: int,
    threads: int = 1,
    watch: Watcher | None = None,
    gpus: int = 0,
) -> Generator[tuple[int, T]]:
    """Yields ``(index, result)`` as tasks finish; see ``parallel.stream`` and ``cluster.stream``.

    Raises:
        ValueError: for an unknown executor; the message lists the known ones.
    """
    check_executor(executor)
    if executor == "ray":
        return cluster.stream(
            function, arguments, workers=workers, threads=threads, watch=watch, gpus=gpus
        )
    return local.stream(function, arguments, workers=workers, threads=threads, watch=watch)


def check_executor(executor: str) -> None:
    """ValueError unless there is such an executor."""
    if executor not in EXECUTORS:
        raise ValueError(f"unknown executor {executor!r}; known are {', '.join(EXECUTORS)}")
