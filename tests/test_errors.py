"""Detection of installed packages, and the error for missing ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from leakrepro.errors import MissingExtra, installed, require


def test_a_namespace_folder_does_not_count_as_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no_such_engine").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not installed("no_such_engine")
    assert installed("numpy")
    require("numpy", "all of this", "test")
    with pytest.raises(MissingExtra, match=r'the engine needs no_such_engine: pip install "leak'):
        require("no_such_engine", "the engine", "fast")


SUBINTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
code = '''
try:
    import leakrepro
except ImportError as error:
    print(error, flush=True)
'''
interpreters.run_string(interpreters.create(), code)
"""


def test_a_subinterpreter_is_refused_instead_of_waiting_forever() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SUBINTERPRETER], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("leakrepro does not run in subinterpreters")
    assert "processes (leakrepro.Backend(workers=...))" in done.stdout
