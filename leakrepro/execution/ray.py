"""Independent tasks on a Ray cluster: as ``execution.local``, on as many machines as there are.

Every worker is a Ray actor. One that is lost takes its task with it: the task is done again on a
new actor, so that a run ends as one that lost nobody.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from leakrepro.errors import require
from leakrepro.execution.local import (
    Watcher,
    WorkerError,
    importable,
    revive,
    work,
    worker_environment,
)

T = TypeVar("T")

_LOSSES = 3  # workers that one task may cost before it is taken for the reason


def stream(
    function: Callable[..., T],
    arguments: Sequence[tuple[Any, ...]],
    *,
    workers: int,
    threads: int = 1,
    watch: Watcher | None = None,
    gpus: int = 0,
) -> Generator[tuple[int, T]]:
    """Yields ``(index, function(*arguments[index], progress))`` as tasks finish.

    A cluster that the caller or ``RAY_ADDRESS`` has chosen is used; else one is started on this
    machine and ended with the last task.

    Args:
        function: As in ``leakrepro.execution.local.run``; it must be importable on every machine,
            and folders among its arguments must be seen there.
        arguments: Picklable, one tuple a task.
        workers: Actors at the same time.
        threads: CPUs an actor.
        watch: Called once a task, when it is done.
        gpus: GPUs an actor, where the cluster has any.

    Raises:
        MissingExtra: when Ray is not installed.
        WorkerError: when one task has lost three workers.
        Exception: the first error of a task, with the worker's traceback as its cause.
    """
    if workers < 1 or threads < 1:
        raise ValueError(f"workers and threads must be at least 1, not {workers} and {threads}")
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
        busy: dict[Any, tuple[int, Any]] = {}  # reference of a result -> task and its actor

        def give(actor: Any, task: int) -> None:
            content = ray.put(pickle.dumps(arguments[task]))
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
                        f"task {task} has lost {_LOSSES} workers (out of memory?): {error}"
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

    if os.environ.get("RAY_ADDRESS"):
        ray.init(log_to_driver=False)
    else:
        ray.init(num_cpus=max(cpus, 1), include_dashboard=False, log_to_driver=False)


def _actor(threads: int, gpus: int) -> Any:
    import ray

    class Worker:
        def work(self, module: str, name: str, arguments: bytes) -> tuple[str, Any]:
            return work(module, name, arguments, lambda done, total: None)

    environment = {
        **worker_environment(threads),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        **{name: value for name, value in os.environ.items() if name.startswith("LEAKREPRO_")},
    }
    return (
        ray.remote(Worker)
        .options(num_cpus=threads, num_gpus=gpus, runtime_env={"env_vars": environment})
        .remote()
    )
