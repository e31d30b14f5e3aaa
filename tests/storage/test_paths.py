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


@pytest.mark.parametrize("value", ["", " "])
def test_an_empty_variable_is_none(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEAKREPRO_HOME", value)
    monkeypatch.setenv("LEAKREPRO_DATA", value)
    assert paths.home() == Path("runs")
    assert paths.data() is None
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert paths.home() == tmp_path / "runs"


def test_the_users_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable, folder in (("LEAKREPRO_HOME", paths.home), ("LEAKREPRO_DATA", paths.data)):
        monkeypatch.setenv(variable, "~")
        assert folder() == tmp_path
        monkeypatch.setenv(variable, "~/runs")
        assert folder() == tmp_path / "runs"
        monkeypatch.setenv(variable, "~nobody-of-this-name/runs")
        with pytest.raises(ValueError, match=f"{variable}='~nobody.*write the folder's full path"):
            folder()


@pytest.mark.parametrize("below", ["", "runs", "a/b"])
def test_a_file_is_not_a_folder(
    below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("LEAKREPRO_HOME", str(file / below))
    with pytest.raises(ValueError, match=rf"LEAKREPRO_HOME=.*: {file} is a file; name a folder"):
        paths.samples()
