"""The models of a profile by name: training, reuse, and early errors."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import small_world as small
import yaml

import leakrepro as lr
from leakrepro.benchmarks import Benchmark
from leakrepro.models import load
from leakrepro.models.resolve import resolve
from leakrepro.profiles import models as profile_models
from leakrepro.profiles.models import make_models
from leakrepro.profiles.schema import Profile, load_profile
from leakrepro.unlearning import GradDiffOptions

SHORT = {
    "epochs": 1,
    "batch_size": 10,
    "accumulation": 1,
    "warmup_epochs": 0,
    "learning_rate": 1e-3,
}


def profile(folder: Path, **changes: Any) -> Profile:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(small.profile(**changes), sort_keys=False))
    return load_profile(path)


@pytest.fixture
def shared(small_home: Path, small_original: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use a home that already contains Original."""
    monkeypatch.setenv("LEAKREPRO_HOME", str(small_home))
    return small_original


@pytest.fixture
def untrained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test if a model is trained."""
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "home"))

    def fail(*args: Any, **kwargs: Any) -> None:
        pytest.fail("a model was trained")

    monkeypatch.setattr(profile_models, "tiny_model", fail)
    monkeypatch.setattr(profile_models, "unlearn", fail)


def test_all_kinds_of_model(
    shared: Path, tiny_llama: Path, small_world: Benchmark, tmp_path: Path
) -> None:
    models = {
        "Hosted": {"hub": str(tiny_llama)},
        "Mild": {"unlearn": "GradDiff", "options": SHORT},
        "Retrain": {"train": "retain"},
        "NPO": {"unlearn": "NPO", "options": SHORT | {"beta": 0.5}},
        "Original": {"train": "full"},
    }
    made = make_models(profile(tmp_path, models=models), small_world)
    assert list(made) == list(models)
    assert made["Hosted"] == tiny_llama
    assert made["Original"] == shared
    expected = lr.unlearn(
        shared,
        small_world,
        "GradDiff",
        GradDiffOptions(**SHORT),
    )
    assert made["Mild"] == expected
    assert len({load.fingerprint(path) for path in made.values()}) == 5
    again = make_models(profile(tmp_path, models=models), small_world)
    assert again == made


def test_an_unlearned_model_also_makes_its_original(
    shared: Path, small_world: Benchmark, tmp_path: Path
) -> None:
    models = {"NPO": {"unlearn": "NPO", "options": SHORT}}
    (path,) = make_models(profile(tmp_path, models=models), small_world).values()
    assert path.name.startswith("NPO-")
    assert f'"model": "{load.fingerprint(shared)}"' in (path / "recipe.json").read_text()


def test_two_workers_and_one_make_the_same_models(
    small_world: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = dataclasses.asdict(dataclasses.replace(small.RECIPE, epochs=1))
    models = {"Original": {"train": "full"}, "Retrain": {"train": "retain"}}
    found = []
    for workers in (1, 2):
        monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / f"home-{workers}"))
        settings = profile(tmp_path, models=models, training=training, workers=workers)
        made = make_models(settings, small_world)
        found.append({name: load.fingerprint(path) for name, path in made.items()})
    assert found[0] == found[1]


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"layer": 2}}, "profile 'small', training: unknown 'layer'; known: vocab_si"),
        ({"training": {"layers": "two"}}, "training: layers: .*valid integer"),
        ({"models": {"A": {"unlearn": "NOP"}}}, "unknown unlearning method 'NOP'"),
        (
            {"models": {"A": {"unlearn": "NPO", "options": {"lr": 1e-4}}}},
            "profile 'small', options of A: unknown 'lr'; known: learning_rate",
        ),
        (
            {"models": {"A": {"unlearn": "GradDiff", "options": {"beta": 0.5}}}},
            "options of A: unknown 'beta'",
        ),
        (
            {"models": {"A": {"unlearn": "NPO", "options": {"epochs": 1.5}}}},
            "options of A: epochs: .*valid integer",
        ),
        (
            {"models": {"A": {"unlearn": "NPO", "options": {"beta": 0}}}},
            "options of A: beta must be above 0",
        ),
    ],
)
def test_invalid_values_are_reported_before_training(
    small_world: Benchmark, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_models(profile(tmp_path, **changes), small_world)


@pytest.mark.usefixtures("untrained")
def test_a_missing_checkpoint_is_reported_before_training(
    small_world: Benchmark, tmp_path: Path
) -> None:
    models = {"Original": {"train": "full"}, "Theirs": {"hub": str(tmp_path / "nowhere")}}
    with pytest.raises(FileNotFoundError, match=r"no model at .*nowhere"):
        make_models(profile(tmp_path, models=models), small_world)


@pytest.fixture
def named(small_world: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Benchmark:
    """The small benchmark with its own profile."""
    models = {"Original": {"train": "full"}, "NPO": {"unlearn": "NPO", "options": SHORT}}
    profile(tmp_path, models=models)
    monkeypatch.setitem(profile_models.MADE_BY, "fictional", (str(tmp_path / "small.yaml"), None))
    return small_world


def test_a_name_of_the_profile_is_made_on_demand(shared: Path, named: Benchmark) -> None:
    assert resolve("Original", named) == shared
    assert resolve("NPO", named).name.startswith("NPO-")


@pytest.mark.usefixtures("untrained")
def test_a_folder_needs_no_profile(
    tiny_llama: Path, small_world: Benchmark, named: Benchmark
) -> None:
    assert resolve(tiny_llama, named) == tiny_llama
    unknown = dataclasses.replace(small_world, name="of my own")
    assert resolve(str(tiny_llama), unknown) == tiny_llama


@pytest.mark.usefixtures("untrained")
def test_an_unknown_model_lists_the_known_names(named: Benchmark, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as failure:
        resolve(str(tmp_path / "Orignal"), named)
    message = str(failure.value)
    assert f"no model at {tmp_path}/Orignal" in message
    assert "fictional(seed=7) knows the names Original, NPO" in message
    # A path is never a name.
    with pytest.raises(FileNotFoundError, match="Original"):
        resolve(Path("Original"), named)
