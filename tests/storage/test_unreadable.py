"""A file that cannot be opened is not called damaged, and nobody is told to delete it."""

from __future__ import annotations

import ast
import contextlib
import errno
import os
import resource
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from worlds import make_prompts

import leakrepro
from leakrepro.errors import StoreError
from leakrepro.metrics.score_cache import ScoreCache
from leakrepro.models import train_once
from leakrepro.models.load import locate
from leakrepro.models.train_once import find
from leakrepro.reproduction.record import read_records
from leakrepro.sampling import digests, read_samples, sample
from leakrepro.sampling.digests import digest_file, keep_digests
from leakrepro.sampling.store import SampleStore, open_store
from leakrepro.storage import keys
from leakrepro.storage.atomic import is_sealed
from leakrepro.storage.documents import unreadable
from leakrepro.storage.provenance import read_notes
from leakrepro.types import Decoding

ERRORS = [errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EIO, errno.ENOMEM]


@pytest.fixture
def store(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SampleStore:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "home"))
    drawn = sample(tiny_llama, make_prompts(2), Decoding(n=2, max_new_tokens=4))
    return drawn.stores[0]


@contextlib.contextmanager
def no_files_left() -> Iterator[None]:
    """Makes every further open fail with EMFILE."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def readers(store: SampleStore, tmp_path: Path) -> dict[str, Callable[[], Any]]:
    """Everything that reads a file and can find it damaged."""
    file = digest_file(tmp_path, store)
    keep_digests(store, file, ())
    cache = ScoreCache("m", tmp_path)
    cache.put({("a",): 1.0})
    (tmp_path / "notes").write_text("", encoding="utf-8")
    (tmp_path / "runs.json").write_text("{}", encoding="utf-8")
    model = tmp_path / "home" / "models" / f"m-{keys.digest({})[:12]}"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}", encoding="utf-8")
    (model / "complete.json").write_text("{}", encoding="utf-8")
    (model / train_once.RECIPE).write_text("{}", encoding="utf-8")
    return {
        "manifest": lambda: open_store(store.path),
        "samples": lambda: read_samples(store.path),
        "shards": store.read,
        "digests": lambda: digests._load(file),
        "scores": lambda: cache.get([("a",)]),
        "notes": lambda: read_notes(tmp_path / "notes"),
        "records": lambda: read_records(tmp_path),
        "mark": lambda: is_sealed(model),
        "model": lambda: locate(model),
        "recipe": lambda: find("m", {}),
    }


def test_too_many_open_files_are_no_damage(store: SampleStore, tmp_path: Path) -> None:
    for name, read in readers(store, tmp_path).items():
        read()
        with no_files_left(), pytest.raises(StoreError, match="could not be opened") as caught:
            read()
        assert "Too many open files" in str(caught.value) or "unable to open" in str(caught.value)
        assert "delete" not in str(caught.value), name
        assert str(tmp_path) in str(caught.value), name
        read()


@pytest.mark.parametrize("code", ERRORS)
def test_a_shard_that_cannot_be_opened(
    store: SampleStore, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(pq, "ParquetFile", fail)
    with pytest.raises(
        StoreError, match=rf"shard-00000.parquet could not be opened: {os.strerror(code)}"
    ) as caught:
        store.read()
    assert "delete" not in str(caught.value)


def test_threads_that_cannot_be_started(
    store: SampleStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(StoreError, match="could not be opened: can't start new thread"):
        store.read()


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't start new thread")])
def test_memory_that_runs_out(
    store: SampleStore, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(pq, "ParquetFile", fail)
    with pytest.raises(StoreError, match=r"shard-00000.parquet could not be opened"):
        store.read()


def sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("text")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "damaged"),
    [
        (ValueError("text"), True),
        (UnicodeDecodeError("utf-8", b"a", 0, 1, "text"), True),
        (RecursionError("text"), True),
        (OSError("Corrupt snappy data"), True),
        (sqlite3.DatabaseError("text"), True),
        (sqlite_error(sqlite3.SQLITE_CORRUPT), True),
        (sqlite_error(sqlite3.SQLITE_NOTADB), True),
        (sqlite_error(sqlite3.SQLITE_CORRUPT | 1 << 8), True),
        (sqlite_error(sqlite3.SQLITE_CANTOPEN), False),
        (sqlite_error(sqlite3.SQLITE_BUSY), False),
        (sqlite_error(sqlite3.SQLITE_IOERR | 2 << 8), False),
        (sqlite_error(sqlite3.SQLITE_FULL), False),
        (MemoryError(), False),
        (RuntimeError("can't start new thread"), False),
        *((OSError(code, os.strerror(code)), False) for code in ERRORS),
    ],
)
def test_only_content_is_damaged(error: Exception, damaged: bool) -> None:
    message = str(unreadable(Path("file"), error, "delete it"))
    assert message.startswith("file is damaged" if damaged else "file could not be opened: ")
    assert ("delete it" in message) == damaged


def test_a_damaged_score_file_is_called_damaged(tmp_path: Path) -> None:
    cache = ScoreCache("m", tmp_path)
    cache.put({("a",): 1.0})
    for leftover in tmp_path.glob("*-wal"):
        leftover.unlink()
    cache.path.write_bytes(b"no database" * 999)
    with pytest.raises(StoreError, match=r"sqlite is damaged .*: delete it"):
        cache.get([("a",)])


def test_damaged_digests_are_called_damaged(tmp_path: Path) -> None:
    file = tmp_path / "digests.npy"
    for content in (b"", b"\x93NUMPY", b"text" * 99):
        file.write_bytes(content)
        with pytest.raises(StoreError, match=r"digests.npy is damaged"):
            digests._load(file)
    np.save(file, np.zeros((2, 2)))
    with pytest.raises(StoreError, match=r"digests.npy is not a file of digests"):
        digests._load(file)


def test_no_handler_of_system_errors_says_damaged_itself() -> None:
    """``unreadable`` decides; a handler of OSError or sqlite3.Error does not."""
    words, found = ("damaged", "delete", "truncated", "corrupt"), []
    root = Path(leakrepro.__file__).parent
    for file in root.rglob("*.py"):
        if file.name == "documents.py":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ExceptHandler) or node.type is None:
                continue
            caught = {getattr(n, "id", getattr(n, "attr", "")) for n in ast.walk(node.type)}
            if not caught & {
                "OSError",
                "Exception",
                "RuntimeError",
                "MemoryError",
                "EnvironmentError",
            }:
                continue
            for inner in ast.walk(node):
                if isinstance(inner, ast.Call) and getattr(inner.func, "id", "") == "StoreError":
                    text = ast.unparse(inner)
                    found += [f"{file}: {text}" for word in words if word in text]
    assert not found
