"""Workers: results in order, errors that arrive, and no process left behind."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tasks import (
    UnpicklableError,
    die,
    fail_on_three,
    fail_with_unpicklable_error,
    hold,
    initialise_gpu,
    square,
    worker_settings,
)

from leakrepro.execution import local

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("labels", [None, ["a", "b", "c", "d", "e"]])
def test_results_come_in_the_order_of_the_arguments(
    workers: int, labels: list[str] | None, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [(i,) for i in range(5)]
    assert local.run(square, arguments, workers=workers, labels=labels) == [0, 1, 4, 9, 16]
    bars = capfd.readouterr().err
    assert ("5/5" in bars) if labels is None else ("e: 100%" in bars and "3/3" in bars)


def test_stream_reports_progress_by_task() -> None:
    seen: list[tuple[int, int, int]] = []
    results = local.stream(
        square, [(2,), (3,)], workers=2, watch=lambda *report: seen.append(report)
    )
    assert sorted(results) == [(0, 4), (1, 9)]
    for task in (0, 1):
        assert [report for report in seen if report[0] == task] == [(task, i, 3) for i in (1, 2, 3)]


def test_workers_are_other_processes_with_their_own_threads() -> None:
    found = local.run(worker_settings, [(0,), (1,)], workers=2, threads=2)
    assert [(threads, policy) for threads, policy, _ in found] == [(2, "PASSIVE")] * 2
    assert len({pid for _, _, pid in found} | {str(os.getpid())}) == 3


def test_running_here_sets_threads_and_puts_them_back() -> None:
    before = torch.get_num_threads()
    ((threads, _, pid),) = local.run(worker_settings, [(0,)], workers=4, threads=before + 1)
    assert (threads, pid) == (before + 1, str(os.getpid()))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_failure_is_raised_as_itself(workers: int) -> None:
    with pytest.raises(ValueError, match="three is refused") as caught:
        local.run(fail_on_three, [(i,) for i in range(50)], workers=workers)
    if workers > 1:
        assert "in fail_on_three" in str(caught.value.__cause__)


def test_an_error_that_cannot_be_rebuilt_still_brings_its_traceback() -> None:
    with pytest.raises(local.WorkerError, match=r"UnpicklableError: this and that"):
        local.run(fail_with_unpicklable_error, [(0,), (1,)], workers=2)
    with pytest.raises(UnpicklableError):
        local.run(fail_with_unpicklable_error, [(0,)], workers=1)


def test_a_killed_worker_is_an_error_and_ends_the_others() -> None:
    start = time.monotonic()
    with pytest.raises(local.WorkerError, match="killed by signal 9"):
        local.run(die, [(0,), (1,)], workers=2)
    assert time.monotonic() - start < 50


def test_functions_that_a_worker_cannot_import_are_refused() -> None:
    def inner(progress: local.Progress) -> None:
        progress(1, 1)

    with pytest.raises(ValueError, match="importable module"):
        local.run(inner, [(), ()], workers=2)
    with pytest.raises(ValueError, match="at least 1"):
        local.run(square, [(1,)], workers=0)


class TestHeld:
    def test_only_the_last_is_kept(self) -> None:
        events: list[str] = []

        def open_(name: str, size: int = 0) -> str:
            events.append(f"open {name}")
            return name

        held = local.Held(open_, lambda name: events.append(f"close {name}"))
        assert [held("a"), held("a"), held("b"), held("a", 1)] == ["a", "a", "b", "a"]
        # The first is closed before the second is opened.
        assert events == ["open a", "close a", "open b", "close b", "open a"]
        held.release()
        held.release()
        assert events[-2:] == ["open a", "close a"]

    def test_what_cannot_be_opened_leaves_nothing(self) -> None:
        closed: list[int] = []
        held = local.Held(int, closed.append)
        held("7")
        with pytest.raises(ValueError, match="seven"):
            held("seven")
        assert closed == [7]
        assert held("8") == 8


class TestIdle:
    def test_workers_are_reused_and_release_what_they_cache(self) -> None:
        first = local.run(hold, [(i,) for i in range(4)], workers=2)
        again = local.run(hold, [(i,) for i in range(4)], workers=2)
        workers = {pid for pid, _ in first}
        assert len(workers) == 2
        assert {pid for pid, _ in again} == workers
        # A worker keeps its cached object between tasks, and closes it after the call.
        assert sorted(before is None for _, before in first) == [False, False, True, True]
        assert sorted(before is None for _, before in again) == [False, False, True, True]

    @pytest.mark.parametrize("change", ["environment", "folder", "path", "threads", "code"])
    def test_another_environment_takes_other_workers(
        self, change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(tmp_path)
        module = tmp_path / "edited_task.py"
        module.write_text(
            "def task(_, progress):\n    import os, time\n    time.sleep(0.2)\n"
            "    return os.getpid(), 'old'\n"
        )
        task = importlib.import_module("edited_task").task
        try:
            first = local.run(task, [(0,), (1,)], workers=2)
            if change == "environment":
                monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path))
            elif change == "folder":
                monkeypatch.chdir(tmp_path)
            elif change == "path":
                monkeypatch.syspath_prepend(tmp_path / "more")
            elif change == "code":
                module.write_text(module.read_text().replace("old", "new"))
                # Written in the second in which it was compiled, it would count as unchanged.
                os.utime(module, (time.time() + 5, time.time() + 5))
            again = local.run(task, [(0,), (1,)], workers=2, threads=1 + (change == "threads"))
        finally:
            del sys.modules["edited_task"]
        assert not {pid for pid, _ in first} & {pid for pid, _ in again}
        assert {text for _, text in again} == {"new" if change == "code" else "old"}
        assert not any(_lives(pid) for pid, _ in first)

    def test_a_worker_that_died_while_idle_is_replaced(self) -> None:
        first = local.run(hold, [(0,), (1,)], workers=2)
        for pid, _ in first:
            os.kill(pid, signal.SIGKILL)
        again = local.run(hold, [(0,), (1,)], workers=2)
        assert not {pid for pid, _ in first} & {pid for pid, _ in again}

    def test_after_an_error_no_worker_is_idle(self) -> None:
        local.run(hold, [(0,), (1,)], workers=2)
        with pytest.raises(ValueError, match="three is refused"):
            local.run(fail_on_three, [(i,) for i in range(50)], workers=2)
        assert local._idle == []

    def test_a_worker_that_has_used_a_gpu_gives_it_back(self) -> None:
        pids = local.run(initialise_gpu, [(0,), (1,)], workers=2)
        for worker in local._idle:
            worker.process.wait(timeout=60)
        assert not set(local.run(initialise_gpu, [(0,), (1,)], workers=2)) & set(pids)

    @pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), signal.SIGKILL)"])
    def test_workers_end_with_their_caller(self, end: str) -> None:
        script = (
            "import os, signal; from leakrepro.execution import local; from tasks import hold\n"
            "print(*(pid for pid, _ in local.run(hold, [(0,), (1,)], workers=2)), flush=True)\n"
        )
        command = [sys.executable, "-c", script + end]
        done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=False)
        pids = [int(pid) for pid in done.stdout.split()]
        assert len(pids) == 2
        for pid in pids:
            _wait(lambda pid=pid: not _lives(pid))

    def test_an_idle_worker_exits(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(local, "_IDLE_SECONDS", 0.05)
        ours, theirs = multiprocessing.Pipe()
        with ours, theirs:
            local._serve(theirs)  # returns


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_no_tasks_is_no_work() -> None:
    assert local.run(square, [], workers=2) == []


def test_ctrl_c_ends_the_workers_of_a_script_without_main_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(TESTS)!r})\n"
        "from leakrepro.execution import local\n"
        "from tasks import sleep_long\n"
        f"local.run(sleep_long, [({str(tmp_path)!r}, 0), ({str(tmp_path)!r}, 1)], workers=2)\n",
        encoding="utf-8",
    )
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts background jobs with Ctrl-C ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    files = [tmp_path / "0", tmp_path / "1"]
    _wait(lambda: all(file.exists() and file.read_text() for file in files))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert "KeyboardInterrupt" in errors
    for file in files:
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.read_text(encoding="utf-8")), 0)


def _wait(condition: object, seconds: float = 60) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.05)


def test_a_worker_that_ended_is_reaped() -> None:
    pids = [pid for pid, _ in local.run(hold, [(0,), (1,)], workers=2)]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:  # a zombie would live for os.kill
        _wait(lambda pid=pid: not _lives(pid), seconds=5)


def test_tasks_apart_never_run_here_and_keep_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    ((_, (_, policy, pid)),) = local.apart(worker_settings, [(0,)], workers=2)
    assert (policy, pid != str(os.getpid())) == (os.environ.get("OMP_WAIT_POLICY", ""), True)
    assert list(local.apart(worker_settings, [], workers=2)) == []


LIMITED = """
import os, resource
from leakrepro.errors import WorkerError
from leakrepro.execution import local
from tasks import square
used = len(os.listdir("/proc/self/fd"))
limit = used + {more}
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
try:
    print(local.run(square, [(2,), (3,)], workers=2))
except WorkerError as error:
    print("refused:", error)
"""


@pytest.mark.parametrize("more", range(6))
def test_too_few_files_for_workers_is_one_clear_error(more: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED.format(more=more)],
        cwd=TESTS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("refused: a worker process could not be started: [Errno 24]")
    assert "Use fewer workers, or raise the limits" in done.stdout


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from leakrepro.execution import local
from tasks import square

class Mine:
    pass

print(local.run(square, [(2,), (3,)], workers=2))
print(sorted(local.apart(square, [(2,), (3,)], workers=2)))
for argument in (Mine(), lambda: 0):
    try:
        local.run(square, [(argument,), (argument,)], workers=2)
    except ValueError as error:
        print("refused:", error)
"""


def test_scripts_without_main_guard_run_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=str(TESTS)))
    command = [sys.executable, str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["[4, 9]", "[(0, 4), (1, 9)]"]
    assert len(lines) == 4
    for line in lines[2:]:
        assert line.startswith("refused: a")
        assert "top level of an importable module" in line
