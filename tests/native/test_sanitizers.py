"""The fuzzer's corpus and the thread pool under the compiler's sanitizers."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DRIVERS = ROOT / "tests/native/fuzz"

pytestmark = pytest.mark.skipif(
    not (shutil.which("make") and shutil.which("g++")), reason="needs make and g++"
)


def run(program: str, *arguments: str) -> str:
    """Builds a driver as the Makefile says, runs it, and returns what it prints."""
    path = f"build/fuzz/{program}"
    subprocess.run(["make", "-s", path, "CXX=g++"], cwd=ROOT, check=True, capture_output=True)
    done = subprocess.run([path, *arguments], cwd=ROOT, capture_output=True, text=True)
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("this kernel places memory where the thread sanitizer cannot be")
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_the_corpus_shows_no_difference_and_no_bad_access():
    files = sorted(map(str, (DRIVERS / "corpus").iterdir()))
    assert len(files) > 100
    assert run("replay", "100", *files) == (
        f"{len(files)} files, 100 random inputs: no difference\n"
    )


def test_threads_share_nothing_by_accident():
    counts = re.findall(r"\d+", run("threads"))
    done, interrupted, wrong = map(int, counts)
    assert done > 0
    assert interrupted > 0
    assert wrong == 0
