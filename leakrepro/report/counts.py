"""Histograms of the number of leaking samples per prompt, sampled and greedy."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from leakrepro.evaluation.frames import add_estimate
from leakrepro.report.published import reference_values
from leakrepro.report.style import style
from leakrepro.stats.counts import LeakCounts


def counts_table(
    counts: Mapping[str, LeakCounts], greedy: Mapping[str, LeakCounts]
) -> pd.DataFrame:
    """Summarise how often prompts leak, one row per model.

    Args:
        counts: Model -> counts of its samples.
        greedy: Model -> counts of its greedy answers.

    Returns:
        Columns: model, samples (per prompt), greedy leak, average leak, ever leaks (share of
        prompts with a leak), never (number of prompts without a leak), median and most (leaking
        samples per prompt). The shares have intervals in columns that end in " low" and " high".

    Raises:
        ValueError: when ``counts`` and ``greedy`` are of different models, or empty.
    """
    _check(counts, greedy)
    rows = []
    for model, each in counts.items():
        row: dict[str, str | float] = {"model": model, "samples": int(each.samples.min())}
        add_estimate(row, "greedy leak", greedy[model].average, 1)
        add_estimate(row, "average leak", each.average, 1)
        if each.ever is not None:
            add_estimate(row, "ever leaks", each.ever, int(each.ever.k[0]))
        row["never"] = int((each.counts == 0).sum())
        row["median"] = float(np.median(each.counts))
        row["most"] = int(each.counts.max())
        rows.append(row)
    return pd.DataFrame(rows)


def counts_figure(
    counts: Mapping[str, LeakCounts],
    greedy: Mapping[str, LeakCounts],
    edges: Sequence[int] | None = None,
) -> Figure:
    """Draw histograms of the number of leaking samples per prompt, one panel per model.

    Greedy decoding gives the same answer n times, so its prompts are all in the first or the last
    bar.

    Args:
        counts: Model -> counts of its samples; every prompt has the same number of samples.
        greedy: Model -> counts of its greedy answers, one per prompt.
        edges: Edges of the bars, in leaking samples; None for 0, 1 and about equal steps up to n.

    Raises:
        ValueError: when ``counts`` and ``greedy`` are of different models, or ``edges`` do not
            increase or do not cover all counts.
    """
    _check(counts, greedy)
    n = max(int(each.samples.max()) for each in counts.values())
    if edges is None:
        steps = [round(n * i / 8) for i in range(1, 8)]
        edges = sorted({0, 1, *steps, n, n + 1} - {s for s in steps if s < 2})
    names = [f"{a}" if b == a + 1 else f"{a}-{b - 1}" for a, b in itertools.pairwise(edges)]
    columns = min(len(counts), 3)
    rows = -(-len(counts) // columns)
    with style():
        figure, axes = plt.subplots(
            rows, columns, figsize=(2.9 * columns, 2.1 * rows), squeeze=False, sharey=True
        )
        place = np.arange(len(names))
        for axis, (model, each) in zip(axes.flat, counts.items(), strict=False):
            once = greedy[model]
            asked = np.histogram(once.counts * n, [*edges[:-1], edges[-1] - 0.5])[0]
            axis.bar(place - 0.2, each.histogram(edges), 0.4, color="#0072B2", label="sampled")
            axis.bar(
                place + 0.2,
                asked,
                0.4,
                color="white",
                edgecolor="0.3",
                hatch="////",
                label="greedy",
            )
            axis.set_title(model)
            axis.set_xticks(place, names, rotation=60, fontsize=7)
        for axis in axes.flat[len(counts) :]:
            axis.set_axis_off()
        for axis in axes[:, 0]:
            axis.set_ylabel("prompts")
        for axis in axes[-1]:
            axis.set_xlabel(f"leaking samples of {n}")
        handles, texts = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, texts, loc="outside upper right", ncols=2)
        plt.close(figure)
    return figure


def published_counts(model: str) -> pd.DataFrame:
    """Return the published histogram of a model on TOFU forget10, greedy and at T = 1.

    Args:
        model: Name of the model.

    Returns:
        Columns: from, to (leaking samples out of 200, both bounds as published), greedy, sampled
        (numbers of prompts), source. Empty if no histogram of the model was published.
    """
    values = reference_values()
    rows = values[
        values["metric"].str.startswith("number of prompts") & (values["method"] == model)
    ].copy()
    bounds = rows["metric"].str.extract(r"\[(\d+),(\d+)\]").astype(float)
    rows["from"], rows["to"] = bounds[0], bounds[1]
    # The authors' script labels the cell T = 0.2, top-p 0.2 as greedy.
    rows["how"] = np.where(rows["temperature"] == 1, "sampled", "greedy")
    wide = rows.pivot_table(
        index=["from", "to", "source"], columns="how", values="value", sort=False
    )
    wide = wide.reset_index().rename_axis(columns=None)
    columns = ["from", "to", "greedy", "sampled", "source"]
    return wide.reindex(columns=columns).astype({"from": int, "to": int})


def _check(counts: Mapping[str, LeakCounts], greedy: Mapping[str, LeakCounts]) -> None:
    if not counts or counts.keys() != greedy.keys():
        raise ValueError(
            f"sampled counts are of {', '.join(counts) or 'no model'}, greedy counts of "
            f"{', '.join(greedy) or 'no model'}"
        )
