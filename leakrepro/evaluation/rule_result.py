"""The result of RULE per round, and its tables."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from leakrepro import __version__
from leakrepro.evaluation.frames import HIGH, LOW, add_estimate, readable, to_html
from leakrepro.evaluation.leak_report import LeakReport
from leakrepro.stats.estimator import LeakCurve, LeakDifference
from leakrepro.storage.shown import NO_MATHS, html, plain
from leakrepro.unlearning.rule import Added

CONTROLS: Mapping[Added, str] = {
    "leaks": "RULE",
    "none": "more steps",
    "non_leaks": "non-leaks added",
}


@dataclass(frozen=True, eq=False)
class RuleRound:
    """The evaluation of one round of RULE. Round 0 is the base method.

    Attributes:
        index: Number of the round, from 0.
        checkpoint: Folder of the round's model.
        report: Report on the prompts that RULE searches for leaks.
        held_out_report: Report on the held-out prompts, which RULE never searches; None if the
            benchmark does not have any.
        to_retrain: leak@k minus Retrain's, paired by prompt; None without Retrain. A value far
            below 0 is suppression, not forgetting.
        added: Number of answers that this round added to the forget set.
        forget_set_size: Number of answers in the forget set of this round.
        steps: Number of optimiser steps of this round.
        search_samples: Number of samples drawn in the search for leaks before this round.
        search_tokens: Number of generated tokens of these samples.
        leaking_samples: Number of these samples that leaked.
        leaking_prompts: Number of prompts with a leaking sample.
    """

    index: int
    checkpoint: Path
    report: LeakReport
    held_out_report: LeakReport | None
    to_retrain: LeakDifference | None
    added: int
    forget_set_size: int
    steps: int
    search_samples: int
    search_tokens: int
    leaking_samples: int
    leaking_prompts: int

    @property
    def leak(self) -> dict[int, float]:
        """k -> leak@k of the primary metric on the searched prompts."""
        return _values(self.report.curve())

    @property
    def held_out_leak(self) -> dict[int, float]:
        """k -> leak@k on the held-out prompts; empty without held-out prompts."""
        return _values(self.held_out_report.curve()) if self.held_out_report else {}

    @property
    def retain(self) -> float:
        """Retain score of greedy answers, in [0, 1]."""
        return float(self.report.retain_greedy[self.report.headline].value[0])

    @property
    def retain_sampled(self) -> float:
        """Retain score of sampled answers, in [0, 1]."""
        return float(self.report.retain_sampled[self.report.headline].value[0])


@dataclass(frozen=True, eq=False, repr=False)
class RuleResult:
    """The result of RULE, or of one of its controls, with one base method.

    Attributes:
        base: Name of the base method.
        added: ``"leaks"`` for RULE; ``"none"`` or ``"non_leaks"`` for a control.
        benchmark: Name of the benchmark.
        rounds: All rounds; round 0 is the base method.
    """

    base: str
    added: Added
    benchmark: str
    rounds: tuple[RuleRound, ...]

    @property
    def name(self) -> str:
        """Name in tables and legends: ``RULE-NPO``, or ``NPO, more steps`` for a control."""
        return rule_name(self.base, self.added)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per round; columns as in ``rule_table``."""
        return rule_table([self])

    def to_json(self) -> str:
        """Return the rows of ``to_frame`` and the folder of each round's model, as JSON text."""
        rows = json.loads(self.to_frame().to_json(orient="records"))
        for row, each in zip(rows, self.rounds, strict=True):
            row["checkpoint"] = str(each.checkpoint)
        content = {"base": self.base, "added": self.added, "benchmark": self.benchmark}
        return json.dumps({**content, "rounds": rows, "leakrepro": __version__}, indent=1)

    def __repr__(self) -> str:
        return plain(f"{self._title()}\n{self._readable().to_string(index=False)}")

    def _repr_html_(self) -> str:
        return f'<p class="{NO_MATHS}">{html(self._title())}</p>{to_html(self._readable())}'

    def _title(self) -> str:
        return f"RuleResult of {self.name} on {self.benchmark}"

    def _readable(self) -> pd.DataFrame:
        frame = self.to_frame()
        leaks = [name for name in map(str, frame) if re.match(r"(held-out )?leak@\d+$", name)]
        columns = [*leaks, "retain score (greedy)", "retain score (sampled)"]
        bounds = [name + suffix for name in columns for suffix in (LOW, HIGH)]
        return readable(frame[["round", *columns, *bounds, "forget set", "steps"]])


def rule_name(base: str, added: Added) -> str:
    """Return the name of RULE, or of a control, with a base method.

    Args:
        base: Name of the base method.
        added: ``"leaks"`` for RULE; ``"none"`` or ``"non_leaks"`` for a control.
    """
    return f"RULE-{base}" if added == "leaks" else f"{base}, {CONTROLS[added]}"


def rule_table(results: Iterable[RuleResult]) -> pd.DataFrame:
    """Tabulate the rounds of RULE, one row per result and round.

    Args:
        results: Results on one or more benchmarks.

    Returns:
        Columns: benchmark, model, base, kind, round, leak@k for the smallest and the largest k
        (searched prompts), held-out leak@k, easy leak@k, hard leak@k and "leak@k less Retrain"
        (paired by prompt), all at the largest k, greedy leak, retain score (greedy), retain score
        (sampled), finished, named, forget set, added, leaking prompts, steps, search samples,
        search tokens. Each estimate has its interval in columns that end in " low" and " high".
    """
    rows = []
    for result in results:
        for each in result.rounds:
            report = each.report
            curve, headline = report.curve(), report.headline
            last = int(curve.k[-1])
            row: dict[str, str | float] = {
                "benchmark": result.benchmark,
                "model": result.name,
                "base": result.base,
                "kind": CONTROLS[result.added],
                "round": each.index,
            }
            for k in sorted({int(curve.k[0]), last}):
                add_estimate(row, f"leak@{k}", curve, k)
            if each.held_out_report is not None:
                add_estimate(row, f"held-out leak@{last}", each.held_out_report.curve(), last)
            for split, part in (("easy", report.easy), ("hard", report.hard)):
                if part is not None:
                    add_estimate(row, f"{split} leak@{last}", part, last)
            if each.to_retrain is not None:
                add_estimate(row, f"leak@{last} less Retrain", each.to_retrain, last)
            add_estimate(row, "greedy leak", report.greedy[headline], 1)
            add_estimate(row, "retain score (greedy)", report.retain_greedy[headline], 1)
            add_estimate(row, "retain score (sampled)", report.retain_sampled[headline], 1)
            row["finished"] = report.finished
            if report.named_share is not None:
                row["named"] = report.named_share
            row |= {
                "forget set": each.forget_set_size,
                "added": each.added,
                "leaking prompts": each.leaking_prompts,
                "steps": each.steps,
                "search samples": each.search_samples,
                "search tokens": each.search_tokens,
            }
            rows.append(row)
    return pd.DataFrame(rows)


def rule_means(table: pd.DataFrame) -> pd.DataFrame:
    """Average the first and the last round of each model over benchmark seeds.

    Args:
        table: Table from ``rule_table``.

    Returns:
        One row per model and round. Columns: model, round, leak@k and held-out leak@k at the
        largest k, retain score (greedy), retain score (sampled), worlds (number of seeds). Columns
        that end in " low" and " high" hold the minimum and the maximum over the seeds.
    """
    leak = leak_column(table)
    shown = [leak, f"held-out {leak}", "retain score (greedy)", "retain score (sampled)"]
    rows = []
    for model, rounds in table.groupby("model", sort=False):
        for index in sorted({0, int(rounds["round"].max())}):
            here = rounds[rounds["round"] == index]
            row: dict[str, Any] = {"model": model, "round": index}
            for name in (name for name in shown if name in table):
                row |= {
                    name: here[name].mean(),
                    name + LOW: here[name].min(),
                    name + HIGH: here[name].max(),
                }
            rows.append(row | {"worlds": len(here)})
    return pd.DataFrame(rows)


def leak_column(table: pd.DataFrame) -> str:
    """Return the name of the column with leak@k at the largest k, such as ``leak@128``."""
    ks = [int(c[5:]) for c in map(str, table) if c.startswith("leak@") and c[5:].isdigit()]
    return f"leak@{max(ks)}"


def _values(curve: LeakCurve) -> dict[int, float]:
    return {int(k): float(v) for k, v in zip(curve.k, curve.value, strict=True)}
