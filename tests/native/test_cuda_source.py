"""The CUDA kernels, run on the host by an emulator, against those of the CPU."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "build/emulator/compare"

pytestmark = pytest.mark.skipif(
    not (shutil.which("make") and shutil.which("g++")), reason="needs make and g++"
)


def build(*settings: str) -> None:
    """Builds ``compare`` with the emulator."""
    command = ["make", "-s", "emulated", "CXX=g++", *settings]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)


def compare(program: Path, cases: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program), str(cases), "1"], capture_output=True, text=True, timeout=300
    )


def test_lengths_and_measures_are_those_of_the_cpu():
    build()
    done = compare(PROGRAM, 600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout == "600 cases equal\n"


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("__syncthreads();\n    // Class", "// Class"),
        ("__syncthreads();\n\n    const unsigned lane", "const unsigned lane"),
        ("given << 1 | carry_in", "given << 1"),
        ("id < highest ? static_cast", "true ? static_cast"),
    ],
    ids=["barrier", "second barrier", "carry in", "high id"],
)
def test_a_wrong_kernel_is_found(tmp_path, right, wrong):
    source = (ROOT / "csrc/cuda/kernels.h").read_text()
    assert source.count(right) == 1
    folder = tmp_path / "cuda"
    folder.mkdir()
    (folder / "kernels.h").write_text(source.replace(right, wrong))
    shutil.copy(ROOT / "csrc/cuda/lcs.cu", folder)
    program = tmp_path / "compare"
    build(f"EMULATED={program}", f"CUDA_SOURCE={folder}/lcs.cu", f"CUDA_FIRST=-I{tmp_path}")
    assert compare(program, 400).returncode != 0
