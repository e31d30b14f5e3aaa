"""The log names what a run opens, and nothing when no log is wanted."""

from __future__ import annotations

from pathlib import Path

import pytest

import leakrepro as lr
from leakrepro.benchmarks.files import read_text
from leakrepro.errors import StoreError
from leakrepro.metrics.score_cache import ScoreCache
from leakrepro.models.load import fingerprint, load_model
from leakrepro.sampling.store import open_store
from leakrepro.storage import provenance
from leakrepro.storage.provenance import Kind, Note, read_notes
from leakrepro.types import Decoding


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "log"
    monkeypatch.setenv(provenance.LOG, str(path))
    return path


def test_notes_come_back_as_they_were_without_repetitions(log: Path, tmp_path: Path) -> None:
    assert read_notes(log) == []
    provenance.note_store(tmp_path / "a", drawn=[2, 0])
    provenance.note_model(tmp_path / "b", trained=True)
    provenance.note_scores(tmp_path / "c")
    provenance.note_changed_score(tmp_path / "c", "k", 0.25, 1.0)
    provenance.note_file(Path("d"))
    provenance.note_model(tmp_path / "b", trained=True)
    assert read_notes(log) == [
        Note(Kind.STORE, tmp_path / "a", drawn=(2, 0)),
        Note(Kind.MODEL, tmp_path / "b", trained=True),
        Note(Kind.SCORES, tmp_path / "c"),
        Note(Kind.CHANGED_SCORE, tmp_path / "c", key="k", kept=0.25, computed=1.0),
        Note(Kind.FILE, Path.cwd() / "d"),
    ]


def test_input_files_and_score_files_are_noted(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAKREPRO_DATA", str(tmp_path))
    (tmp_path / "own.csv").write_text("question,answer\nWho?,Me\n")
    (tmp_path / "words.txt").write_text("some")
    lr.read_prompts(tmp_path / "own.csv")
    read_text(".", "words.txt")
    cache = ScoreCache("m", tmp_path)
    assert read_notes(log) == [
        Note(Kind.FILE, tmp_path / "own.csv"),
        Note(Kind.FILE, tmp_path / "words.txt"),
        Note(Kind.SCORES, cache.path),
    ]


@pytest.mark.parametrize("open_model", [fingerprint, load_model])
def test_an_opened_model_is_noted(open_model: object, log: Path, tiny_llama: Path) -> None:
    assert callable(open_model)
    open_model(tiny_llama)
    assert read_notes(log) == [Note(Kind.MODEL, tiny_llama)]


def test_a_model_is_noted_as_trained_once(
    log: Path, small_world: lr.Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from small_world import RECIPE

    from leakrepro.models.tiny import TinyRecipe, tiny_model

    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "home"))
    recipe = TinyRecipe(**vars(RECIPE) | {"epochs": 1})
    path = tiny_model(small_world, "full", recipe)
    trained = [note for note in read_notes(log) if note.trained]
    assert trained == [Note(Kind.MODEL, path.absolute(), trained=True)]
    log.unlink()
    assert tiny_model(small_world, "full", recipe) == path
    assert read_notes(log) == [Note(Kind.MODEL, path.absolute())]


def test_a_store_is_noted_when_it_is_written_and_when_it_is_read(
    log: Path, tiny_llama: Path, small_world: lr.Benchmark, tmp_path: Path
) -> None:
    path = tmp_path / "s"

    def stores() -> list[Note]:
        notes = [note for note in read_notes(log) if note.kind == Kind.STORE]
        log.unlink()
        return notes

    lr.sample(tiny_llama, small_world, Decoding(n=2, max_new_tokens=2), store=path)
    assert stores() == [Note(Kind.STORE, path, drawn=(0,))]
    lr.read_samples(path).read(["text"])
    assert stores() == [Note(Kind.STORE, path)]
    open_store(path).shard_path(0).unlink()
    with pytest.raises(StoreError):
        lr.read_samples(path)
    assert not log.exists()  # an incomplete store is not noted


def test_nothing_is_noted_without_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(provenance.LOG, raising=False)
    monkeypatch.chdir(tmp_path)
    provenance.note_file(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
