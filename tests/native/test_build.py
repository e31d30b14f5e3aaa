"""What setup.py does on machines that lack something. Each test runs it in a copy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NO_COMPILER = {"CC": "/nonexistent/cc", "CXX": "/nonexistent/c++", "LEAKREPRO_CUDA": "0"}

pytestmark = pytest.mark.skipif(
    not (ROOT / "setup.py").exists(), reason="the tests are not in a source tree"
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The sources without anything that was built."""
    for name in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "README.md").touch()
    for name in ("csrc", "leakrepro"):
        ignored = shutil.ignore_patterns("*.so", "__pycache__")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    return tmp_path


def run(checkout: Path, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    # The switches of whoever runs the tests are not those under test.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("LEAKREPRO_")}
    return subprocess.run(
        [sys.executable, *args],
        cwd=checkout,
        env={**inherited, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_without_a_compiler_the_package_works_in_python(checkout):
    stale = checkout / f"leakrepro/_native{sysconfig.get_config_var('EXT_SUFFIX')}"
    stale.touch()
    build = run(checkout, "setup.py", "build_ext", "--inplace", **NO_COMPILER)
    assert build.returncode == 0, build.stdout
    assert "The native kernel was not built" in build.stdout
    assert not list(checkout.glob("leakrepro/*.so"))

    program = (
        "import sys, warnings\n"
        # An editable installation would lend the copy its own extension.
        "sys.meta_path[:] = [f for f in sys.meta_path if '__editable__' not in f.__module__]\n"
        "from leakrepro.rouge.texts import rouge_l\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    for _ in range(2):\n"
        "        print(rouge_l(['The cat sat on the mat.'], [['A cat sat.']]).recall.values)\n"
        "print([w.category.__name__ for w in caught if 'C++17' in str(w.message)])\n"
        "print(caught[-1].filename)\n"
    )
    used = run(checkout, "-c", program, LEAKREPRO_IMPL="auto")
    assert used.returncode == 0, used.stdout
    assert used.stdout.splitlines() == [
        "[0.33333333]",
        "[0.33333333]",
        "['RuntimeWarning']",
        "<string>",
    ]


def test_a_required_kernel_that_cannot_be_built_is_an_error(checkout):
    build = run(
        checkout, "setup.py", "build_ext", "--inplace", **NO_COMPILER, LEAKREPRO_REQUIRE_NATIVE="1"
    )
    assert build.returncode != 0
    assert "/nonexistent/c" in build.stdout


def test_cuda_without_nvcc_is_an_error(checkout):
    build = run(
        checkout, "setup.py", "build_ext", "--inplace", LEAKREPRO_CUDA="1", CUDA_HOME="/nonexistent"
    )
    assert build.returncode != 0
    assert "LEAKREPRO_CUDA=1, but nvcc was not found in CUDA_HOME=/nonexistent" in build.stdout


def test_an_unknown_cuda_switch_is_an_error(checkout):
    build = run(checkout, "setup.py", "build_ext", "--inplace", LEAKREPRO_CUDA="yes")
    assert build.returncode != 0
    assert "LEAKREPRO_CUDA must be auto, 0 or 1, not 'yes'" in build.stdout
