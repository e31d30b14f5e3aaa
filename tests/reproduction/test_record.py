"""The record of a run survives its file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from leakrepro.errors import StoreError
from leakrepro.reproduction.record import RunRecord, StoreUse, read_records, write_record

RECORD = RunRecord(
    stem="01_x",
    status="failed",
    started="2026-01-02T03:04:05+00:00",
    seconds=1.5,
    error="01_x.ipynb, cell [3]: ValueError: no",
    parameters={"profile": "embedded", "k": [1, 8]},
    environment={"torch": "2"},
    commit=None,
    trained=("NPO-0123",),
    stores={"samples/a": StoreUse(samples=10, tokens=90, drawn=4, drawn_tokens=30)},
    basis={"package": "p"},
    files={"models/NPO-0123": "12-34", "scores/m.sqlite": ""},
    written={"01_x.csv": "0f"},
)


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert read_records(tmp_path) == {}
    write_record(tmp_path, RECORD)
    assert read_records(tmp_path) == {"01_x": RECORD}


def test_the_keys_of_the_file_do_not_change() -> None:
    """A run is verified by later versions of the package."""
    content = RECORD.to_json()
    assert list(content) == [
        *("stem", "status", "started", "seconds", "error", "parameters", "environment", "commit"),
        *("trained", "stores", "basis", "files", "written"),
    ]
    use = {"samples": 10, "tokens": 90, "drawn": 4, "drawn tokens": 30}
    assert content["stores"] == {"samples/a": use}
    assert RunRecord.from_json(json.loads(json.dumps(content))) == RECORD


def test_other_formats_are_left_out_and_other_files_refused(tmp_path: Path) -> None:
    content = RECORD.to_json()
    del content["basis"]
    (tmp_path / "runs.json").write_text(json.dumps({"01_x": content, "02_y": RECORD.to_json()}))
    assert read_records(tmp_path) == {"02_y": RECORD}
    (tmp_path / "runs.json").write_text("{")
    with pytest.raises(StoreError, match=r"runs\.json is not JSON"):
        read_records(tmp_path)
