"""Tables and figures of RULE on synthetic rounds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from example_reports import report

from leakrepro.evaluation.frames import readable
from leakrepro.evaluation.leak_report import LeakReport
from leakrepro.evaluation.rule_result import RuleResult, RuleRound, rule_means, rule_table
from leakrepro.report import (
    before_after_figure,
    published_trajectories,
    training_figure,
    trajectory_figure,
)
from leakrepro.stats.estimator import compare_leak


def named_report(model: str, benchmark: str) -> LeakReport:
    return dataclasses.replace(report(model), benchmark=benchmark, named_share=0.75)


def result(base: str = "NPO", added: Any = "leaks", benchmark: str = "world 0") -> RuleResult:
    models = (base, "GradDiff", "RULE-NPO")
    rounds = tuple(
        RuleRound(
            index=index,
            checkpoint=Path(f"round-{index}"),
            report=named_report(model, benchmark),
            held_out_report=named_report("SimNPO", f"{benchmark}, held-out prompts"),
            to_retrain=compare_leak(
                np.eye(2, 128), np.eye(2, 128) * (index % 2), report().curve().k.tolist()
            ),
            added=10 * index,
            forget_set_size=80 + 10 * index,
            steps=100,
            search_samples=640 * (index > 0),
            search_tokens=8000 * (index > 0),
            leaking_samples=20 * index,
            leaking_prompts=5 * index,
        )
        for index, model in enumerate(models)
    )
    return RuleResult(base, added, benchmark, rounds)


def test_names() -> None:
    assert result().name == "RULE-NPO"
    assert result(added="none").name == "NPO, more steps"
    assert result(added="non_leaks").name == "NPO, non-leaks added"


def test_properties_of_a_round() -> None:
    first = result().rounds[0]
    curve = report("NPO").curve()
    assert first.leak == dict(zip(curve.k.tolist(), curve.value.tolist(), strict=True))
    assert first.held_out_leak[128] == report("SimNPO").curve().at(128)[0]
    assert first.retain == report("NPO").retain_greedy["fact_match"].value[0]
    assert first.retain_sampled == report("NPO").retain_sampled["fact_match"].value[0]
    assert dataclasses.replace(first, held_out_report=None).held_out_leak == {}


def test_the_table_has_every_estimate_with_its_interval() -> None:
    table = rule_table([result(), result(added="none")])
    assert table["kind"].tolist() == ["RULE"] * 3 + ["more steps"] * 3
    row = table.iloc[2]
    value, low, high = report("RULE-NPO").curve().at(128)
    assert (row["leak@128"], row["leak@128 low"], row["leak@128 high"]) == (value, low, high)
    assert row["held-out leak@128"] == report("SimNPO").curve().at(128)[0]
    assert (row["leak@128 less Retrain"], table["leak@128 less Retrain"].iloc[1]) == (1, 0)
    assert row["named"] == 0.75
    assert (row["forget set"], row["added"], row["leaking prompts"]) == (100, 20, 10)


def test_counts_are_formatted_without_decimals() -> None:
    text = readable(rule_table([result()]))
    assert text["round"].tolist() == ["0", "1", "2"]
    assert text["search tokens"].tolist() == ["0", "8000", "8000"]
    assert text["named"].tolist() == ["0.75"] * 3


def test_means_are_over_seeds() -> None:
    table = rule_table([result(benchmark="world 0"), result(benchmark="world 1")])
    table.loc[table["benchmark"] == "world 1", "leak@128"] += 0.5
    means = rule_means(table)
    assert means["round"].tolist() == [0, 2]
    assert means["worlds"].tolist() == [2, 2]
    base = report("NPO").curve().at(128)[0]
    assert means["leak@128"].iloc[0] == pytest.approx(base + 0.25)
    assert means["leak@128 low"].iloc[0] == pytest.approx(base)
    assert means["leak@128 high"].iloc[0] == pytest.approx(base + 0.5)


def test_trajectories_are_drawn_round_by_round() -> None:
    results = [result(), result(added="none"), result("SimNPO")]
    table = rule_table(results)
    retrain = named_report("Retrain", "world 0")
    figure = trajectory_figure(table, [retrain])
    npo, simnpo = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["NPO", "SimNPO"]
    lines = [line for line in npo.lines if len(np.asarray(line.get_xdata())) == 3]
    for line, (_, rows) in zip(lines, table[table["base"] == "NPO"].groupby("kind"), strict=False):
        assert len(np.asarray(line.get_ydata())) == len(rows)
    assert lines[0].get_xdata() == pytest.approx(table["leak@128"].iloc[:3].to_numpy())
    assert lines[0].get_ydata() == pytest.approx(
        table["retain score (sampled)"].iloc[:3].to_numpy()
    )
    circle = [line for line in simnpo.lines if line.get_color() == "0.5"]
    assert circle[0].get_xdata() == pytest.approx([retrain.curve().value[-1]])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["RULE", "more steps", "Retrain"]
    with pytest.raises(ValueError, match="does not have any rounds"):
        trajectory_figure(table.iloc[:0])


def test_published_rounds_are_drawn() -> None:
    published = published_trajectories()
    npo = published[published["base"] == "NPO"]
    assert npo["round"].tolist() == [0, 1, 2, 3]
    assert npo["leak"].tolist() == [0.745, 0.718, 0.032, 0.015]
    assert npo["retain"].tolist() == [0.367, 0.361, 0.369, 0.366]
    # Points with an unreadable coordinate are dropped.
    assert published[published["base"] == "SimNPO"]["round"].tolist() == [0, 1, 2]
    figure = trajectory_figure(rule_table([result()]), published=published)
    drawn = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert drawn[0].get_xdata() == pytest.approx(npo["leak"].to_numpy())
    assert figure.axes[0].get_ylim()[0] < 0.361


def test_before_and_after() -> None:
    results = [result(), result("SimNPO"), result(added="none")]
    figure = before_after_figure(results, named_report("Retrain", "world 0"))
    assert [axes.get_title() for axes in figure.axes] == ["NPO", "SimNPO"]
    # Lines: base method, RULE, one held-out line for each, and Retrain.
    assert [len(axes.lines) for axes in figure.axes] == [5, 5]
    assert figure.axes[0].lines[2].get_ydata() == pytest.approx(report("RULE-NPO").curve().value)
    with pytest.raises(ValueError, match="exactly one benchmark"):
        before_after_figure([result(), result(benchmark="world 1")])
    with pytest.raises(ValueError, match="exactly one benchmark"):
        before_after_figure([])


def test_training_figure() -> None:
    curves = pd.DataFrame(
        {
            "step": [1, 2, 3],
            "loss": [3.0, 2.0, 1.0],
            "forget_loss": [2.0, 1.5, 0.5],
            "retain_loss": [1.0, 0.5, 0.5],
            "leak@1": [np.nan, 0.5, np.nan],
            "leak@16": [np.nan, 0.9, np.nan],
        }
    )
    titles = [axes.get_title() for axes in training_figure(curves).axes]
    assert titles == ["forget loss", "retain loss", "leak on a few prompts"]
    forget_only = curves.drop(columns=["retain_loss", "leak@1", "leak@16"])
    assert [axes.get_title() for axes in training_figure(forget_only).axes] == ["forget loss"]
    with pytest.raises(ValueError, match="the curves are empty"):
        training_figure(curves.iloc[:0])
