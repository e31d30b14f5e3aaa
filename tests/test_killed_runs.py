"""Sampling, scoring and Ray runs killed at random times give the results of uninterrupted runs.

``LEAKREPRO_SOAK=20`` kills each kind of run 20 times instead of twice (``make soak``).
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import killed_run
import pytest

import leakrepro as lr

sys.path.append(str(Path(__file__).parent / "metrics"))
from nli_models import make_nli

KINDS = ("sample", "score", "ray")
TIMES = int(os.environ.get("LEAKREPRO_SOAK", "2"))


@pytest.fixture(scope="module")
def nli(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_nli(tmp_path_factory.mktemp("nli") / "nli")


def start(kind: str, model: Path, nli: Path, folder: Path) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    import_paths = [str(Path(lr.__file__).parents[1]), str(Path(__file__).parent)]
    return subprocess.Popen(
        [sys.executable, killed_run.__file__, kind, model, nli, folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ
        | {
            "LEAKREPRO_HOME": str(folder / "home"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(import_paths),
            "PYTHONWARNINGS": "ignore",
        },
    )


def finish(kind: str, model: Path, nli: Path, folder: Path) -> str:
    """Return the output of an uninterrupted run."""
    process = start(kind, model, nli, folder)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    assert out.startswith("done ")
    return out


def progress(kind: str, folder: Path) -> float:
    """Return the share of the run's work that is saved on disk."""
    if kind != "score":
        return len(shards(folder)) / 40
    for file in (folder / "home" / "scores").glob("*.sqlite"):
        with (
            contextlib.suppress(sqlite3.OperationalError),  # the table does not exist yet
            contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as cache,
        ):
            return float(cache.execute("SELECT count(*) FROM scores").fetchone()[0]) / 2000
    return 0.0


def shards(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (folder / "store").glob("shard-*")}


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_gives_the_same_result(
    kind: str, tiny_llama: Path, nli: Path, tmp_path: Path
) -> None:
    whole = finish(kind, tiny_llama, nli, tmp_path / "whole")
    times = random.Random(kind)
    killed = 0
    for i in range(TIMES):
        folder = tmp_path / f"killed-{i}"
        process = start(kind, tiny_llama, nli, folder)
        reached = times.uniform(0.0, 0.9)
        while progress(kind, folder) < reached and process.poll() is None:
            time.sleep(0.005)
        time.sleep(times.uniform(0.0, 0.1))
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        done = progress(kind, folder)
        assert finish(kind, tiny_llama, nli, folder) == whole, f"{kind}, kill {i}"
        assert shards(folder) == shards(tmp_path / "whole"), f"{kind}, kill {i}"
        print(f"{kind}: kill {i + 1} of {TIMES} with {done:.0%} on disk, equal result")
    assert killed >= TIMES - 1  # a fast machine may finish before the kill
