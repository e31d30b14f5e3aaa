"""Detection of installed packages, and the error for missing ones."""

from __future__ import annotations

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
