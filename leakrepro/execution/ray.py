"""Independent tasks on a Ray cluster.

Every worker is a Ray actor. If an actor is lost, its task runs again on a new actor. The results
are the same as without the loss.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from leakrepro.errors import require
from leakrepro.execution.lifetime import follow_parent
from leakrepro.execution.local import (
    Watcher,
    WorkerError,
    importable,
    pickled,
    revive,
    work,
    worker_environment,
)
from leakrepro.storage import paths

T = TypeVar("T")

_LOSSES = 3  # lost workers after which a task is considered the cause


def stream(
    function: Callable[..., T],
    arguments: Sequence[tuple[Any, ...]],
    *,
    workers: int,
    threads: int = 1,
    watch: Watcher | None = None,
    gpus: int = 0,
) -> Generator[tuple[int, T]]:
    """Yield ``(index, function(*arguments[index], progress))`` as tasks finish.

    The tasks run on the cluster to which the caller is connected, or on the cluster at
    ``RAY_ADDRESS``. If neither exists, a cluster is started on this machine and stopped after the
    last task.

    Args:
        function: A function of a module that every machine can import; its last argument is a
            callable ``progress(done, total)``, which does nothing here. Folders among the other
            arguments must be accessible on every machine.
        arguments: Picklable arguments, one tuple per task.
        workers: Maximum number of actors at the same time.
        threads: CPUs per actor.
        watch: Called as ``watch(task, 1, 1)`` when a task is done.
        gpus: GPUs per actor if the cluster has GPUs.

    Raises:
        ValueError: If ``workers`` or ``threads`` is below 1, or a worker cannot import
            ``function``.
        MissingExtra: If Ray is not installed.
        WorkerError: If one task loses three workers.
        Exception: The first error of a task, with the worker's traceback as its cause.
    """
    if workers < 1 or threads < 1:
        raise ValueError(f"workers and threads must be at least 1, got {workers} and {threads}")
    require("ray", 'executor "ray"', "ray")
    return _stream(importable(function), arguments, workers, threads, watch, gpus)


def _stream(
    name: tuple[str, str],
    arguments: Sequence[tuple[Any, ...]],
    workers: int,
    threads: int,
    watch: Watcher | None,
    gpus: int,
) -> Generator[tuple[int, Any]]:
    import ray

    with contextlib.ExitStack() as stack:
        if not ray.is_initialized():
            stack.callback(ray.shutdown)
            _start(workers * threads)
        if not ray.cluster_resources().get("GPU"):
            gpus = 0
        waiting = deque(range(len(arguments)))
        losses: Counter[int] = Counter()
        busy: dict[Any, tuple[int, Any]] = {}  # result reference -> task and actor

        def give(actor: Any, task: int) -> None:
            content = ray.put(pickled(arguments[task]))
            busy[actor.work.remote(*name, content)] = task, actor

        def end() -> None:
            for _, actor in busy.values():
                ray.kill(actor)

        stack.callback(end)
        for _ in range(min(workers, len(waiting))):
            give(_actor(threads, gpus), waiting.popleft())
        while busy:
            (done,), _ = ray.wait(list(busy), num_returns=1)
            task, actor = busy.pop(done)
            try:
                kind, content = ray.get(done)
            except ray.exceptions.RayActorError as error:
                losses[task] += 1
                if losses[task] == _LOSSES:
                    raise WorkerError(
                        f"task {task} lost {_LOSSES} workers (out of memory?): {error}"
                    ) from error
                give(_actor(threads, gpus), task)
                continue
            if kind == "error":
                ray.kill(actor)
                raise revive(*content)
            if waiting:
                give(actor, waiting.popleft())
            else:
                ray.kill(actor)
            if watch is not None:
                watch(task, 1, 1)
            yield task, pickle.loads(content)


def _start(cpus: int) -> None:
    import ray

    before = signal.getsignal(signal.SIGTERM)
    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False)
    else:
        ray.init(num_cpus=max(cpus, 1), include_dashboard=False, log_to_driver=False)
    # Ray's handler takes seconds; its processes end with this one anyway.
    if threading.current_thread() is threading.main_thread() and before is not None:
        signal.signal(signal.SIGTERM, before)


def _actor(threads: int, gpus: int) -> Any:
    import ray

    class Worker:
        def __init__(self) -> None:
            follow_parent()  # by itself it would notice the end of the cluster after seconds

        def work(self, module: str, name: str, arguments: bytes) -> tuple[str, Any]:
            return work(module, name, arguments, lambda done, total: None)

    environment = {
        **worker_environment(threads),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        **{name: value for name, value in os.environ.items() if name.startswith("LEAKREPRO_")},
        "LEAKREPRO_HOME": str(paths.home().absolute()),  # actors have another working folder
    }
    return (
        ray.remote(Worker)
        .options(num_cpus=threads, num_gpus=gpus, runtime_env={"env_vars": environment})
        .remote()
    )
