"""Comparison of core metrics on the same samples."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from leakrepro.evaluation.leak_report import LeakReport, check_reports
from leakrepro.report.captions import labels
from leakrepro.report.examples import check_counts
from leakrepro.report.figures import draw_curve, draw_legend, finish_axes
from leakrepro.report.style import line_styles, style
from leakrepro.stats.checks import check_scores
from leakrepro.types import Scores

if TYPE_CHECKING:
    from leakrepro.sampling import Samples

THRESHOLD = 0.5  # default score from which a sample leaks, for real-valued metrics


def metrics_figure(reports: Iterable[LeakReport]) -> Figure:
    """Draw leak@k against k, one panel per core metric and one line per report.

    Args:
        reports: Reports with the same core metrics.

    Raises:
        ValueError: when the reports cannot share a figure, see ``check_reports``, or a report does
            not have a metric of the first one.
    """
    checked = check_reports(reports)
    names = labels(checked)
    styles = line_styles(names)
    metrics = list(checked[0].curves)
    columns = min(3, math.ceil(len(metrics) ** 0.5))
    rows = -(-len(metrics) // columns)
    with style():
        figure, axes = plt.subplots(
            rows, columns, figsize=(2.7 * columns + 1.2, 2.6 * rows), squeeze=False, sharey=True
        )
        for axis, metric in zip(axes.flat, metrics, strict=False):
            curves = [report.curve(metric) for report in checked]
            for name, curve in zip(names, curves, strict=True):
                draw_curve(axis, curve, styles[name])
            finish_axes(axis, curves, arrow=axis is axes[0, -1])
            axis.set_title(metric.partition("@")[0], fontsize=8)
        for axis in axes.flat[len(metrics) :]:
            axis.set_axis_off()
        for axis in axes[:, 0]:
            axis.set_ylabel("leak@k")
        draw_legend(figure, styles)
        plt.close(figure)
    return figure


def agreement(
    scores: Mapping[str, Scores | ArrayLike], threshold: float = THRESHOLD
) -> pd.DataFrame:
    """Compute for each pair of core metrics how well they agree on which samples leak.

    Args:
        scores: Core metric id -> scores of the same samples.
        threshold: A sample leaks if its score is at least this, in (0, 1].

    Returns:
        One row per pair. Columns: a, b (metric ids), both, only a, only b, neither (shares of the
        samples), kappa (Cohen's kappa, the agreement beyond chance; nan if both metrics call all
        samples leaks or both call none).

    Raises:
        ValueError: when the scores are of different samples, or ``threshold`` is outside (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be in (0, 1], not {threshold}")
    rows = []
    checked = {name: check_scores(each) for name, each in scores.items()}
    for (a, of_a), (b, of_b) in itertools.combinations(checked.items(), 2):
        if not np.array_equal(of_a.offsets, of_b.offsets):
            raise ValueError(f"{a} and {b} are scores of different samples")
        one, two = of_a.values >= threshold, of_b.values >= threshold
        both, neither = float((one & two).mean()), float((~one & ~two).mean())
        p, q = float(one.mean()), float(two.mean())
        chance = p * q + (1 - p) * (1 - q)
        kappa = (both + neither - chance) / (1 - chance) if chance < 1 else float("nan")
        rows.append(
            {
                "a": a,
                "b": b,
                "both": both,
                "only a": float((one & ~two).mean()),
                "only b": float((~one & two).mean()),
                "neither": neither,
                "kappa": kappa,
            }
        )
    return pd.DataFrame(rows)


def disagreements(
    samples: Samples,
    scores: Mapping[str, Scores | ArrayLike],
    a: str,
    b: str,
    *,
    count: int = 5,
    threshold: float = THRESHOLD,
) -> pd.DataFrame:
    """Find samples that leak under one core metric but not under another.

    Args:
        samples: Samples of one model.
        scores: Core metric id -> scores of the samples.
        a: Id of the first metric.
        b: Id of the second metric.
        count: Maximum number of distinct samples that leak only under ``a``, and of those that leak
            only under ``b``.
        threshold: A sample leaks if its score is at least this.

    Returns:
        One row per distinct sample, the most frequent first. Columns: leaks under (id of the
        metric), question, reference, sample, times (number of occurrences), and the score of every
        metric.

    Raises:
        ValueError: when a metric is not in ``scores``, or the scores are of different samples.
    """
    for name in (a, b):
        if name not in scores:
            raise ValueError(f"no scores of {name!r}, only of {', '.join(scores)}")
    checked = {name: check_scores(each) for name, each in scores.items()}
    for each in checked.values():
        check_counts(samples, each)
    rows = []
    for i, (prompt, texts) in enumerate(zip(samples.prompts, samples.texts, strict=True)):
        for j, text in enumerate(texts):
            leaks = [checked[name][i][j] >= threshold for name in (a, b)]
            if leaks[0] != leaks[1]:
                rows.append(
                    {
                        "leaks under": a if leaks[0] else b,
                        "question": prompt.messages[-1]["content"],
                        "reference": prompt.reference,
                        "sample": text,
                        **{name: float(each[i][j]) for name, each in checked.items()},
                    }
                )
    columns = ["leaks under", "question", "reference", "sample", *scores]
    frame = pd.DataFrame(rows, columns=columns)
    times = frame.groupby(columns[:4], sort=False).size().rename("times").reset_index()
    distinct = frame.drop_duplicates(columns[:4]).merge(times, on=columns[:4])
    distinct = distinct.sort_values("times", ascending=False, kind="stable")
    chosen = distinct.groupby("leaks under", sort=False).head(count)
    return chosen[[*columns[:4], "times", *scores]].reset_index(drop=True)
