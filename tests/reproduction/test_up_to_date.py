"""What counts as a change, without running a notebook."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import leakrepro as lr
from leakrepro import info
from leakrepro.reproduction import up_to_date
from leakrepro.reproduction.record import RunRecord
from leakrepro.reproduction.up_to_date import basis_of, stamp, what_changed, with_notebook


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """With a store, a table, and a file of scores to which others add."""
    (tmp_path / "samples" / "a").mkdir(parents=True)
    (tmp_path / "samples" / "a" / "shard-0.parquet").write_text("one")
    (tmp_path / "table.csv").write_text("x")
    (tmp_path / "scores.sqlite").write_text("y")
    return tmp_path


def record(home: Path) -> RunRecord:
    stamps = {name: stamp(home / name) or "missing" for name in ("samples/a", "table.csv")}
    return RunRecord(
        stem="01_x",
        status="ok",
        started="2026-01-02T03:04:05+00:00",
        seconds=1.5,
        error="",
        parameters={},
        environment={},
        commit=None,
        basis={"package": "p"},
        files=stamps | {"scores.sqlite": ""},
    )


def replace(home: Path) -> None:
    # As long as before, and of another time.
    (home / "samples" / "a" / "shard-0.parquet").write_text("two")
    os.utime(home / "samples" / "a" / "shard-0.parquet", ns=(1, 1))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda home: None, None),
        (lambda home: (home / "scores.sqlite").write_text("more"), None),
        (lambda home: (home / "samples" / "a" / ".lock").write_text("held"), None),
        (lambda home: (home / "scores.sqlite").unlink(), "scores.sqlite is missing"),
        (lambda home: (home / "table.csv").unlink(), "table.csv is missing"),
        (lambda home: (home / "table.csv").write_text("xx"), "table.csv changed"),
        (lambda home: (home / "samples" / "a" / "new").write_text(""), "samples/a changed"),
        (lambda home: (home / "samples" / "a" / "shard-0.parquet").unlink(), "samples/a changed"),
        (replace, "samples/a changed"),
    ],
)
def test_files(home: Path, change: Callable[[Path], None], reason: str | None) -> None:
    kept = record(home)
    change(home)
    assert what_changed(kept, {"package": "p"}, home) == reason


def test_other_reasons(home: Path) -> None:
    kept = record(home)
    assert what_changed(kept, {"package": "q"}, home) == "the package changed"
    assert what_changed(kept, {"package": "p", "more": ""}, home) == "the more changed"
    failed = dataclasses.replace(kept, status="failed")
    assert what_changed(failed, {"package": "p"}, home) == "its last run failed"


def test_the_basis_of_a_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "01_x.ipynb"
    path.write_text("{}")
    settings = lr.load_profile("embedded")
    first = with_notebook(basis_of(settings), path, {"n": 8})
    assert with_notebook(basis_of(settings), path, {"n": 8}) == first

    def changed(now: dict[str, str]) -> set[str]:
        return {name for name in first if now[name] != first[name]}

    common = basis_of(settings)
    assert changed(with_notebook(common, path, {"n": 9})) == {"parameters"}
    other = lr.load_profile("embedded", n=150)
    assert changed(with_notebook(basis_of(other), path, {"n": 8})) == {"profile"}
    path.write_text("{ }")
    assert changed(with_notebook(common, path, {"n": 8})) == {"notebook"}
    path.write_text("{}")
    monkeypatch.setenv("LEAKREPRO_DATA", str(tmp_path))
    assert changed(with_notebook(basis_of(settings), path, {"n": 8})) == {"environment"}
    monkeypatch.undo()
    monkeypatch.setattr(info, "describe", lambda: {"torch": "0"})
    assert changed(with_notebook(basis_of(settings), path, {"n": 8})) == {"environment"}
    monkeypatch.undo()
    (tmp_path / "__init__.py").write_text("")
    monkeypatch.setattr(up_to_date.leakrepro, "__file__", str(tmp_path / "__init__.py"))
    assert changed(with_notebook(basis_of(settings), path, {"n": 8})) == {"package"}
