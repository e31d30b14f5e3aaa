"""Where things are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from leakrepro.storage import paths


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notebooks").mkdir()
    monkeypatch.delenv("LEAKREPRO_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert paths.home() == Path("runs")
    monkeypatch.chdir("notebooks")  # as JupyterLab does
    assert paths.home() == tmp_path / "runs"
    monkeypatch.setenv("LEAKREPRO_HOME", "mine")
    assert paths.home() == Path("mine")
    assert paths.models() == Path("mine/models")
