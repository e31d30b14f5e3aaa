"""Child processes that end with their parent, however the parent ends.

Each child has a pipe of its own: the parent holds the write end, the child the read end. When the
parent ends, even by SIGKILL, the system closes the write end, and the child's process group is
killed. On Linux the kernel sends this signal itself, so native code that holds the interpreter's
lock does not delay it. On other systems a thread waits for the end of the pipe.

``PR_SET_PDEATHSIG`` is not used: it follows the thread that started the child, and a pool of
workers outlives such threads.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

from leakrepro.errors import WorkerError


def cannot_start(error: Exception) -> WorkerError:
    """The error for a process, or something that it needs, that the system refuses."""
    return WorkerError(
        f"a worker process could not be started: {error}. Use fewer workers, or raise the limits "
        "of open files (ulimit -n) and processes (ulimit -u)"
    )


class Lifeline:
    """The parent's side of the pipe of one child.

    Start the child with ``start_new_session=True`` and ``pass_fds=[lifeline.child_end]``, make it
    call ``follow(child_end)`` first, and then call ``started``.

    Raises:
        WorkerError: when no file can be opened.
    """

    def __init__(self) -> None:
        try:
            self.child_end, self._end = os.pipe()
        except OSError as error:
            raise cannot_start(error) from error
        _held.add(self)

    def started(self) -> None:
        """Closes this process's copy of the child's end."""
        self.child_end = _close(self.child_end)

    def cut(self) -> None:
        """Kills the child and its process group, as the end of this process does."""
        self.started()
        self._end = _close(self._end)
        _held.discard(self)


_held: weakref.WeakSet[Lifeline] = weakref.WeakSet()  # of this process


def _close(descriptor: int) -> int:
    if descriptor >= 0:
        os.close(descriptor)
    return -1


def _forget() -> None:
    """Closes a forked child's copies, so that the children do not outlive their true parent."""
    for line in list(_held):
        line.cut()


os.register_at_fork(after_in_child=_forget)


def follow(child_end: int) -> None:
    """Makes this process and its process group end with its parent. Called once, at its start.

    Args:
        child_end: The file descriptor that the parent passed.
    """
    os.set_inheritable(child_end, False)
    if sys.platform == "linux":
        fcntl.fcntl(child_end, fcntl.F_SETOWN, -os.getpgrp() if _is_leader() else os.getpid())
        fcntl.fcntl(child_end, fcntl.F_SETSIG, signal.SIGKILL)
        flags = fcntl.fcntl(child_end, fcntl.F_GETFL)
        fcntl.fcntl(child_end, fcntl.F_SETFL, flags | os.O_ASYNC)
    # Also on Linux: the parent may have ended before the lines above.
    threading.Thread(target=_end_with, args=(child_end,), daemon=True).start()


def follow_parent() -> None:
    """Makes this process end with its parent, which did not pass a lifeline (Ray's raylet)."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


_POLL_SECONDS = 0.2


def _end_with(child_end: int) -> None:
    os.read(child_end, 1)  # nothing is ever written: it returns when the write end is closed
    if _is_leader():
        os.killpg(0, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _is_leader() -> bool:
    """Whether the process group consists of this process and processes that it started."""
    return os.getpgrp() == os.getpid()


@contextlib.contextmanager
def ends_in_order() -> Iterator[None]:
    """Makes SIGTERM, SIGHUP and Ctrl-C run the ``finally`` blocks here, then end the process.

    The exit status is 128 plus the signal's number. A second signal ends the process at once.
    Signals that the process ignores (``nohup``) stay ignored. Only for the main thread.
    """
    before: dict[int, Any] = {}

    def end(number: int, frame: object) -> None:
        for each in before:
            signal.signal(each, signal.SIG_DFL)
        raise _Signalled(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            before[number] = signal.signal(number, end)
    try:
        yield
    except _Signalled as end_of_run:
        # The interpreter's own end takes seconds once torch is imported.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(end_of_run.status)
    finally:
        for held, handler in before.items():
            signal.signal(held, handler)


class _Signalled(BaseException):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status
