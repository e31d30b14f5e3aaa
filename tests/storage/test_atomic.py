"""Drafts of killed processes are removed; those of living ones stay."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from leakrepro.storage import atomic

DRAFTS = """
import os, signal, sys
from pathlib import Path
from leakrepro.storage import atomic
folder = Path(sys.argv[1])
atomic.temporary(folder / "table.csv").write_text("half")
atomic.temporary(folder / "model").mkdir()
(atomic.temporary(folder / "model") / "weights").write_text("half")
scratch = atomic.scratch("test")
Path(scratch.name, "file").write_text("half")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    subprocess.run([sys.executable, "-c", DRAFTS, tmp_path], check=False)
    assert len(list(tmp_path.iterdir())) == 3
    mine = atomic.temporary(tmp_path / "table.csv")
    mine.write_text("being written")
    others = [tmp_path / name for name in (".table.csv.00000000-1.tmp", "leakrepro-notes", "a.tmp")]
    for path in others:
        path.touch()
    atomic.remove_drafts(tmp_path)
    with atomic.scratch("test") as folder:
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {mine.name, Path(folder).name, *(path.name for path in others)}
    assert not Path(folder).exists()
