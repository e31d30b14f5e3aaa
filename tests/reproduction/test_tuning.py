"""Tuning: every setting in every world, and the rule that chooses among them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import small_world as small
import yaml
from typer.testing import CliRunner

from leakrepro.cli import app
from leakrepro.profiles.schema import load_profile
from leakrepro.reproduction import tuning
from leakrepro.reproduction.tuning import choose, choose_rules, tune, tune_rules


def trials(*rows: tuple[str, str, str, float, float, float]) -> pd.DataFrame:
    columns = ["model", "world", "setting", "greedy leak", "from Retrain", "retain kept"]
    return pd.DataFrame(rows, columns=columns)


TABLE = trials(
    ("Original", "w1", "{}", 0.9, 0.8, 1.0),
    ("Original", "w2", "{}", 0.9, 0.7, 1.0),
    ("Retrain", "w1", "{}", 0.1, 0.0, 1.0),
    ("Retrain", "w2", "{}", 0.2, 0.0, 1.0),
    # Closest on average, but in one world it keeps too little.
    ("NPO", "w1", "a", 0.1, 0.0, 1.0),
    ("NPO", "w2", "a", 0.2, 0.0, 0.94),
    # Less leak than Retrain is no merit: the distance counts.
    ("NPO", "w1", "b", 0.0, 0.10, 1.0),
    ("NPO", "w2", "b", 0.0, 0.20, 1.0),
    # Chosen: nearer than b, and what it keeps is enough in both worlds.
    ("NPO", "w1", "c", 0.2, 0.10, 0.95),
    ("NPO", "w2", "c", 0.3, 0.10, 0.99),
    # As near as each other: the one that keeps more.
    ("GradDiff", "w1", "d", 0.2, 0.10, 0.96),
    ("GradDiff", "w2", "d", 0.3, 0.10, 0.96),
    ("GradDiff", "w1", "e", 0.2, 0.10, 0.97),
    ("GradDiff", "w2", "e", 0.3, 0.10, 0.98),
)


def test_the_choice_is_nearest_to_retrain_among_those_that_keep_enough() -> None:
    chosen = choose(TABLE, 0.95)
    assert chosen[["model", "setting"]].values.tolist() == [["NPO", "c"], ["GradDiff", "e"]]
    assert chosen["leak"].tolist() == pytest.approx([0.25, 0.25])
    assert chosen["distance"].tolist() == pytest.approx([0.10, 0.10])
    assert chosen["kept"].tolist() == [0.95, 0.97]


def test_a_laxer_rule_takes_the_nearest() -> None:
    assert choose(TABLE, 0.9)["setting"].tolist() == ["a", "e"]


def test_nothing_keeps_enough() -> None:
    with pytest.raises(ValueError, match=r"no setting of GradDiff keeps 98% .* best keeps 97.0%"):
        choose(TABLE, 0.98)


SHORT = {"epochs": 1, "batch_size": 10, "accumulation": 1, "warmup_epochs": 0}


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile with two settings of one method and two worlds."""
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "home"))
    content = small.profile(
        models={"My NPO": {"unlearn": "NPO", "options": SHORT | {"learning_rate": 1e-4}}},
        training=dataclasses.asdict(dataclasses.replace(small.RECIPE, epochs=8)),
        metrics=["rougeL_recall"],
        tuning={
            "worlds": [{"seed": 70}, {"seed": 71}],
            "grids": {"My NPO": {"learning_rate": [1e-5, 5e-3], "retain_weight": [1.0]}},
            "min_retain": 0.5,
        },
    )
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "small.yaml"


def test_every_setting_is_tried_in_every_world(
    path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    table = tune(load_profile(path))
    settings = [
        "{'learning_rate': 1e-05, 'retain_weight': 1.0}",
        "{'learning_rate': 0.005, 'retain_weight': 1.0}",
    ]
    expected = [("Original", "{}"), ("Retrain", "{}"), *(("My NPO", s) for s in settings)]
    for seed in (70, 71):
        rows = table[table["world"] == f"fictional(seed={seed})"]
        assert list(zip(rows["model"], rows["setting"], strict=True)) == expected
        assert (rows["greedy leak"].iloc[2] - rows["greedy leak"].iloc[0]) == pytest.approx(
            0, abs=0.1
        )
        # What the large step does shows: settings reach the training.
        assert rows["retain kept"].iloc[3] < rows["retain kept"].iloc[2]
        distance = (rows["greedy leak"] - rows["greedy leak"].iloc[1]).abs()
        assert rows["from Retrain"].tolist() == pytest.approx(distance.tolist())
        kept = rows["retain score"] / rows["retain score"].iloc[0]
        assert rows["retain kept"].tolist() == pytest.approx(kept.tolist())
    assert len(table) == 8
    assert len(list((tmp_path / "home" / "models").iterdir())) == 8

    # Through the command, from what is there: nothing is trained or drawn again.
    drawn: list[int] = []
    sample = tuning.sample

    def watched(*args: Any, **kwargs: Any) -> Any:
        samples = sample(*args, **kwargs)
        drawn.append(samples.drawn)
        return samples

    monkeypatch.setattr(tuning, "sample", watched)

    result = CliRunner().invoke(app, ["tune", str(path), "--output", str(tmp_path / "trials.csv")])
    assert result.exit_code == 0, result.output
    assert drawn == [0] * 8
    assert "My NPO" in result.stdout
    written = pd.read_csv(tmp_path / "trials.csv")
    assert written["greedy leak"].tolist() == pytest.approx(table["greedy leak"], abs=1e-4)
    assert len(list((tmp_path / "home" / "models").iterdir())) == 8


def test_a_study_is_tuned_by_its_name(path: Path) -> None:
    result = CliRunner().invoke(app, ["tune", str(path), "--study", "other"])
    assert result.exit_code == 2
    assert "profile 'small' does not have the study 'other'" in result.stderr


def test_a_profile_without_tuning(path: Path) -> None:
    plain = load_profile(path).model_copy(update={"tuning": None})
    with pytest.raises(ValueError, match="profile 'small' does not have a section `tuning`"):
        tune(plain)


def test_a_grid_for_a_model_that_is_not_unlearned(path: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    for name in ("RMU", "Original"):
        content["models"]["Original"] = {"train": "full"}
        content["tuning"]["grids"] = {name: {"learning_rate": [1e-4]}}
        path.write_text(yaml.safe_dump(content))
        with pytest.raises(ValueError, match=f"tunes '{name}', which it does not unlearn"):
            tune(load_profile(path))
    assert not (tmp_path / "home").exists()


def rule_trials(*rows: tuple[str, str, str, float, float, float]) -> pd.DataFrame:
    columns = ["model", "world", "setting", "leak", "retain loss", "sampled retain loss"]
    return pd.DataFrame(rows, columns=columns)


def test_rules_choice_leaks_least_among_those_that_keep_the_retain_scores() -> None:
    table = rule_trials(
        # Least leak, but it loses too much of the sampled retain score.
        ("NPO", "w1", "a", 0.0, 0.0, 0.10),
        ("NPO", "w2", "a", 0.0, 0.0, 0.02),
        ("NPO", "w1", "b", 0.1, 0.0, 0.05),
        ("NPO", "w2", "b", 0.1, 0.0, -0.01),
        ("NPO", "w1", "c", 0.3, -0.1, -0.1),
        ("NPO", "w2", "c", 0.2, -0.1, -0.1),
        # None keeps enough: the one that loses least.
        ("RMU", "w1", "d", 0.0, 0.2, 0.1),
        ("RMU", "w1", "e", 0.5, 0.1, 0.1),
    )
    chosen = choose_rules(table, 0.03)
    assert chosen[["model", "setting"]].values.tolist() == [["NPO", "b"], ["RMU", "e"]]
    assert choose_rules(table, 0.07)["setting"].tolist() == ["a", "e"]


def test_rules_settings_are_tried_in_every_world(path: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    content["models"] = {
        "Original": {"train": "full"},
        "Retrain": {"train": "retain"},
        "NPO": content["models"]["My NPO"],
    }
    content["rule"] = {
        "rounds": 1,
        "options": {"n": 4, "threshold": 0.1},
        "bases": {"NPO": {"round": {"steps": 2}}},
    }
    content["tuning"] |= {"grids": {}, "rule_grids": {"NPO": {"learning_rate": [1e-5, 5e-3]}}}
    path.write_text(yaml.safe_dump(content))
    table = tune_rules(load_profile(path))
    assert table["world"].tolist() == [f"fictional(seed={s})" for s in (70, 70, 71, 71)]
    assert table["setting"].tolist() == ["{'learning_rate': 1e-05}", "{'learning_rate': 0.005}"] * 2
    assert table.groupby("world")["base leak"].nunique().tolist() == [1, 1]
    small_step, large_step = (table.iloc[i::2]["retain loss"].abs().mean() for i in (0, 1))
    assert large_step > small_step
    with pytest.raises(ValueError, match=r"not have sections `rule` and `tuning\.rule_grids`"):
        tune_rules(load_profile(path).model_copy(update={"rule": None}))
