"""What is installed, and the error for what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from leakrepro.errors import MissingExtra, installed, require


def test_a_folder_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "no_such_engine").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not installed("no_such_engine")
    assert installed("numpy")
    require("numpy", "all of this", "test")
    with pytest.raises(MissingExtra, match=r'the engine needs no_such_engine: pip install "leak'):
        require("no_such_engine", "the engine", "fast")
