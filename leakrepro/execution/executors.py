"""Runs independent tasks by the executor that a backend names."""

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
    """Yields ``(index, result)`` as tasks finish; see ``local.stream`` and ``ray.stream``.

    Args:
        backend: The executor, the number of workers and their threads.
        function: An importable function; its last argument is ``progress(done, total)``.
        arguments: Picklable arguments, one tuple per task.
        watch: Called with a task's index, its progress and its total.
        gpus: GPUs per Ray actor, where the cluster has any.
    """
    workers, threads = backend.workers, backend.threads_per_worker()
    if backend.executor == "ray":
        return cluster.stream(
            function, arguments, workers=workers, threads=threads, watch=watch, gpus=gpus
        )
    return local.stream(function, arguments, workers=workers, threads=threads, watch=watch)
