"""Choice of the executor: local worker processes, or a Ray cluster."""

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
    """Yield ``(index, function(*arguments[index], progress))`` as tasks finish.

    Args:
        executor: ``"local"`` or ``"ray"``.
        function: An importable function of a module; its last argument is a callable
            ``progress(done, total)``.
        arguments: Picklable arguments, one tuple per task.
        workers: Maximum number of tasks at the same time.
        threads: CPU threads per task.
        watch: Called as ``watch(task, done, total)`` when a task reports progress. Ray reports only
            the end of a task.
        gpus: GPUs per worker on a Ray cluster that has GPUs.

    Raises:
        ValueError: If the executor is unknown, ``workers`` or ``threads`` is below 1, or a worker
            cannot import ``function``.
        MissingExtra: If Ray is not installed.
        WorkerError: If a worker dies; on Ray, if one task loses three workers.
        Exception: The first error of a task, with the worker's traceback as its cause.
    """
    check_executor(executor)
    if executor == "ray":
        return cluster.stream(
            function, arguments, workers=workers, threads=threads, watch=watch, gpus=gpus
        )
    return local.stream(function, arguments, workers=workers, threads=threads, watch=watch)


def check_executor(executor: str) -> None:
    """Raise ValueError unless the executor is known."""
    if executor not in EXECUTORS:
        raise ValueError(f"unknown executor {executor!r}; known are {', '.join(EXECUTORS)}")
