"""Children and their process groups end with their parent, whatever they do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest
from tasks import default_signals

import leakrepro as lr

# A parent whose child has a child of its own. The child's last line is what it does.
PARENT = """
import os, signal, subprocess, sys, threading, time
from leakrepro.execution.lifetime import Lifeline
child = '''
import ctypes, os, signal, subprocess, sys, time
from leakrepro.execution.lifetime import follow
follow(int(sys.argv[1]))
other = subprocess.Popen(["sleep", "600"])
print(os.getpid(), other.pid, flush=True)
{work}
'''
def start():
    global line
    line = Lifeline()
    command = [sys.executable, "-c", child, str(line.child_end)]
    subprocess.Popen(command, pass_fds=[line.child_end], start_new_session=True)
    line.started()
thread = threading.Thread(target=start)
thread.start()
thread.join()  # the child outlives the thread that started it
{fork}
time.sleep(600)
"""
WORK = {
    "sleeps": "time.sleep(600)",
    "computes": "while True: pass",
    "native code that holds the lock": "ctypes.PyDLL(None).sleep(600)",
    "ignores signals": "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65)); time.sleep(600)",
}
FORK = {"alone": "", "with a fork": "if os.fork() == 0: time.sleep(600); os._exit(0)"}


@pytest.mark.parametrize("fork", FORK)
@pytest.mark.parametrize("work", WORK)
def test_a_child_and_its_group_end_with_the_parent(work: str, fork: str, tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(work=WORK[work], fork=FORK[fork])],
        stdout=subprocess.PIPE,
        cwd=Path(lr.__file__).parents[1],
        start_new_session=True,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        children = [int(pid) for pid in parent.stdout.readline().split()]
        time.sleep(0.2)
        assert [psutil.Process(pid).is_running() for pid in children] == [True, True]
        parent.kill()
        end = time.monotonic() + 2
        while any(map(psutil.pid_exists, children)) and time.monotonic() < end:
            time.sleep(0.02)
        left = [pid for pid in children if _runs(pid)]
        os.killpg(parent.pid, signal.SIGKILL)  # the fork, which is not ours
    assert left == []


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


ENDS = """
import os, signal, sys, time
from leakrepro.execution.lifetime import ends_in_order
if sys.argv[1] == "ignored":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
try:
    with ends_in_order():
        try:
            os.kill(os.getpid(), signal.SIGHUP if sys.argv[1] == "ignored" else int(sys.argv[1]))
            time.sleep(0.2)
        finally:
            print("cleaned up", flush=True)
finally:
    print("left", flush=True)
"""


@pytest.mark.parametrize(
    ("what", "status", "out"),
    [
        (str(int(signal.SIGTERM)), 143, "cleaned up\n"),
        (str(int(signal.SIGHUP)), 129, "cleaned up\n"),
        (str(int(signal.SIGINT)), 130, "cleaned up\n"),
        ("ignored", 0, "cleaned up\nleft\n"),
    ],
)
def test_signals_run_finally_blocks(what: str, status: int, out: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENDS, what],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=default_signals,
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, out, "")


RAY = """
import sys
sys.path.insert(0, {tests!r})
from leakrepro.execution import ray
from tasks import spin
list(ray.stream(spin, [(60.0,), (60.0,)], workers=2))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda n: n.name)
def test_a_local_ray_cluster_ends_with_the_call(number: signal.Signals) -> None:
    pytest.importorskip("ray")
    mark = uuid.uuid4().hex
    call = subprocess.Popen(
        [sys.executable, "-c", RAY.format(tests=str(Path(__file__).parents[1]))],
        env=os.environ | {"LEAKREPRO_TEST_RUN": mark, "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def living() -> list[str]:
        found = psutil.process_iter(["environ", "name", "cmdline"])
        return [
            " ".join(p.info["cmdline"] or [])
            for p in found
            if (p.info["environ"] or {}).get("LEAKREPRO_TEST_RUN") == mark
        ]

    end = time.monotonic() + 120
    while sum("Worker.work" in name for name in living()) < 2:
        assert call.poll() is None
        assert time.monotonic() < end
        time.sleep(0.1)
    call.send_signal(number)
    end = time.monotonic() + 2
    call.wait(timeout=60)
    while living() and time.monotonic() < end:
        time.sleep(0.02)
    assert living() == []
    assert time.monotonic() < end + 0.5
