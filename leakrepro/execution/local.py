"""Independent tasks in parallel worker processes with few threads each.

Several small models in parallel, with one thread each, are faster than one model with several
threads. Workers are started with ``subprocess``, not with ``multiprocessing``: they get their
thread settings before torch is imported, and scripts and notebooks do not need
``if __name__ == "__main__"``.

A worker takes seconds to import torch and transformers. After its last task it therefore waits for
the next call from the same environment. Meanwhile it frees the large objects that it caches
(``Held``). A worker and everything that it started end with the caller, however the caller ends.
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
import threading
import time
import traceback
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import Connection
from typing import Any, Generic, NamedTuple, TypeVar

from tqdm import tqdm

from leakrepro.errors import WorkerError as WorkerError
from leakrepro.execution.lifetime import Lifeline, cannot_start

T = TypeVar("T")
Progress = Callable[[int, int], None]  # done, total
Watcher = Callable[[int, int, int], None]  # task, done, total

_IDLE_SECONDS = 60.0  # after which a worker without a task exits


def run(
    function: Callable[..., T],
    arguments: Sequence[tuple[Any, ...]],
    *,
    workers: int,
    threads: int = 1,
    labels: Sequence[str] | None = None,
    unit: str = "step",
) -> list[T]:
    """Call ``function(*arguments[i], progress)`` for every i and return the results in order.

    Args:
        function: An importable function of a module; its last argument is a callable
            ``progress(done, total)``, which it may call any number of times.
        arguments: Picklable arguments, one tuple per task.
        workers: Maximum number of tasks at the same time. With 1, tasks run one after another in
            this process.
        threads: CPU threads of torch per task.
        labels: One name per task, to show one progress bar per task. Without labels, one bar counts
            finished tasks.
        unit: Unit of the progress of a labelled task.

    Raises:
        ValueError: If ``workers`` or ``threads`` is below 1, or a worker cannot import
            ``function``.
        WorkerError: If a worker cannot be started, or dies (killed, out of memory).
        Exception: The first error of a task, with the worker's traceback as its cause; the other
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
    """Yield ``(index, function(*arguments[index], progress))`` as tasks finish.

    Closing the generator, an error, or Ctrl-C stops the workers.

    Args:
        function: An importable function of a module; its last argument is a callable
            ``progress(done, total)``, which it may call any number of times.
        arguments: Picklable arguments, one tuple per task.
        workers: Maximum number of tasks at the same time. With 1, tasks run one after another in
            this process.
        threads: CPU threads of torch per task.
        watch: Called as ``watch(task, done, total)`` when a task reports progress.

    Raises:
        ValueError: If ``workers`` or ``threads`` is below 1, or a worker cannot import
            ``function``.
        WorkerError: If a worker cannot be started, or dies (killed, out of memory).
        Exception: The first error of a task, with the worker's traceback as its cause.
    """
    if workers < 1 or threads < 1:
        raise ValueError(f"workers and threads must be at least 1, got {workers} and {threads}")
    workers = min(workers, len(arguments))
    if workers <= 1:
        return _run_here(function, arguments, threads, watch)
    return _run_workers(importable(function), arguments, workers, threads, watch)


def apart(
    function: Callable[..., T], arguments: Sequence[tuple[Any, ...]], *, workers: int
) -> Generator[tuple[int, T]]:
    """Yield results as ``stream``, but never run a task in this process.

    Tasks get this process's environment variables as they are; no threads are set.

    Args:
        function: As for ``stream``; it gets a ``progress`` that nobody watches.
        arguments: Picklable arguments, one tuple per task.
        workers: Maximum number of tasks at the same time, at least 1.

    Raises:
        ValueError: If a worker cannot import ``function``.
        WorkerError: If a worker cannot be started, or dies (killed, out of memory).
        Exception: The first error of a task, with the worker's traceback as its cause.
    """
    return _run_workers(
        importable(function), arguments, min(workers, len(arguments)), threads=None, watch=None
    )


def _run_here(
    function: Callable[..., T],
    arguments: Sequence[tuple[Any, ...]],
    threads: int,
    watch: Watcher | None,
) -> Generator[tuple[int, T]]:
    # Imported here because a worker does not need torch to set its threads.
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
    threads: int | None,
    watch: Watcher | None,
) -> Generator[tuple[int, Any]]:
    pool: list[_Worker] = []
    try:
        waiting = iter(enumerate(arguments))
        for _ in range(workers):
            worker = _idle_or_new(threads)
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
                    worker.release()
                else:
                    worker.give(name, *following)
                yield index, pickle.loads(content)
        _idle.extend(pool)
        pool = []
    finally:
        _stop(pool)


class Held(Generic[T]):
    """Cache of one object, for example a model that stays loaded between tasks.

    A call with a key returns ``open(*key)``, or the cached object if the last call had the same
    key. A new key closes the cached object before it opens the next one. A worker closes the cached
    object after its last task. Instances belong at the top level of the module of the task.

    Args:
        open: Opens the object of a key.
        close: Closes an object.
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
        """Close the cached object, if any."""
        while self._things:
            self._close(self._things.popitem()[1])


_held: list[Held[Any]] = []  # all caches of this process
_idle: list[_Worker] = []  # workers of this process that do not have a task


def _idle_or_new(threads: int | None) -> _Worker:
    """Return an idle worker with the present environment, or start a new one."""
    environment = _Environment.present(threads)
    while _idle:
        worker = _idle.pop()
        if worker.environment == environment and worker.is_current():
            return worker
        _stop([worker])
    return _Worker(environment)


@atexit.register
def _stop_idle() -> None:
    _stop(_idle)


def _stop(workers: list[_Worker]) -> None:
    mine = [worker for worker in workers if worker.environment.process == os.getpid()]
    for worker in mine:
        worker.lifeline.cut()
        worker.process.kill()  # it may not have followed its lifeline yet
    for worker in mine:
        worker.join()


class _Environment(NamedTuple):
    """Everything that a worker inherits from its caller when it starts."""

    process: int  # a fork of the caller must not use the caller's workers
    variables: dict[str, str]
    path: list[str]
    folder: str

    @classmethod
    def present(cls, threads: int | None) -> _Environment:
        variables = dict(os.environ)
        if threads is not None:
            variables |= worker_environment(threads)
        return cls(os.getpid(), variables, list(sys.path), os.getcwd())


def worker_environment(threads: int) -> dict[str, str]:
    """Return the environment variables that a worker needs before it imports anything."""
    return {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        # Waiting threads must not occupy cores that other workers use.
        "OMP_WAIT_POLICY": "PASSIVE",
        # The threads of a tokenizer would come in addition.
        "TOKENIZERS_PARALLELISM": "false",
        # Progress bars of several workers would overwrite each other; the caller shows them.
        "TQDM_DISABLE": "1",
    }


class _Worker:
    """Handle of one worker process in the calling process."""

    def __init__(self, environment: _Environment) -> None:
        self.environment = environment
        with contextlib.ExitStack() as stack:
            try:
                self.pipe, theirs = connections.Pipe()
                stack.callback(theirs.close)
                self.lifeline = Lifeline()
                stack.callback(self.lifeline.started)
                self.process = _start(theirs.fileno(), self.lifeline.child_end, environment)
                # It ends by itself when it is idle for long; without a wait it would stay a zombie.
                threading.Thread(target=self.process.wait, daemon=True).start()
            except WorkerError:
                raise
            except (OSError, RuntimeError) as error:
                if hasattr(self, "lifeline"):
                    self.lifeline.cut()
                raise cannot_start(error) from error
        self._send(environment.path)

    def give(self, name: tuple[str, str], index: int, arguments: tuple[Any, ...]) -> None:
        self._send((*name, index, pickled(arguments)))

    def release(self) -> None:
        """Make the worker close the objects that it caches."""
        with contextlib.suppress(WorkerError):  # its tasks are done, so its death does not matter
            self._send(_RELEASE)

    def is_current(self) -> bool:
        """Return whether it is alive and no imported source file has changed since it started."""
        try:
            self._send(_IS_CURRENT)
            return bool(self.pipe.recv())
        except (WorkerError, EOFError, OSError):
            return False

    def receive(self) -> tuple[int, str, Any]:
        try:
            message: tuple[int, str, Any] = self.pipe.recv()
        except (EOFError, OSError) as error:
            raise self._died() from error
        return message

    def join(self) -> None:
        self.pipe.close()
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


def _start(pipe: int, child_end: int, environment: _Environment) -> subprocess.Popen[bytes]:
    command = (
        "import pickle, sys; from multiprocessing.connection import Connection; "
        f"pipe = Connection({pipe}); sys.path[:] = pipe.recv(); "
        f"from leakrepro.execution.lifetime import follow; follow({child_end}); "
        "from leakrepro.execution.local import _serve; _serve(pipe)"
    )
    # In its own session, so that Ctrl-C reaches only the caller, which stops the worker.
    return subprocess.Popen(
        [sys.executable, "-c", command],
        pass_fds=[pipe, child_end],
        env=environment.variables,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


_RELEASE, _IS_CURRENT = "release", "is current"  # messages to a worker that are not tasks


def _serve(pipe: Connection) -> None:
    """Run tasks in a worker, until the caller closes the pipe or the worker is idle for long."""
    started = time.time()
    with contextlib.suppress(EOFError, OSError):
        while pipe.poll(_IDLE_SECONDS):
            message = pipe.recv()
            if message == _IS_CURRENT:
                pipe.send(not _edited_since(started))
            elif message == _RELEASE:
                for held in _held:
                    held.release()
                if _on_gpu():
                    return  # only the end of the process frees all GPU memory
            else:
                module, name, index, arguments = message
                pipe.send((index, *work(module, name, arguments, _sender(index, pipe))))


def _edited_since(started: float) -> bool:
    """Return whether the file of any imported module has changed since this time."""
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
    """Run one task in a worker.

    Returns:
        ``("result", bytes)``, or ``("error", arguments of revive)``.
    """
    try:
        function = getattr(importlib.import_module(module), name)
        return "result", pickle.dumps(function(*_loaded(arguments), progress))
    except Exception as error:
        return "error", _dump(error)


def pickled(arguments: tuple[Any, ...]) -> bytes:
    """Return the arguments of a task as bytes.

    Raises:
        ValueError: If an argument cannot be sent to another process.
    """
    try:
        return pickle.dumps(arguments)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(f"an argument cannot be sent to a worker: {error}. {_REMEDY}") from error


def _loaded(arguments: bytes) -> tuple[Any, ...]:
    try:
        loaded: tuple[Any, ...] = pickle.loads(arguments)
    except (AttributeError, ImportError) as error:
        raise ValueError(f"a worker cannot load an argument: {error}. {_REMEDY}") from error
    return loaded


_REMEDY = (
    "Define its class or function at the top level of an importable module, not in a script or "
    "notebook, or use one worker"
)


def _sender(index: int, pipe: Connection) -> Progress:
    def report(done: int, total: int) -> None:
        pipe.send((index, "progress", (done, total)))

    return report


def _dump(error: Exception) -> tuple[bytes | None, str]:
    """Return an exception as bytes, or None if it cannot be pickled, and its traceback as text."""
    text = "".join(traceback.format_exception(error))
    try:
        content = pickle.dumps(error)
        pickle.loads(content)
    except Exception:
        # Pickling an exception of another package may raise any error.
        return None, text
    return content, text


def revive(content: bytes | None, text: str) -> BaseException:
    """Return the exception of a worker, with the worker's traceback as its cause."""
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
    """Return the module and the name of a function, with which a worker imports it.

    Raises:
        ValueError: If the function belongs to a notebook, a script or another function.
    """
    module, name = function.__module__, function.__qualname__
    if module == "__main__" or "." in name or "<" in name:
        raise ValueError(
            f"{module}.{name} cannot run in a worker: it must be a function of an importable "
            "module, not of a notebook, a script, or another function"
        )
    return module, name
