"""Workers: results in order, errors that arrive, and no process left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tasks import (
    Stubborn,
    die,
    fail_on_three,
    fail_stubbornly,
    square,
    surroundings,
)

from leakrepro import parallel

TESTS = Path(__file__).parent


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("labels", [None, ["a", "b", "c", "d", "e"]])
def test_results_come_in_the_order_of_the_arguments(
    workers: int, labels: list[str] | None, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [(i,) for i in range(5)]
    assert parallel.run(square, arguments, workers=workers, labels=labels) == [0, 1, 4, 9, 16]
    bars = capfd.readouterr().err
    assert ("5/5" in bars) if labels is None else ("e: 100%" in bars and "3/3" in bars)


def test_stream_reports_progress_by_task() -> None:
    seen: list[tuple[int, int, int]] = []
    results = parallel.stream(
        square, [(2,), (3,)], workers=2, watch=lambda *report: seen.append(report)
    )
    assert sorted(results) == [(0, 4), (1, 9)]
    for task in (0, 1):
        assert [report for report in seen if report[0] == task] == [(task, i, 3) for i in (1, 2, 3)]


def test_workers_are_other_processes_with_their_own_threads() -> None:
    found = parallel.run(surroundings, [(0,), (1,)], workers=2, threads=2)
    assert [(threads, policy) for threads, policy, _ in found] == [(2, "PASSIVE")] * 2
    assert len({pid for _, _, pid in found} | {str(os.getpid())}) == 3


def test_running_here_sets_threads_and_puts_them_back() -> None:
    before = torch.get_num_threads()
    ((threads, _, pid),) = parallel.run(surroundings, [(0,)], workers=4, threads=before + 1)
    assert (threads, pid) == (before + 1, str(os.getpid()))
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_failure_is_raised_as_itself(workers: int) -> None:
    with pytest.raises(ValueError, match="three is refused") as caught:
        parallel.run(fail_on_three, [(i,) for i in range(50)], workers=workers)
    if workers > 1:
        assert "in fail_on_three" in str(caught.value.__cause__)


def test_an_error_that_cannot_be_rebuilt_still_brings_its_traceback() -> None:
    with pytest.raises(parallel.WorkerError, match=r"Stubborn: this and that"):
        parallel.run(fail_stubbornly, [(0,), (1,)], workers=2)
    with pytest.raises(Stubborn):
        parallel.run(fail_stubbornly, [(0,)], workers=1)


def test_a_killed_worker_is_an_error_and_ends_the_others() -> None:
    start = time.monotonic()
    with pytest.raises(parallel.WorkerError, match="killed by signal 9"):
        parallel.run(die, [(0,), (1,)], workers=2)
    assert time.monotonic() - start < 50


def test_functions_that_a_worker_cannot_import_are_refused() -> None:
    def local(progress: parallel.Progress) -> None:
        progress(1, 1)

    with pytest.raises(ValueError, match="importable module"):
        parallel.run(local, [(), ()], workers=2)
    with pytest.raises(ValueError, match="at least 1"):
        parallel.run(square, [(1,)], workers=0)


def test_no_tasks_is_no_work() -> None:
    assert parallel.run(square, [], workers=2) == []


def test_ctrl_c_ends_the_workers_of_a_script_without_main_guard(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(TESTS)!r})\n"
        "from leakrepro import parallel\n"
        "from tasks import sleep_long\n"
        f"parallel.run(sleep_long, [({str(tmp_path)!r}, 0), ({str(tmp_path)!r}, 1)], workers=2)\n",
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
