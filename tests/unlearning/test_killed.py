"""A killed call, called again, ends as one that was never stopped.

``LEAKREPRO_SOAK=20`` kills twenty times instead of twice (``make soak``).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import killed_job
import pytest

import leakrepro as lr
from leakrepro.benchmarks import Benchmark
from leakrepro.models import load, train
from leakrepro.storage.atomic import MARKER, is_sealed

SOAK = int(os.environ.get("LEAKREPRO_SOAK", "0"))
STEPS = 48  # of both methods of the job together


def start(home: Path, *arguments: object) -> subprocess.Popen[str]:
    tests = Path(__file__).parents[1]
    folders = [str(Path(load.__file__).parents[2]), str(tests), str(tests / "unlearning")]
    return subprocess.Popen(
        [sys.executable, killed_job.__file__, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ
        | {
            "LEAKREPRO_HOME": str(home),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(folders),
            "PYTHONWARNINGS": "ignore",
        },
    )


def finish(home: Path, *arguments: object) -> str:
    """The result of a job that is left in peace."""
    process = start(home, *arguments)
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    assert out.startswith("done ")
    return out


@pytest.mark.parametrize("seed", range(SOAK // 2 or 1))
def test_training_killed_at_a_random_step(small_original: Path, tmp_path: Path, seed: int) -> None:
    undisturbed = finish(tmp_path / "undisturbed", "train", small_original)
    step = random.Random(seed).randrange(1, STEPS)
    killed = start(tmp_path / "killed", "train", small_original, step)
    killed.communicate(timeout=600)
    assert killed.returncode == -signal.SIGKILL
    left = list((tmp_path / "killed" / "models").glob(".*.checkpoints/checkpoint-*"))
    # A checkpoint every three steps, the last one of a method alone.
    assert len(left) == (1 if step % 24 >= 4 else 0) or step % 24 in (0, 3)
    assert finish(tmp_path / "killed", "train", small_original) == undisturbed
    assert not list((tmp_path / "killed" / "models").glob(".*"))


@pytest.mark.parametrize("seed", range(SOAK // 2 or 1))
def test_rule_killed_at_a_random_moment(small_original: Path, tmp_path: Path, seed: int) -> None:
    clock = time.monotonic()
    undisturbed = finish(tmp_path / "undisturbed", "rule", small_original)
    seconds = time.monotonic() - clock
    moment = random.Random(seed).uniform(0.2, 0.95) * seconds
    killed = start(tmp_path / "killed", "rule", small_original)
    try:
        killed.communicate(timeout=moment)
    except subprocess.TimeoutExpired:
        killed.kill()
        killed.communicate()
        assert killed.returncode == -signal.SIGKILL
    assert finish(tmp_path / "killed", "rule", small_original) == undisturbed


def test_incomplete_checkpoints_are_skipped(
    small_original: Path,
    small_world: Benchmark,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "home"))

    class Stop(Exception):
        pass

    def stop(step: int, total: int) -> None:
        if step == 10:
            raise Stop

    def run(progress: train.Progress) -> Path:
        return lr.unlearn(
            small_original,
            small_world,
            "NPO",
            killed_job.NPO,
            checkpoint_every=4,
            progress=progress,
        )

    whole = load.fingerprint(run(lambda step, total: None))
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "other"))
    with pytest.raises(Stop):
        run(stop)
    (work,) = (tmp_path / "other" / "models").glob(".NPO-*.checkpoints")
    (last,) = work.glob("checkpoint-*")
    assert last.name == "checkpoint-8"
    assert is_sealed(last)
    incomplete = work / "checkpoint-9"
    incomplete.mkdir()
    (incomplete / "optimizer.pt").write_bytes(b"half")
    steps: list[int] = []
    with pytest.warns(UserWarning, match="checkpoint-9 is incomplete: it is ignored"):
        path = run(lambda step, total: steps.append(step))
    assert steps == list(range(9, 25))
    assert load.fingerprint(path) == whole
    # If the only checkpoint is incomplete, training starts again.
    (path / MARKER).unlink()
    work.mkdir()
    last.mkdir()
    steps.clear()
    with pytest.warns(UserWarning, match="checkpoint-8 is incomplete"):
        run(lambda step, total: steps.append(step))
    assert steps == list(range(1, 25))
    assert load.fingerprint(path) == whole
