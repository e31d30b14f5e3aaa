"""The result of RULE, round by round, and its tables."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from leakrepro import __version__
from leakrepro.evaluation.frames import HIGH, LOW, add_estimate, readable
from leakrepro.evaluation.leak_report import LeakReport
from leakrepro.stats.estimator import LeakCurve, LeakDifference
from leakrepro.unlearning.rule import Added

CONTROLS: Mapping[Added, str] = {
    "leaks": "RULE",
    "none": "more steps",
    "non_leaks": "non-leaks added",
}


@dataclass(frozen=True, eq=False)
class RuleRound:
    """One round of RULE, or round 0 (the base method), measured.

    Attributes:
        index: 0 for the base method.
        checkpoint: Folder of its model.
        report: On the prompts that are searched for leaks.
        held_out_report: On the held-out prompts, which never are; None where there are none.
        to_retrain: leak@k less that of Retrain, paired by prompt; far below 0 is suppression, not
            forgetting. None where no Retrain was given.
        added: Answers that this round added to the forget set.
        forget_set_size: Answers in the forget set that it trained on.
        steps: Optimiser steps that it took.
        search_samples: Samples drawn to find leaks before it.
        search_tokens: Tokens of these samples.
        leaking_samples: How many of them leaked.
        leaking_prompts: How many prompts they were of.
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
        """k -> leak@k of the headline metric on the searched prompts."""
        return _values(self.report.curve())

    @property
    def held_out_leak(self) -> dict[int, float]:
        """k -> leak@k on the held-out prompts; empty where there are none."""
        return _values(self.held_out_report.curve()) if self.held_out_report else {}

    @property
    def retain(self) -> float:
        """Retain score of greedy answers."""
        return float(self.report.retain_greedy[self.report.headline].value[0])

    @property
    def retain_sampled(self) -> float:
        """Retain score of sampled answers."""
        return float(self.report.retain_sampled[self.report.headline].value[0])


@dataclass(frozen=True, eq=False, repr=False)
class RuleResult:
    """RULE, or one of its controls, around one base method.

    Attributes:
        base: The base method.
        added: ``"leaks"`` (RULE), or the control ``"none"`` or ``"non_leaks"``.
        benchmark: Name of the benchmark.
        rounds: Round 0 (the base method) and those after it.
    """

    base: str
    added: Added
    benchmark: str
    rounds: tuple[RuleRound, ...]

    @property
    def name(self) -> str:
        """``RULE-NPO``, or for a control ``NPO, more steps``."""
        return rule_name(self.base, self.added)

    def to_frame(self) -> pd.DataFrame:
        """One row per round; see ``rule_table``."""
        return rule_table([self])

    def to_json(self) -> str:
        """The rows of ``to_frame`` with the folder of each round's model, as JSON text."""
        rows = json.loads(self.to_frame().to_json(orient="records"))
        for row, each in zip(rows, self.rounds, strict=True):
            row["checkpoint"] = str(each.checkpoint)
        content = {"base": self.base, "added": self.added, "benchmark": self.benchmark}
        return json.dumps({**content, "rounds": rows, "leakrepro": __version__}, indent=1)

    def __repr__(self) -> str:
        return f"{self._title()}\n{self._readable().to_string(index=False)}"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self._title())}</p>{self._readable().to_html(index=False)}"

    def _title(self) -> str:
        return f"RuleResult of {self.name} on {self.benchmark}"

    def _readable(self) -> pd.DataFrame:
        frame = self.to_frame()
        leaks = [name for name in map(str, frame) if re.match(r"(held-out )?leak@\d+$", name)]
        columns = [*leaks, "retain score (greedy)", "retain score (sampled)"]
        bounds = [name + end for name in columns for end in (LOW, HIGH)]
        return readable(frame[["round", *columns, *bounds, "forget set", "steps"]])


def rule_name(base: str, added: Added) -> str:
    """What tables and legends call RULE around a base method, or a control of it."""
    return f"RULE-{base}" if added == "leaks" else f"{base}, {CONTROLS[added]}"


def rule_table(results: Iterable[RuleResult]) -> pd.DataFrame:
    """One row a result and round, every estimate with its interval.

    Columns: benchmark, model, base, kind, round, leak@k for the smallest and the largest k
    (searched prompts), held-out leak at the largest k, easy and hard leak there, less Retrain
    (leak@k less Retrain's, paired), greedy leak, retain score (greedy) and (sampled), finished,
    named, forget set, added, leaking prompts (of the search), steps, search samples and search
    tokens.
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
                i = int((each.to_retrain.k == last).argmax())
                row[f"leak@{last} less Retrain"] = float(each.to_retrain.value[i])
                row[f"leak@{last} less Retrain{LOW}"] = float(each.to_retrain.low[i])
                row[f"leak@{last} less Retrain{HIGH}"] = float(each.to_retrain.high[i])
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
    """The first and the last round of each model, averaged over worlds.

    Columns: model, round, leak at the largest k, held-out leak, retain score (greedy) and
    (sampled), worlds. Columns that end in " low" and " high" hold the least and the most of the
    worlds.

    Args:
        table: From ``rule_table``.
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
    """The column of leak@k at the largest k."""
    ks = [int(c[5:]) for c in map(str, table) if c.startswith("leak@") and c[5:].isdigit()]
    return f"leak@{max(ks)}"


def _values(curve: LeakCurve) -> dict[int, float]:
    return {int(k): float(v) for k, v in zip(curve.k, curve.value, strict=True)}
