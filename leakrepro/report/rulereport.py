"""What RULE gives, round by round: tables and figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from leakrepro.leak import LeakCurve, LeakDifference
from leakrepro.report.leakreport import LeakReport
from leakrepro.report.style import LineStyle, line_styles, style
from leakrepro.report.tables import HIGH, LOW, add_estimate

Added = Literal["leaks", "none", "non_leaks"]
CONTROLS: Mapping[Added, str] = {
    "leaks": "RULE",
    "none": "more steps",
    "non_leaks": "non-leaks added",
}
_LINES: Mapping[Any, LineStyle] = {
    "RULE": LineStyle("#0072B2", "o", "-"),
    "more steps": LineStyle("#D55E00", "s", (0, (5, 2))),
    "non-leaks added": LineStyle("#009E73", "^", (0, (2, 1.5))),
}
_YARDSTICK: Mapping[str, Any] = {
    "color": "0.5",
    "marker": "o",
    "linestyle": "none",
    "markersize": 9,
    "markerfacecolor": "none",
    "markeredgewidth": 1.5,
}
_PUBLISHED: Mapping[str, Any] = {"color": "0.55", "marker": "x", "linewidth": 1.0}


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


@dataclass(frozen=True, eq=False)
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
            if report.named is not None:
                row["named"] = report.named
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
    leak = _leak_column(table)
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


def trajectory_figure(
    table: pd.DataFrame, retrain: Sequence[LeakReport] = (), published: pd.DataFrame | None = None
) -> Figure:
    """Leak against retain score over the rounds, a panel a base method.

    A filled marker is round 0, the base method; the last round carries its number. Lines of several
    worlds share a style. Retrain is the grey circle: what lies far below it is suppression.

    Args:
        table: From ``rule_table``; several worlds may stand in it.
        retrain: Reports of Retrain, one a world.
        published: Columns ``base``, ``round``, ``leak``, ``retain``; drawn in grey.

    Raises:
        ValueError: for a table without rows.
    """
    if table.empty:
        raise ValueError("there are no rounds to draw")
    leak, retained = _leak_column(table), "retain score (sampled)"
    bases = list(dict.fromkeys(table["base"]))
    yardsticks = [
        (float(r.curve().value[-1]), float(r.retain_sampled[r.headline].value[0])) for r in retrain
    ]
    points = [*zip(table[leak], table[retained], strict=True), *yardsticks]
    if published is not None:
        points += zip(published["leak"], published["retain"], strict=True)
    with style():
        figure, panels = plt.subplots(
            1, len(bases), figsize=(2.1 + 1.9 * len(bases), 3.4), sharey=True, squeeze=False
        )
        for axes, base in zip(panels[0], bases, strict=True):
            of_base = table[table["base"] == base]
            for (kind, _), rows in of_base.groupby(["kind", "benchmark"], sort=False):
                _draw_trajectory(axes, rows.sort_values("round"), leak, retained, _LINES[kind])
            for yardstick in yardsticks:
                axes.plot(*yardstick, **_YARDSTICK, zorder=2)
            if published is not None:
                theirs = published[published["base"] == base].sort_values("round")
                axes.plot(theirs["leak"], theirs["retain"], **_PUBLISHED, zorder=1)
            axes.set_xlim(-0.03, max(leak for leak, _ in points) + 0.06)
            axes.set_title(base)
            axes.set_xlabel(leak)
        panels[0][0].set_ylabel(retained)
        panels[0][0].set_ylim(min(score for _, score in points) - 0.03, 1.01)
        entries = {
            kind: Line2D([], [], color=line.colour, marker=line.marker, linestyle=line.dashes)
            for kind, line in _LINES.items()
            if kind in set(table["kind"])
        }
        if yardsticks:
            entries["Retrain"] = Line2D([], [], **_YARDSTICK)
        if published is not None:
            entries["published"] = Line2D([], [], **_PUBLISHED)
        _legend(figure, entries)
        plt.close(figure)
    return figure


def before_after_figure(results: Sequence[RuleResult], retrain: LeakReport | None = None) -> Figure:
    """leak@k against k of each base method and its RULE form, a panel a method.

    Solid with filled markers: the searched prompts; thin: the held-out ones.

    Raises:
        ValueError: without results, or for results of several benchmarks.
    """
    if len({result.benchmark for result in results}) != 1:
        raise ValueError("before_after_figure shows one benchmark, and needs at least one result")
    rules = [result for result in results if result.added == "leaks"]
    styles = line_styles([result.base for result in rules])
    with style():
        width = 2.1 + 1.9 * len(rules)
        figure, panels = plt.subplots(
            1, len(rules), figsize=(width, 3.3), sharey=True, squeeze=False
        )
        for axes, result in zip(panels[0], rules, strict=True):
            colour = styles[result.base].colour
            for each, dashes, marker in (
                (result.rounds[0], (0, (5, 2)), "s"),
                (result.rounds[-1], "-", "o"),
            ):
                curve = each.report.curve()
                axes.fill_between(
                    curve.k, curve.low, curve.high, color=colour, alpha=0.1, linewidth=0
                )
                axes.plot(curve.k, curve.value, color=colour, linestyle=dashes, marker=marker)
                if each.held_out_report is not None:
                    other = each.held_out_report.curve()
                    axes.plot(other.k, other.value, color=colour, linestyle=dashes, linewidth=0.7)
            if retrain is not None:
                curve = retrain.curve()
                axes.plot(curve.k, curve.value, color="0.5", linestyle=(0, (1, 1)), linewidth=1.4)
            axes.set_xscale("log", base=2)
            axes.set_xticks(curve.k[::2].tolist(), [str(k) for k in curve.k[::2]])
            axes.set_ylim(-0.02, 1.02)
            axes.set_title(result.base)
            axes.set_xlabel("k, samples a prompt")
        panels[0][0].set_ylabel(f"leak@k ({rules[0].rounds[0].report.headline})")
        entries = {
            "base method": Line2D([], [], color="0.2", linestyle=(0, (5, 2)), marker="s"),
            f"RULE, round {rules[0].rounds[-1].index}": Line2D([], [], color="0.2", marker="o"),
            "held-out prompts": Line2D([], [], color="0.2", linewidth=0.7),
        }
        if retrain is not None:
            entries["Retrain"] = Line2D([], [], color="0.5", linestyle=(0, (1, 1)), linewidth=1.4)
        _legend(figure, entries)
        plt.close(figure)
    return figure


def _draw_trajectory(
    axes: Axes, rows: pd.DataFrame, leak: str, retained: str, line: LineStyle
) -> None:
    axes.plot(
        rows[leak],
        rows[retained],
        color=line.colour,
        marker=line.marker,
        linestyle=line.dashes,
        markerfacecolor="white",
        zorder=3,
    )
    first, last = rows.iloc[0], rows.iloc[-1]
    axes.plot(first[leak], first[retained], color=line.colour, marker=line.marker, zorder=4)
    axes.annotate(
        str(int(last["round"])),
        (last[leak], last[retained]),
        xytext=(-4, 5),
        textcoords="offset points",
        fontsize=7,
        color=line.colour,
    )


def _legend(figure: Figure, entries: Mapping[Any, Line2D]) -> None:
    """Above the panels, two entries a panel, since one panel is no wider than two."""
    columns = min(len(entries), 2 * len(figure.axes))
    figure.legend(list(entries.values()), list(entries), loc="outside upper center", ncols=columns)


def _leak_column(table: pd.DataFrame) -> str:
    """The column of leak@k at the largest k."""
    ks = [int(c[5:]) for c in map(str, table) if c.startswith("leak@") and c[5:].isdigit()]
    return f"leak@{max(ks)}"


def _values(curve: LeakCurve) -> dict[int, float]:
    return {int(k): float(v) for k, v in zip(curve.k, curve.value, strict=True)}
