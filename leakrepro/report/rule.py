"""Figures of RULE: trajectories over the rounds, and curves before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from leakrepro.evaluation.leak_report import LeakReport
from leakrepro.evaluation.rule_result import RuleResult, leak_column
from leakrepro.report.style import LineStyle, line_styles, style

_LINES: Mapping[Any, LineStyle] = {
    "RULE": LineStyle("#0072B2", "o", "-"),
    "more steps": LineStyle("#D55E00", "s", (0, (5, 2))),
    "non-leaks added": LineStyle("#009E73", "^", (0, (2, 1.5))),
}
_RETRAIN: Mapping[str, Any] = {
    "color": "0.5",
    "marker": "o",
    "linestyle": "none",
    "markersize": 9,
    "markerfacecolor": "none",
    "markeredgewidth": 1.5,
}
_PUBLISHED: Mapping[str, Any] = {"color": "0.55", "marker": "x", "linewidth": 1.0}


def trajectory_figure(
    table: pd.DataFrame, retrain: Sequence[LeakReport] = (), published: pd.DataFrame | None = None
) -> Figure:
    """Draw leak@k at the largest k against the retain score, one panel per base method.

    The filled marker is round 0, the base method; the last round is labelled with its number. Lines
    of several benchmark seeds share a style. The grey circle is Retrain; a leak far below it is
    suppression.

    Args:
        table: Table from ``rule_table``, for one or more benchmark seeds.
        retrain: Reports of Retrain, one per benchmark seed.
        published: Table from ``published_trajectories``, drawn in grey; None for no lines.

    Raises:
        ValueError: when the table is empty.
    """
    if table.empty:
        raise ValueError("the table does not have any rounds")
    leak, retained = leak_column(table), "retain score (sampled)"
    bases = list(dict.fromkeys(table["base"]))
    baselines = [
        (float(r.curve().value[-1]), float(r.retain_sampled[r.headline].value[0])) for r in retrain
    ]
    points = [*zip(table[leak], table[retained], strict=True), *baselines]
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
            for point in baselines:
                axes.plot(*point, **_RETRAIN, zorder=2)
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
        if baselines:
            entries["Retrain"] = Line2D([], [], **_RETRAIN)
        if published is not None:
            entries["published"] = Line2D([], [], **_PUBLISHED)
        _legend(figure, entries)
        plt.close(figure)
    return figure


def before_after_figure(results: Sequence[RuleResult], retrain: LeakReport | None = None) -> Figure:
    """Draw leak@k against k before and after RULE, one panel per base method.

    Dashed lines are the base methods, solid lines the last round. Lines with markers are the
    searched prompts; thin lines are the held-out prompts.

    Args:
        results: Results on one benchmark; controls are ignored.
        retrain: Report of Retrain, drawn as a dotted grey line; None for no line.

    Raises:
        ValueError: when ``results`` is empty or has results on several benchmarks.
    """
    if len({result.benchmark for result in results}) != 1:
        raise ValueError("before_after_figure needs results on exactly one benchmark")
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
            axes.set_xlabel("k, samples per prompt")
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
    """Add a legend above the panels; two entries fit above each panel."""
    columns = min(len(entries), 2 * len(figure.axes))
    figure.legend(list(entries.values()), list(entries), loc="outside upper center", ncols=columns)
