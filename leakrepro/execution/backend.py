"""Where work runs: the sampling engine, the executor, the workers and their threads."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

EXECUTORS = ("local", "ray")
_REPLACED = ("engine", "executor", "workers")  # keywords of functions that now take a backend


@dataclass(frozen=True)
class Backend:
    """How samples are drawn and tasks run. Results do not depend on the executor or the workers.

    >>> Backend(workers=2).executor
    'local'

    Attributes:
        engine: Sampling engine: ``"hf"``, ``"vllm"``, or one with options
            (``leakrepro.HFOptions``, ``leakrepro.VLLMOptions``).
        executor: ``"local"``: processes of this machine. ``"ray"``: actors of a Ray cluster.
        workers: Processes or actors at the same time.
        threads: CPU threads of torch per worker. None: this process's threads, shared among local
            workers; 1 per Ray actor.

    Raises:
        ValueError: for an unknown executor, and for workers or threads below 1.
    """

    engine: Any = "hf"
    executor: str = "local"
    workers: int = 1
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            known = ", ".join(EXECUTORS)
            raise ValueError(f"unknown executor {self.executor!r}; known are {known}")
        if self.workers < 1:
            raise ValueError(f"workers must be at least 1, not {self.workers}")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads must be at least 1 or None, not {self.threads}")

    def threads_per_worker(self) -> int:
        """CPU threads of torch that each worker gets."""
        if self.threads is not None:
            return self.threads
        if self.executor != "local":
            return 1
        import torch

        return max(1, torch.get_num_threads() // self.workers)


def takes_backend(function: Callable[P, T]) -> Callable[P, T]:
    """Makes a call with one of the keywords that ``backend=`` replaced an error that says so.

    Raises:
        TypeError: for ``engine=``, ``executor=`` or ``workers=``.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        if old := [name for name in _REPLACED if name in kwargs]:
            given = ", ".join(f"{name}={kwargs[name]!r}" for name in old)
            name = function.__qualname__.removesuffix(".__init__")
            raise TypeError(f"{name}() takes backend=leakrepro.Backend({given}), not {given}")
        return function(*args, **kwargs)

    return call
