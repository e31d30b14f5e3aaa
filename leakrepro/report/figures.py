"""Figures of leak@k against k, with intervals, greedy decoding and chance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import NDArray

from leakrepro.evaluation.leak_report import LeakReport, check_reports
from leakrepro.report.captions import labels
from leakrepro.report.style import LineStyle, line_styles, style
from leakrepro.stats.estimator import LeakCurve

_GREEDY = (0, (3.2, 2.2))
_CHANCE = Line2D([], [], color="0.35", linestyle=":", linewidth=1.4)


def leak_figure(
    reports: Iterable[LeakReport], metric: str | None = None, *, chance: bool = False
) -> Figure:
    """Draw leak@k against k, one line per report with its interval as a band.

    The leak of greedy decoding is a thin dashed line in the same colour with a hollow marker.

    Args:
        reports: One or more reports.
        metric: Id of the core metric; None for the primary metric.
        chance: Whether to draw leak@k of a uniform guesser over all forget prompts, which is 0 on
            the hard prompts.

    Raises:
        ValueError: when the reports cannot share a figure, see ``check_reports``, the metric was
            not computed, or ``chance`` is set and no report has a chance curve or the metric is
            not the primary one.
    """
    checked = check_reports(reports)
    curves = [report.curve(metric) for report in checked]
    metric = checked[0].headline if metric is None else metric
    if chance and metric != checked[0].headline:
        raise ValueError(f"chance is only known for the primary metric, not for {metric!r}")
    names = labels(checked)
    greedy = [float(report.greedy[metric].value[0]) for report in checked]
    return _curves(
        dict(zip(names, curves, strict=True)),
        dict(zip(names, greedy, strict=True)),
        metric,
        _guess(checked) if chance else None,
    )


def curve_figure(
    curves: Mapping[str, LeakCurve], metric: str, *, greedy: Mapping[str, float] | None = None
) -> Figure:
    """Draw leak@k against k as in ``leak_figure``, for curves without a report.

    Args:
        curves: Name in the legend -> curve.
        metric: Id of the core metric, for the axis label.
        greedy: Name -> leak of greedy decoding, for any of the curves.

    Raises:
        ValueError: when ``curves`` is empty, or ``greedy`` has a name that ``curves`` does not.
    """
    greedy = greedy or {}
    if not curves or greedy.keys() - curves.keys():
        raise ValueError(
            f"greedy leaks are of {', '.join(greedy) or 'nothing'}, curves of "
            f"{', '.join(curves) or 'nothing'}"
        )
    return _curves(curves, greedy, metric, None)


def _curves(
    curves: Mapping[str, LeakCurve],
    greedy: Mapping[str, float],
    metric: str,
    guess: tuple[LeakCurve, NDArray[np.float64]] | None,
) -> Figure:
    styles = line_styles(list(curves))
    with style():
        figure, axes = plt.subplots(figsize=(5.6, 3.4))
        for name, curve in curves.items():
            draw_curve(axes, curve, styles[name])
            if name in greedy:
                _draw_greedy(axes, greedy[name], curve, styles[name])
        if guess is not None:
            easy, share = guess
            _draw_chance(axes, easy.k, share)
        finish_axes(axes, list(curves.values()))
        axes.set_xlim(right=axes.get_xlim()[1] * 2**0.5)  # space for the greedy markers
        axes.set_ylabel(f"leak@k ({metric})")
        draw_legend(figure, styles, greedy=bool(greedy), chance=guess is not None)
        plt.close(figure)  # otherwise the notebook backend shows the figure twice
    return figure


def split_figure(reports: Iterable[LeakReport]) -> Figure:
    """Draw leak@k of the primary metric in two panels, for easy and for hard prompts.

    Args:
        reports: Reports on a benchmark with easy and hard prompts.

    Raises:
        ValueError: when the reports cannot share a figure, see ``check_reports``, or a report does
            not have the split.
    """
    checked = check_reports(reports)
    names = labels(checked)
    styles = line_styles(names)
    parts: dict[str, list[LeakCurve]] = {"easy": [], "hard": []}
    for report in checked:
        if report.easy is None or report.hard is None:
            raise ValueError(
                f"report of {report.model!r} does not have easy and hard prompts; the benchmark "
                f"{report.benchmark} does not split them"
            )
        parts["easy"].append(report.easy)
        parts["hard"].append(report.hard)
    with style():
        figure, panels = plt.subplots(1, 2, figsize=(7.2, 3.2), sharey=True)
        for axes, (split, curves) in zip(panels, parts.items(), strict=True):
            for name, curve in zip(names, curves, strict=True):
                draw_curve(axes, curve, styles[name])
            finish_axes(axes, curves, arrow=split == "hard")
            axes.set_title(f"{split} prompts ({curves[0].n_prompts})")
        guesses = [report for report in checked if report.chance is not None]
        if guesses:
            _draw_chance(panels[0], parts["easy"][checked.index(guesses[0])].k, guesses[0].chance)
        panels[0].set_ylabel(f"leak@k ({checked[0].headline})")
        draw_legend(figure, styles, greedy=False, chance=bool(guesses))
        plt.close(figure)
    return figure


def save_figure(figure: Figure, stem: Path | str) -> tuple[Path, Path]:
    """Save a figure as ``stem.png`` (220 dots per inch) and ``stem.pdf``.

    The same figure gives the same bytes.

    Args:
        figure: Figure to save.
        stem: Path without an ending; missing folders are created.

    Returns:
        The paths of the PNG and the PDF.
    """
    stem = Path(stem)
    stem.parent.mkdir(parents=True, exist_ok=True)
    png, pdf = (stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "pdf"))
    with style():
        figure.savefig(png, metadata={"Software": None})
        figure.savefig(pdf, metadata={"CreationDate": None, "Creator": None, "Producer": None})
    return png, pdf


def _guess(reports: Sequence[LeakReport]) -> tuple[LeakCurve, NDArray[np.float64]]:
    for report in reports:
        if report.easy is not None and report.chance is not None:
            share = report.easy.n_prompts / report.curve().n_prompts
            return report.easy, report.chance * share
    raise ValueError("no report has a chance curve: the benchmark does not define pool sizes")


def draw_curve(axes: Axes, curve: LeakCurve, line: LineStyle) -> None:
    """Draw leak@k with its interval as a band.

    Args:
        axes: Axes to draw on.
        curve: Curve to draw.
        line: Style of the line.
    """
    axes.fill_between(curve.k, curve.low, curve.high, color=line.colour, alpha=0.1, linewidth=0)
    for bound in (curve.low, curve.high):  # outlines keep overlapping bands distinguishable
        axes.plot(curve.k, bound, color=line.colour, alpha=0.45, linewidth=0.5)
    axes.plot(
        curve.k, curve.value, color=line.colour, marker=line.marker, linestyle=line.dashes, zorder=3
    )


def _draw_greedy(axes: Axes, leak: float, curve: LeakCurve, line: LineStyle) -> None:
    axes.axhline(leak, color=line.colour, linestyle=_GREEDY, linewidth=0.9, zorder=2)
    axes.plot(
        [curve.k[-1] * 2**0.4],
        [leak],
        color=line.colour,
        marker=line.marker,
        markerfacecolor="white",
        linestyle="none",
        zorder=4,
    )


def _draw_chance(axes: Axes, k: NDArray[np.int64], share: NDArray[np.float64] | None) -> None:
    if share is not None:
        axes.plot(k, share, color="0.35", linestyle=":", linewidth=1.4, zorder=2)


def count_axis(axes: Axes, counts: Sequence[int]) -> None:
    """Make the x-axis logarithmic with one tick per sample count.

    Args:
        axes: Axes to change.
        counts: Sample counts.
    """
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(list(counts)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def finish_axes(axes: Axes, curves: Sequence[LeakCurve], *, arrow: bool = True) -> None:
    """Label the x-axis with k and set the limits of both axes.

    Args:
        axes: Axes to change.
        curves: Curves on the axes.
        arrow: Whether to add an arrow that shows which direction is better.
    """
    ks = np.unique(np.concatenate([curve.k for curve in curves]))
    count_axis(axes, ks.tolist())
    axes.set_xlim(ks[0] * 2**-0.3, ks[-1] * 2**0.3)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("k, samples per prompt")
    if arrow:
        draw_arrow(axes, "lower")


def draw_arrow(axes: Axes, better: Literal["lower", "higher"]) -> None:
    """Add an arrow to the right of the axes that shows which direction is better.

    Args:
        axes: Axes to annotate.
        better: Direction of the arrow.
    """
    tip = {"lower": 0.04, "higher": 0.96}[better]
    axes.annotate(
        f"{better} is better",
        xy=(1.03, tip),
        xytext=(1.03, 0.5),
        xycoords="axes fraction",
        rotation=90,
        ha="center",
        va="center",
        fontsize=8,
        color="0.35",
        arrowprops={"arrowstyle": "->", "color": "0.35", "shrinkA": 4},
        annotation_clip=False,
    )


def draw_legend(
    figure: Figure, styles: dict[str, LineStyle], *, greedy: bool = False, chance: bool = False
) -> None:
    """Add a legend to the right of the panels.

    Args:
        figure: Figure to change.
        styles: Name -> style of its line.
        greedy: Whether to add an entry for greedy decoding.
        chance: Whether to add an entry for guessing.
    """
    handles = [
        Line2D([], [], color=line.colour, marker=line.marker, linestyle=line.dashes)
        for line in styles.values()
    ]
    texts = list(styles)
    if greedy:
        handles.append(
            Line2D(
                [],
                [],
                color="0.35",
                linestyle=_GREEDY,
                linewidth=0.9,
                marker="o",
                markerfacecolor="white",
            )
        )
        texts.append("greedy decoding")
    if chance:
        handles.append(_CHANCE)
        texts.append("guessing")
    figure.legend(handles, texts, loc="outside right upper", handlelength=3.2)
