"""A folder has one owner at a time, and a dead owner's folder is free."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from leakrepro.errors import BusyError
from leakrepro.storage.owner import OWNER, check_free, owned

HOLD = """
import sys
from pathlib import Path
from leakrepro.storage.owner import owned
with owned(Path(sys.argv[1])):
    print("owned", flush=True)
    sys.stdin.read()
"""


def test_a_second_owner_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    with owned(tmp_path):
        for attempt in (owned(tmp_path).__enter__, lambda: check_free(tmp_path)):
            with pytest.raises(BusyError) as refused:
                attempt()
            message = str(refused.value)
            assert message.startswith(f"{tmp_path} is in use by process {os.getpid()} on ")
            assert " since 20" in message
            assert Path(sys.argv[0]).name in message
    assert list(tmp_path.iterdir()) == []
    check_free(tmp_path)
    with owned(tmp_path):
        pass


def test_the_folder_of_a_killed_owner_is_taken_over(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"owned\n"
        with pytest.raises(BusyError, match=f"process {process.pid} on "), owned(tmp_path):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / OWNER).exists()
        check_free(tmp_path)
        with owned(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_an_unreadable_owner_is_another_process(tmp_path: Path) -> None:
    with owned(tmp_path):
        (tmp_path / OWNER).write_bytes(b"\xff")
        with pytest.raises(BusyError, match="in use by another process"):
            check_free(tmp_path)
