"""``runs.json``: no entry is lost, and what was edited is noticed."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from leakrepro.errors import StoreError
from leakrepro.storage import records


def put(folder: Path, name: str) -> None:
    for number in range(10):
        records.put_entry(folder, f"{name}-{number}", {"value": number})


def test_entries_of_several_processes_are_all_kept(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=put, args=(tmp_path, name)) for name in "abc"]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    found = records.read_entries(tmp_path)
    assert found.keys() == {f"{name}-{n}" for name in "abc" for n in range(10)}
    assert not any(map(records.is_edited, found.values()))
    assert [path.name for path in tmp_path.iterdir()] == ["runs.json"]


def test_an_edited_entry_stays_recognisable(tmp_path: Path) -> None:
    for name in ("a", "b"):
        records.put_entry(tmp_path, name, {"value": 1})
    file = tmp_path / "runs.json"
    content = json.loads(file.read_text())
    content["a"]["value"] = 2
    file.write_text(json.dumps(content))
    records.put_entry(tmp_path, "b", {"value": 3})
    found = records.read_entries(tmp_path)
    assert [records.is_edited(found[name]) for name in "ab"] == [True, False]
    records.put_entry(tmp_path, "a", {"value": 4})  # a new run replaces it
    assert not records.is_edited(records.read_entries(tmp_path)["a"])


def test_a_file_that_is_written_again_gets_one_digest_everywhere(tmp_path: Path) -> None:
    file = tmp_path / "shared.npy"
    file.write_bytes(b"one")
    digest = records.file_digest(file)
    for name in ("a", "b"):
        records.put_entry(tmp_path, name, {"written": {"shared.npy": digest}})
    file.write_bytes(b"two")
    records.put_entry(tmp_path, "c", {"written": {"shared.npy": records.file_digest(file)}})
    found = records.read_entries(tmp_path)
    assert {e["written"]["shared.npy"] for e in found.values()} == {records.file_digest(file)}
    file.write_bytes(b"three")
    records.keep_written(tmp_path, ["shared.npy"])
    found = records.read_entries(tmp_path)
    assert {e["written"]["shared.npy"] for e in found.values()} == {records.file_digest(file)}
    assert not any(map(records.is_edited, found.values()))


def test_nothing_is_kept_where_nothing_was_reproduced(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a")
    records.keep_written(tmp_path, ["a.csv"])
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a": 1}', b"\xff", b"[" * 100_000])
def test_a_damaged_file_is_named_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "runs.json").write_bytes(content)
    with pytest.raises(StoreError, match=r"runs\.json .*; delete it"):
        records.read_entries(tmp_path)
