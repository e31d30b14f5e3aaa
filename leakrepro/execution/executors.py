"""Choice of the executor: local worker processes, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from leakrepro.execution import local
from leakrepro.execution import ray as cluster
from leakrepro.execution.backend import Backend
from leakrepro.execution.local import Watcher

T = TypeVar("T")


def stream(
    backend: Backend,
    function: Callable[..., T],
    arguments: Sequence[tuple[Any, ...]],
    *,
    watch: Watcher | None = None,
    gpus: int = 0,
) -> Generator[tuple[int, T]]:
    """Yields ``(index, function(*arguments[index], progress))`` as tasks finish.

    Args:
        backend: The executor, the number of workers and their threads.
        function: An importable function of a module; its last argument is a callable
            ``progress(done, total)``.
        arguments: Picklable arguments, one tuple per task.
        watch: Called as ``watch(task, done, total)`` when a task reports progress. Ray reports only
            the end of a task.
        gpus: GPUs per worker on a Ray cluster that has GPUs.

    Raises:
        ValueError: If a worker cannot import ``function``.
        MissingExtra: If Ray is not installed.
        WorkerError: If a worker dies; on Ray, if one task loses three workers.
        Exception: The first error of a task, with the worker's traceback as its cause.
    """
    workers, threads = backend.workers, backend.threads_per_worker()
    if backend.executor == "ray":
        return cluster.stream(
            function, arguments, workers=workers, threads=threads, watch=watch, gpus=gpus
        )
    return local.stream(function, arguments, workers=workers, threads=threads, watch=watch)
