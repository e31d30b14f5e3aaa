"""Models are made once, never over other files, and again if they are incomplete."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from worlds import make_model

from leakrepro.models import load
from leakrepro.models.train import Checkpoints
from leakrepro.models.train_once import Made, make_once
from leakrepro.storage.atomic import MARKER, is_sealed


class Maker:
    """Makes the model of a seed and counts how often."""

    def __init__(self, folder: Path, seed: int = 0) -> None:
        path = make_model(folder / f"made-{seed}", seed=seed)
        self.made = Made(load.load_model(path), load.load_tokenizer(path), [{"loss": 0.5}])
        self.calls = 0

    def __call__(self, checkpoints: Checkpoints) -> Made:
        self.calls += 1
        return self.made


@pytest.fixture
def maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "home"))
    return Maker(tmp_path)


def test_a_recipe_has_a_folder_of_its_own(maker: Maker, tmp_path: Path) -> None:
    one = make_once("NPO", {"lr": 1e-4}, maker)
    two = make_once("NPO", {"lr": 2e-4}, maker)
    assert maker.calls == 2
    assert one != two
    assert one.parent == two.parent == tmp_path / "home" / "models"
    assert one.name.startswith("NPO-")
    assert json.loads((one / "recipe.json").read_text())["lr"] == 1e-4
    assert json.loads((one / "log.json").read_text()) == [{"loss": 0.5}]


def test_the_second_call_makes_nothing(maker: Maker) -> None:
    path = make_once("NPO", {"lr": 1e-4}, maker)
    stat = (path / "model.safetensors").stat().st_mtime_ns
    assert make_once("NPO", {"lr": 1e-4}, maker) == path
    assert maker.calls == 1
    assert (path / "model.safetensors").stat().st_mtime_ns == stat


def test_resume_off_makes_it_again(maker: Maker, tmp_path: Path) -> None:
    path = make_once("NPO", {}, maker)
    other = Maker(tmp_path, seed=1)
    before = load.fingerprint(path)
    assert make_once("NPO", {}, other, resume=False) == path
    assert other.calls == 1
    assert load.fingerprint(path) != before


@pytest.mark.parametrize("damage", ["cut weights", "no tokenizer", "no marker"])
def test_an_incomplete_folder_is_made_again(maker: Maker, damage: str) -> None:
    path = make_once("NPO", {}, maker)
    before = load.fingerprint(path)
    weights = path / "model.safetensors"
    if damage == "cut weights":
        weights.write_bytes(weights.read_bytes()[:-1])
    else:
        (path / {"no tokenizer": "tokenizer.json", "no marker": MARKER}[damage]).unlink()
    assert make_once("NPO", {}, maker) == path
    assert maker.calls == 2
    assert is_sealed(path)
    assert load.fingerprint(path) == before


def test_a_folder_of_ones_own(maker: Maker, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for target in (tmp_path / "new" / "model", tmp_path / "empty"):
        assert make_once("NPO", {}, maker, output_dir=str(target)) == target
        assert is_sealed(target)
        assert make_once("NPO", {}, maker, output_dir=target) == target
    assert maker.calls == 2
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("kind", ["recipe", "folder", "file", "broken recipe"])
def test_something_else_is_never_replaced(
    maker: Maker, tmp_path: Path, kind: str, resume: bool
) -> None:
    target = tmp_path / "target"
    if kind == "recipe":
        make_once("NPO", {"lr": 1}, maker, output_dir=target)
    elif kind == "file":
        target.write_text("mine")
    else:
        target.mkdir()
        (target / ("notes.txt" if kind == "folder" else "recipe.json")).write_text("mine")
    maker.calls = 0
    before = {p: p.read_bytes() for p in (target, *tmp_path.glob("target/*")) if p.is_file()}
    with pytest.raises(ValueError, match="target does not hold the model of this recipe"):
        make_once("NPO", {"lr": 2}, maker, output_dir=target, resume=resume)
    assert maker.calls == 0
    assert before == {p: p.read_bytes() for p in before}


def test_a_failed_training_leaves_nothing(maker: Maker, tmp_path: Path) -> None:
    def fail(checkpoints: Checkpoints) -> Made:
        raise FloatingPointError("diverged")

    with pytest.raises(FloatingPointError):
        make_once("NPO", {}, fail)
    assert not list(tmp_path.glob("home/**/*.json"))
    assert make_once("NPO", {}, maker).is_dir()
