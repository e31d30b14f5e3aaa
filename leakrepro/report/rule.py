"""What RULE gives, round by round: tables and figures."""

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
_YARDSTICK: Mapping[str, Any] = {
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
    leak, retained = leak_column(table), "retain score (sampled)"
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
