"""Profiles: the packaged profiles are valid, and errors name the invalid value."""

import ast
from pathlib import Path

import pytest
import yaml

from leakrepro.errors import DataError
from leakrepro.metrics import load_metric
from leakrepro.models.tiny import TinyRecipe
from leakrepro.profiles.models import make_engine
from leakrepro.profiles.schema import (
    Hosted,
    Trained,
    Unlearned,
    fill,
    load_profile,
    parse_yaml,
    profile_names,
)
from leakrepro.report import measured
from leakrepro.reproduction.rules import rule_options
from leakrepro.reproduction.tuning import choose, choose_rules
from leakrepro.types import Decoding
from leakrepro.unlearning.methods.table import find_method

SMALL = {
    "benchmark": "fictional",
    "models": {"Original": {"train": "full"}, "NPO": {"unlearn": "NPO", "options": {"beta": 0.1}}},
    "decoding": {"n": 16, "top_k": 5},
    "retain_n": 4,
    "k": [1, 16],
    "notebooks": ["01_topic"],
}


def write(folder: Path, **changes: object) -> Path:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL | changes, sort_keys=False))
    return path


@pytest.mark.parametrize("name", profile_names())
def test_packaged_profiles_load(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert "Original" in profile.models
    assert "Retrain" in profile.models
    assert max(profile.k) == 128 <= profile.decoding.n


@pytest.mark.parametrize("name", profile_names())
def test_packaged_values_are_valid_options(name: str) -> None:
    profile = load_profile(name)
    fill(TinyRecipe, profile.training, "training")
    for spec in profile.models.values():
        if isinstance(spec, Unlearned):
            fill(find_method(spec.unlearn).options, spec.options, spec.unlearn)
    for metric in (*(profile.metrics or ()), *profile.core_metrics):
        # Metrics with a model would be downloaded.
        if metric.partition("/")[0] not in ("entailment", "cosine"):
            assert load_metric(metric).id == metric
    assert profile.judge is None or profile.judge.startswith("judge/")
    assert make_engine(profile).name == profile.engine
    assert all(Decoding(temperature=t, top_p=p) for t, p in profile.grid)


def test_the_names_that_the_documentation_uses_exist() -> None:
    names = {"embedded", "embedded-full", "scratch-cpu", "scratch", "paper"}
    assert names == set(profile_names())


def test_the_full_profile_has_the_settings_of_the_short_one() -> None:
    short, full = load_profile("embedded"), load_profile("embedded-full")
    assert short.rule is not None
    assert full.rule is not None
    assert full.rule.bases == short.rule.bases
    assert (full.rule.options, full.rule.rounds) == (short.rule.options, short.rule.rounds)
    assert set(full.rule.controls) == set(full.rule.bases)
    assert all(full.models[name] == short.models[name] for name in full.models)
    same = ("training", "decoding", "retain_n", "k", "metrics", "benchmark")
    assert all(getattr(full, name) == getattr(short, name) for name in same)
    assert full.worlds[0] == short.benchmark_options
    assert short.tuning is not None
    assert not [options for options in short.tuning.worlds if options in full.worlds]


@pytest.mark.parametrize(
    ("name", "study"),
    [("embedded", None), ("scratch-cpu", None), ("embedded", "muse-news"), ("embedded", "wmdp")],
)
def test_settings_match_the_recorded_tuning_trials(name: str, study: str | None) -> None:
    profile = load_profile(name, study=study)
    assert profile.tuning is not None
    trials = measured(f"tuning_{name}-{study}" if study else f"tuning_{name}")
    chosen = choose(trials, profile.tuning.min_retain)
    for model, setting in zip(chosen["model"], chosen["setting"], strict=True):
        spec = profile.models[model]
        assert isinstance(spec, Unlearned)
        assert ast.literal_eval(setting).items() <= spec.options.items(), model
    assert set(chosen["model"]) == set(profile.tuning.grids)
    if profile.tuning.rule_grids:
        chosen = choose_rules(measured(f"tuning_rule_{name}"), profile.tuning.max_retain_loss)
        for model, setting in zip(chosen["model"], chosen["setting"], strict=True):
            assert ast.literal_eval(setting).items() <= profile.rule.bases[model].round.items()
        assert set(chosen["model"]) == set(profile.tuning.rule_grids)


@pytest.mark.parametrize("name", profile_names())
def test_packaged_rule_options_are_valid(name: str) -> None:
    for study in (None, *load_profile(name).studies):
        profile = load_profile(name, study=study)
        for base in profile.rule.bases if profile.rule else ():
            options = rule_options(profile, base)
            assert type(options.base) is type(options.round) is find_method(base).options


def test_rule_can_be_reduced() -> None:
    profile = load_profile("embedded-full", bases=["RMU", "NPO"], rounds=1)
    assert profile.rule is not None
    assert list(profile.rule.bases) == ["RMU", "NPO"]
    assert profile.rule.controls == ("NPO", "RMU")
    assert profile.rule.rounds == 1
    with pytest.raises(ValueError, match="does not have RULE around IdkDPO; it has: NPO, SimNPO"):
        load_profile("embedded", bases=["IdkDPO"])
    with pytest.raises(ValueError, match="'scratch-cpu' does not have a section `rule`"):
        load_profile("scratch-cpu", rounds=1)


def test_paper_has_the_main_decoding_settings() -> None:
    profile = load_profile("paper")
    assert profile.decoding == Decoding(1.0, 1.0, None, 200, 200, 0)
    assert len(profile.models) == 8
    assert all(isinstance(spec, Hosted) for spec in profile.models.values())
    assert profile.benchmark_options["forget"] == "forget10"


def test_a_user_file(tmp_path: Path) -> None:
    profile = load_profile(write(tmp_path))
    assert profile.name == "small"
    assert profile.models == {
        "Original": Trained(train="full"),
        "NPO": Unlearned(unlearn="NPO", options={"beta": 0.1}),
    }
    assert profile.decoding == Decoding(n=16, top_k=5)
    assert profile.k == (1, 16)


def test_none_changes_nothing(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert load_profile(path, models=None, n=None, top_k=None, k=None) == load_profile(path)


def test_overrides(tmp_path: Path) -> None:
    profile = load_profile(
        write(tmp_path),
        models=["NPO"],
        n=8,
        seed=3,
        temperature=0.5,
        top_p=0.9,
        top_k="all",
        max_new_tokens=7,
        k=[1, 8],
    )
    assert list(profile.models) == ["NPO"]
    assert profile.decoding == Decoding(0.5, 0.9, None, 7, 8, 3)
    assert profile.k == (1, 8)


def test_models_are_in_the_requested_order(tmp_path: Path) -> None:
    assert list(load_profile(write(tmp_path), models=["NPO", "Original"]).models) == [
        "NPO",
        "Original",
    ]


def test_zero_differs_from_none(tmp_path: Path) -> None:
    greedy = load_profile(write(tmp_path), temperature=0, n=1, k=[1])
    assert greedy.decoding.is_greedy
    assert load_profile(write(tmp_path, decoding={"seed": 5, "n": 16}), seed=0).decoding.seed == 0
    with pytest.raises(ValueError, match="top_k must be at least 1 or None, not 0"):
        load_profile(write(tmp_path), top_k=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"benchmrak": "tofu"}, "profile 'small': benchmrak: Extra inputs"),
        ({"decoding": {"n": 16, "topp": 1}}, "decoding.topp: Unexpected keyword"),
        ({"decoding": {"n": "many"}}, r"decoding\.n: .*valid integer"),
        ({"decoding": {"n": 16, "temperature": 0}}, "greedy decoding"),
        ({"models": {"A": {"train": "half"}}}, r"models\.A\.train\.train: .*'full' or 'retain'"),
        ({"models": {"A": {"path": "x"}}}, "models.A: a model is one of {train"),
        ({"models": {"A": {"hub": "x", "rev": "y"}}}, "models.A.hub.rev: Extra inputs"),
        ({"models": {}}, "models: .*at least 1 item"),
        ({"k": [1, 17]}, r"k = 17 needs as many samples per prompt, but n is 16.*k=\[1\]"),
        ({"k": [0]}, r"k\.0: .*greater than 0"),
        ({"retain_n": 0}, "retain_n: .*greater than 0"),
        ({"notebooks": []}, "notebooks: .*at least 1 item"),
    ],
)
def test_the_error_names_the_invalid_value(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_profile(write(tmp_path, **changes))


def test_the_error_names_the_invalid_override(tmp_path: Path) -> None:
    path = write(tmp_path)
    with pytest.raises(ValueError, match="no model 'RMU'; it has: Original, NPO"):
        load_profile(path, models=["NPO", "RMU"])
    with pytest.raises(ValueError, match="k = 16 needs as many samples"):
        load_profile(path, n=8)
    with pytest.raises(ValueError, match=r"decoding\.temperature"):
        load_profile(path, temperature="hot")  # type: ignore[arg-type]


def test_unreadable_profiles(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown profile 'embeded'; known: .*embedded.*yaml"):
        load_profile("embeded")
    with pytest.raises(DataError, match=r"none\.yaml: No such file"):
        load_profile(tmp_path / "none.yaml")
    path = tmp_path / "truncated.yaml"
    path.write_text("benchmark: tofu\nmodels: {Original\n")
    with pytest.raises(DataError, match=r"truncated\.yaml, line \d: not YAML"):
        load_profile(path)
    path.write_text("- tofu\n")
    with pytest.raises(DataError, match="a mapping, not list"):
        load_profile(path)
    path.write_bytes(b"benchmark: \xff\n")
    with pytest.raises(DataError, match="not UTF-8"):
        load_profile(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-5", 1e-5), ("2E+3", 2000.0), ("-1e2", -100.0), ("1.5e-3", 0.0015), ("12", 12)],
)
def test_numbers_without_a_dot_are_numbers(text: str, value: float) -> None:
    assert parse_yaml(text) == value


@pytest.mark.parametrize("text", ["e5", "1e", "1e-5x", "all", "1.2.3", "2026-01-31"])
def test_other_values_are_strings(text: str) -> None:
    assert parse_yaml(text) == text


def test_options_from_plain_values() -> None:
    assert fill(Decoding, {"n": 8, "temperature": 1}, "decoding") == Decoding(n=8)
    with pytest.raises(ValueError, match=r"^-o: unknown 'm'; known: temperature, top_p"):
        fill(Decoding, {"m": 8}, "-o")
    with pytest.raises(ValueError, match=r"^-o: n: .*valid integer"):
        fill(Decoding, {"n": "x"}, "-o")
    with pytest.raises(ValueError, match=r"^-o: n must be from 1"):
        fill(Decoding, {"n": 0}, "-o")


STUDY = {
    "benchmark": "tofu",
    "models": {"NPO": {"unlearn": "NPO"}},
    "decoding": {"n": 32},
    "k": [1, 2],
}


def test_a_study_inherits_only_execution_settings_and_sample_counts(tmp_path: Path) -> None:
    path = write(tmp_path, studies={"other": STUDY}, workers=2, metrics=["exact_match"])
    study = load_profile(path, study="other", n=8)
    assert (study.name, study.workers, study.retain_n) == ("small", 2, 4)
    assert (study.benchmark, list(study.models), study.k) == ("tofu", ["NPO"], (1, 2))
    assert (study.decoding.n, study.decoding.top_k) == (8, None)
    assert study.metrics is None
    assert study.studies == {}


@pytest.mark.parametrize(
    ("studies", "message"),
    [
        ({}, "does not have the study 'other'; it has: none"),
        ({"mine": STUDY}, "does not have the study 'other'; it has: mine"),
        ({"other": STUDY | {"k": [64]}}, "k = 64"),
        ({"other": STUDY | {"colour": 1}}, "colour"),
    ],
)
def test_invalid_studies(tmp_path: Path, studies: dict, message: str) -> None:
    path = write(tmp_path, studies=studies)
    with pytest.raises(ValueError, match=message):
        load_profile(path, study="other")


@pytest.mark.parametrize("name", profile_names())
def test_studies_of_packaged_profiles_are_valid(name: str) -> None:
    for study in load_profile(name).studies:
        profile = load_profile(name, study=study)
        assert "Original" in profile.models
        # WMDP's authors did not publish a model that never saw the hazardous knowledge.
        assert "Retrain" in profile.models or profile.benchmark == "wmdp"
        assert max(profile.k) <= profile.decoding.n
        fill(TinyRecipe, profile.training, "training")
        for spec in profile.models.values():
            if isinstance(spec, Unlearned):
                fill(find_method(spec.unlearn).options, spec.options, spec.unlearn)
