"""Run independent tasks side by side, each worker a Python of its own with few threads.

Small models are fastest with one thread each and several at a time. Workers are started as
commands of their own, not by ``multiprocessing``: they get their thread settings before torch is
imported, and a caller needs no ``if __name__ == "__main__"``, in a script or a notebook.

Importing torch and transformers takes a worker seconds. One whose tasks are done waits a while for
the next call from the same surroundings; what it holds that is large it lets go of (``Held``).
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import multiprocessing.connection as connections
import os
import pickle
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import Connection
from typing import Any, Generic, NamedTuple, TypeVar

from tqdm import tqdm

T = TypeVar("T")
Progress = Callable[[int, int], None]  # done, total
Watcher = Callable[[int, int, int], None]  # task, done, total

_PATIENCE = 60.0  # seconds that a worker waits for its next task


class WorkerError(RuntimeError):
    """A worker that died, or failed in a way that cannot be handed over."""


def run(
    function: Callable[..., T],
    arguments: Sequence[tuple[Any, ...]],
    *,
    workers: int,
    threads: int = 1,
    labels: Sequence[str] | None = None,
    unit: str = "step",
) -> list[T]:
    """Calls ``function(*arguments[i], progress)`` for every i and returns the results in order.

    Args:
        function: An importable function of a module; its last argument is a callable
            ``progress(done, total)`` that it may call as often as it likes.
        arguments: Picklable arguments, one tuple a task.
        workers: Tasks at the same time. 1 runs them here, one after the other.
        threads: CPU threads of torch a task.
        labels: One name a task; each task then has a bar of its own, without them there is one
            bar that counts tasks.
        unit: What a labelled task's progress counts.

    Raises:
        WorkerError: when a worker dies (killed, out of memory).
        Exception: the first error of a task, with the worker's traceback as its cause; the other
            tasks are stopped.
    """
    results: list[Any] = [None] * len(arguments)
    with contextlib.ExitStack() as stack:
        bars: list[Any] = []
        for label in labels or ():
            bars.append(stack.enter_context(tqdm(desc=label, unit=unit, total=None)))
        tasks = (
            None
            if labels is not None
            else stack.enter_context(tqdm(total=len(arguments), unit="task"))
        )

        def watch(task: int, done: int, total: int) -> None:
            if bars:
                bars[task].total = total
                bars[task].update(done - bars[task].n)

        finished = stream(function, arguments, workers=workers, threads=threads, watch=watch)
        for index, result in stack.enter_context(contextlib.closing(finished)):
            results[index] = result
            if tasks is not None:
                tasks.update()
    return results


def stream(
    function: Callable[..., T],
    arguments: Sequence[tuple[Any, ...]],
    *,
    workers: int,
    threads: int = 1,
    watch: Watcher | None = None,
) -> Generator[tuple[int, T]]:
    """As ``run``, but yields ``(index, result)`` as tasks finish and leaves progress to ``watch``.

    Closing the generator, an error or Ctrl-C ends the workers.
    """
    if workers < 1 or threads < 1:
        raise ValueError(f"workers and threads must be at least 1, not {workers} and {threads}")
    workers = min(workers, len(arguments))
    if workers <= 1:
        return _run_here(function, arguments, threads, watch)
    return _run_workers(importable(function), arguments, workers, threads, watch)


def _run_here(
    function: Callable[..., T],
    arguments: Sequence[tuple[Any, ...]],
    threads: int,
    watch: Watcher | None,
) -> Generator[tuple[int, T]]:
    # Not at the top: a worker, which takes its threads from the environment, may not need torch.
    import torch

    before = torch.get_num_threads()
    try:
        for index, task in enumerate(arguments):
            torch.set_num_threads(threads)
            yield index, function(*task, _reporter(index, watch))
    finally:
        torch.set_num_threads(before)


def _run_workers(
    name: tuple[str, str],
    arguments: Sequence[tuple[Any, ...]],
    workers: int,
    threads: int,
    watch: Watcher | None,
) -> Generator[tuple[int, Any]]:
    pool: list[_Worker] = []
    try:
        waiting = iter(enumerate(arguments))
        for _ in range(workers):
            worker = _take(threads)
            pool.append(worker)
            worker.give(name, *next(waiting))
        busy = {worker.pipe: worker for worker in pool}
        while busy:
            for pipe in connections.wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                index, kind, content = worker.receive()
                if kind == "progress":
                    if watch is not None:
                        watch(index, *content)
                    continue
                if kind == "error":
                    raise revive(*content)
                following = next(waiting, None)
                if following is None:
                    del busy[worker.pipe]
                    worker.rest()
                else:
                    worker.give(name, *following)
                yield index, pickle.loads(content)
        _resting.extend(pool)
        pool = []
    finally:
        _end(pool)


class Held(Generic[T]):
    """Opens a thing and keeps it, for the module of a task: a model stays loaded between tasks.

    Called with a key, returns ``open(*key)``. Only what was asked for last is kept, what was before
    is closed first, and a worker that has no task left closes it.
    """

    def __init__(
        self, open: Callable[..., T], close: Callable[[T], object] = lambda thing: None
    ) -> None:
        self._open, self._close = open, close
        self._things: dict[tuple[Any, ...], T] = {}  # one or none
        _held.append(self)

    def __call__(self, *key: Any) -> T:
        if key not in self._things:
            self.release()
            self._things[key] = self._open(*key)
        return self._things[key]

    def release(self) -> None:
        """Closes what is held."""
        while self._things:
            self._close(self._things.popitem()[1])


_held: list[Held[Any]] = []
_resting: list[_Worker] = []  # in its caller


def _take(threads: int) -> _Worker:
    """A worker that rests, where there is one from the same surroundings, or a new one."""
    surroundings = _Surroundings.now(threads)
    while _resting:
        worker = _resting.pop()
        if worker.surroundings == surroundings and worker.is_fresh():
            return worker
        _end([worker])
    return _Worker(surroundings)


@atexit.register
def _end_resting() -> None:
    _end(_resting)


def _end(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.end()


class _Surroundings(NamedTuple):
    """What a worker takes over from its caller when it starts."""

    process: int  # a fork of the caller has workers of its own
    environment: dict[str, str]
    path: list[str]
    folder: str

    @classmethod
    def now(cls, threads: int) -> _Surroundings:
        environment = os.environ | worker_environment(threads)
        return cls(os.getpid(), environment, list(sys.path), os.getcwd())


def worker_environment(threads: int) -> dict[str, str]:
    """What a worker finds in its environment before it imports anything."""
    return {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        # Threads that wait must not take the cores that other workers compute on.
        "OMP_WAIT_POLICY": "PASSIVE",
        # A tokenizer's own threads would come on top.
        "TOKENIZERS_PARALLELISM": "false",
        # Bars of several workers would write over another; the caller has one for all.
        "TQDM_DISABLE": "1",
    }


class _Worker:
    """The calling process's end of one worker."""

    def __init__(self, surroundings: _Surroundings) -> None:
        self.surroundings = surroundings
        self.pipe, theirs = connections.Pipe()
        command = (
            "import pickle, sys; from multiprocessing.connection import Connection; "
            f"pipe = Connection({theirs.fileno()}); sys.path[:] = pipe.recv(); "
            "from leakrepro.execution.local import _serve; _serve(pipe)"
        )
        try:
            # In a session of its own, so that Ctrl-C reaches the caller alone, which ends it.
            self.process = subprocess.Popen(
                [sys.executable, "-c", command],
                pass_fds=[theirs.fileno()],
                env=surroundings.environment,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        finally:
            theirs.close()
        self._send(surroundings.path)

    def give(self, name: tuple[str, str], index: int, arguments: tuple[Any, ...]) -> None:
        self._send((*name, index, pickle.dumps(arguments)))

    def rest(self) -> None:
        with contextlib.suppress(WorkerError):  # it has done what it had to do
            self._send(_REST)

    def is_fresh(self) -> bool:
        """Whether it is alive and runs the code that it would run had it just been started."""
        try:
            self._send(_FRESH)
            return bool(self.pipe.recv())
        except (WorkerError, EOFError, OSError):
            return False

    def receive(self) -> tuple[int, str, Any]:
        try:
            message: tuple[int, str, Any] = self.pipe.recv()
        except (EOFError, OSError) as error:
            raise self._died() from error
        return message

    def end(self) -> None:
        self.pipe.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _send(self, content: Any) -> None:
        try:
            self.pipe.send(content)
        except OSError as error:
            raise self._died() from error

    def _died(self) -> WorkerError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5)
        code = self.process.returncode
        how = "ended" if code is None or code >= 0 else f"was killed by signal {-code}"
        hint = "; it may have run out of memory" if code == -9 else ""
        return WorkerError(f"a worker {how} before its task was done (exit code {code}){hint}")


_REST, _FRESH = "rest", "fresh?"  # what a worker hears besides tasks


def _serve(pipe: Connection) -> None:
    """A worker's life: tasks come, progress and results go, until the caller closes the pipe."""
    started = time.time()
    with contextlib.suppress(EOFError, OSError):
        while pipe.poll(_PATIENCE):
            message = pipe.recv()
            if message == _FRESH:
                pipe.send(not _edited_since(started))
            elif message == _REST:
                for held in _held:
                    held.release()
                if _on_gpu():
                    return  # only its end gives back all of the GPU's memory
            else:
                module, name, index, arguments = message
                pipe.send((index, *work(module, name, arguments, _sender(index, pipe))))


def _edited_since(started: float) -> bool:
    """Whether the file of a module that this process has imported has changed."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__dict__", {}).get("__file__")
        with contextlib.suppress(OSError, TypeError):
            if file is not None and os.stat(file).st_mtime > started:
                return True
    return False


def _on_gpu() -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and torch.cuda.is_initialized()


def work(module: str, name: str, arguments: bytes, progress: Progress) -> tuple[str, Any]:
    """A worker's one task: ``("result", bytes)``, or ``("error", what revive takes)``."""
    try:
        function = getattr(importlib.import_module(module), name)
        return "result", pickle.dumps(function(*pickle.loads(arguments), progress))
    except Exception as error:
        return "error", _dump(error)


def _sender(index: int, pipe: Connection) -> Progress:
    def report(done: int, total: int) -> None:
        pipe.send((index, "progress", (done, total)))

    return report


def _dump(error: Exception) -> tuple[bytes | None, str]:
    """An exception as bytes where it survives pickling, and its traceback as text."""
    text = "".join(traceback.format_exception(error))
    try:
        content = pickle.dumps(error)
        pickle.loads(content)
    except Exception:
        # Exceptions of other packages may refuse to be pickled or rebuilt in any way they like.
        return None, text
    return content, text


def revive(content: bytes | None, text: str) -> BaseException:
    """A worker's exception, with its traceback there as the cause."""
    cause = WorkerError(f"in a worker:\n{text}")
    if content is None:
        return cause
    error: BaseException = pickle.loads(content)
    error.__cause__ = cause
    return error


def _reporter(index: int, watch: Watcher | None) -> Progress:
    def report(done: int, total: int) -> None:
        if watch is not None:
            watch(index, done, total)

    return report


def importable(function: Callable[..., Any]) -> tuple[str, str]:
    """Module and name of a function, by which a worker finds it."""
    module, name = function.__module__, function.__qualname__
    if module == "__main__" or "." in name or "<" in name:
        raise ValueError(
            f"{module}.{name} cannot run in a worker: it must be a function of an importable "
            "module, not of a notebook, a script, or another function"
        )
    return module, name
