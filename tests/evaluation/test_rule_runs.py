"""``rule``: every round is evaluated on searched and held-out prompts and against Retrain."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import small_world as small

import leakrepro as lr
from leakrepro.benchmarks import Benchmark
from leakrepro.models.tiny import tiny_model
from leakrepro.profiles.schema import Profile
from leakrepro.reproduction.rules import make_rules, rule_options
from leakrepro.unlearning import GradDiffOptions, NPOOptions, RuleOptions

SIZES: dict[str, Any] = {"batch_size": 10, "accumulation": 1, "warmup_epochs": 0, "beta": 0.5}
WEAK = NPOOptions(**SIZES, learning_rate=3e-4, epochs=2, retain_weight=2.0)
STRONG = dataclasses.replace(WEAK, learning_rate=1e-3, steps=12)
OPTIONS = RuleOptions(base=WEAK, round=STRONG, n=16, cap=2)
DECODING = lr.Decoding(n=8, max_new_tokens=32)


@pytest.fixture(autouse=True)
def _home(small_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKREPRO_HOME", str(small_home))


@pytest.fixture
def retrain(small_world: Benchmark) -> Path:
    return tiny_model(small_world, "retain", small.RECIPE)


@pytest.fixture
def result(small_original: Path, small_world: Benchmark, retrain: Path) -> lr.report.RuleResult:
    return lr.rule(
        small_original,
        small_world,
        "NPO",
        2,
        OPTIONS,
        retrain=retrain,
        decoding=DECODING,
        retain_n=2,
    )


def test_every_round_is_evaluated(
    small_world: Benchmark, retrain: Path, result: lr.report.RuleResult
) -> None:
    assert result.name == "RULE-NPO"
    assert [each.index for each in result.rounds] == [0, 1, 2]
    baseline = lr.evaluate(retrain, small_world, decoding=DECODING, retain_n=2)
    for each in result.rounds:
        again = lr.evaluate(each.checkpoint, small_world, decoding=DECODING, retain_n=2)
        curve = again.curve()
        assert each.leak == dict(zip(curve.k.tolist(), curve.value.tolist(), strict=True))
        assert list(each.leak) == [1, 2, 4, 8]
        assert each.retain == again.retain_greedy["fact_match"].value[0]
        assert each.retain_sampled == again.retain_sampled["fact_match"].value[0]
        assert each.held_out_report is not None
        assert "held-out prompts" in each.held_out_report.benchmark
        assert list(each.held_out_leak) == [1, 2, 4, 8]
        assert each.to_retrain is not None
        difference = curve.value - baseline.curve().value
        assert each.to_retrain.value.tolist() == pytest.approx(difference.tolist())
        assert 0 <= (each.report.named_share or 0) <= 1
    # Twelve steps at a high learning rate reduce the leak.
    assert result.rounds[0].leak[8] > result.rounds[2].leak[8] + 0.1


def test_the_table_has_one_row_per_round(result: lr.report.RuleResult) -> None:
    table = lr.report.rule_table([result])
    assert table["round"].tolist() == [0, 1, 2]
    assert set(table["model"]) == {"RULE-NPO"}
    assert table["leak@8"].tolist() == [each.leak[8] for each in result.rounds]
    for name in ("leak@1", "leak@8", "held-out leak@8", "easy leak@8", "hard leak@8"):
        assert (table[f"{name} low"] <= table[name]).all()
        assert (table[name] <= table[f"{name} high"]).all()
    assert (table["leak@8 less Retrain low"] <= table["leak@8 less Retrain"]).all()
    assert table["steps"].tolist()[1:] == [12, 12]
    assert table["search samples"].tolist() == [0, 160, 160]
    assert not table.isna().any().any()
    assert len(lr.report.readable(table)) == 3


def test_output_dir_holds_models_and_table(
    small_original: Path, small_world: Benchmark, tmp_path: Path, result: lr.report.RuleResult
) -> None:
    again = lr.rule(
        small_original,
        small_world,
        "NPO",
        1,
        OPTIONS,
        decoding=DECODING,
        retain_n=2,
        output_dir=tmp_path,
    )
    assert [each.checkpoint for each in again.rounds] == [
        tmp_path / "round-0",
        tmp_path / "round-1",
    ]
    assert [each.leak for each in again.rounds] == [each.leak for each in result.rounds[:2]]
    table = pd.read_csv(tmp_path / "rounds.csv")
    assert table["leak@8"].tolist() == pytest.approx([each.leak[8] for each in again.rounds])
    assert "leak@8 less Retrain" not in table


def test_invalid_arguments(small_original: Path, small_world: Benchmark) -> None:
    with pytest.raises(ValueError, match="rounds must be at least 0, not -1"):
        lr.rule(small_original, small_world, rounds=-1)
    high = DECODING.replace(seed=1 << 62)
    with pytest.raises(ValueError, match=r"evaluation seeds must be below 2\*\*62"):
        lr.rule(small_original, small_world, decoding=high)
    with pytest.raises(ValueError, match="unknown unlearning method 'NOP'"):
        lr.rule(small_original, small_world, "NOP")


def profile(**changes: Any) -> Profile:
    method = {"batch_size": 10, "accumulation": 1, "warmup_epochs": 0}
    models = {
        "Original": {"train": "full"},
        "Retrain": {"train": "retain"},
        "NPO": {"unlearn": "NPO", "options": {**method, "learning_rate": 3e-4, "epochs": 2}},
        "GradDiff": {"unlearn": "GradDiff", "options": {**method, "epochs": 1}},
    }
    rule = {
        "rounds": 1,
        "options": {"n": 8, "cap": 2},
        "bases": {
            "NPO": {"round": {"learning_rate": 1e-3, "steps": 6}},
            "GradDiff": {"round": {"steps": 4}},
        },
        "controls": ["NPO"],
    }
    content = small.profile(models=models, rule=rule, **changes)
    return Profile.model_validate({**content, "name": "small"})


def test_a_profile_defines_bases_and_controls(
    small_world: Benchmark, small_original: Path, retrain: Path
) -> None:
    paths = {"Original": small_original, "Retrain": retrain}
    results = make_rules(profile(), small_world, paths)
    assert [result.name for result in results] == [
        "RULE-NPO",
        "NPO, more steps",
        "NPO, non-leaks added",
        "RULE-GradDiff",
    ]
    table = lr.report.rule_table(results)
    assert len(table) == 8
    assert table.loc[table["round"] == 1, "steps"].tolist() == [6, 6, 6, 4]
    npo = table[table["base"] == "NPO"]
    assert npo.loc[npo["round"] == 0, "leak@8"].nunique() == 1
    for figure in (
        lr.report.trajectory_figure(table),
        lr.report.before_after_figure(results),
    ):
        assert [axes.get_title() for axes in figure.axes] == ["NPO", "GradDiff"]


def test_a_round_changes_the_options_of_its_method() -> None:
    options = rule_options(profile(), "NPO", "non_leaks")
    assert isinstance(options.base, NPOOptions)
    assert isinstance(options.round, NPOOptions)
    assert (options.base.learning_rate, options.base.epochs, options.base.steps) == (3e-4, 2, None)
    assert (options.round.learning_rate, options.round.steps) == (1e-3, 6)
    assert (options.n, options.cap, options.added) == (8, 2, "non_leaks")
    assert isinstance(rule_options(profile(), "GradDiff").round, GradDiffOptions)


def test_profiles_with_invalid_rule_sections(small_world: Benchmark) -> None:
    plain = profile().model_copy(update={"rule": None})
    with pytest.raises(ValueError, match="does not have a section `rule`"):
        make_rules(plain, small_world, {})
    content = profile().model_dump()
    content["rule"]["controls"] = ["RMU"]
    with pytest.raises(ValueError, match="controls of RMU, which is not one of the bases"):
        Profile.model_validate(content)
    content["rule"] |= {"controls": [], "bases": {"Original": {}}}
    with pytest.raises(
        ValueError, match="does not have unlearning options for 'Original'; known: NPO, GradDiff"
    ):
        rule_options(Profile.model_validate(content), "Original")
    content["rule"] |= {"bases": {"NPO": {"round": {"beat": 1}}}}
    with pytest.raises(ValueError, match="options of NPO: unknown 'beat'"):
        rule_options(Profile.model_validate(content), "NPO")
