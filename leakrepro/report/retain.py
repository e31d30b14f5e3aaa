"""Retain scores per model and decoding setting."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from leakrepro.evaluation.frames import HIGH, LOW, add_estimate
from leakrepro.report.figures import draw_arrow
from leakrepro.report.style import line_styles, style
from leakrepro.stats.estimator import compare_leak, leak_at_k
from leakrepro.types import Decoding, Scores

_SCORE = "retain score"


def retain_table(
    scores: Mapping[str, Mapping[Decoding, Scores]],
    clusters: Sequence[Hashable],
    baseline: str = "Original",
) -> pd.DataFrame:
    """Compute the retain score of each model and its difference from a baseline.

    The retain score is the mean over prompts of the mean score over their samples, as in the paper.
    Intervals are over clusters of prompts, and the difference is paired by prompt.

    Args:
        scores: Model -> decoding -> scores of the answers to the retain prompts.
        clusters: Cluster label of each prompt.
        baseline: Name of the baseline model with which the others are compared.

    Returns:
        One row per model and decoding. Columns: model, decoding, temperature, top_p, samples (per
        prompt), retain score and less <baseline> (the difference; missing for the baseline and
        if the baseline is not in ``scores``), each with its interval in columns that end in " low"
        and " high", stderr (of the difference, over clusters), prompts, clusters.

    Raises:
        ValueError: when ``scores`` is empty, a model does not have scores under a decoding of the
            first model, or ``clusters`` does not have one label per prompt.
    """
    if not scores:
        raise ValueError("no models were given")
    decodings = list(next(iter(scores.values())))
    rows = []
    for model, kept in scores.items():
        for decoding in decodings:
            if decoding not in kept:
                raise ValueError(f"{model!r} does not have scores under {decoding}")
            curve = leak_at_k(kept[decoding], 1, clusters=clusters)
            row: dict[str, str | float] = {
                "model": model,
                "decoding": str(decoding),
                "temperature": decoding.temperature,
                "top_p": decoding.top_p,
                "samples": curve.n_samples,
            }
            add_estimate(row, _SCORE, curve, 1)
            less = f"less {baseline}"
            row |= dict.fromkeys((less, less + LOW, less + HIGH, "stderr"), float("nan"))
            if baseline in scores and model != baseline:
                other = scores[baseline][decoding]
                change = compare_leak(kept[decoding], other, 1, clusters=clusters)
                add_estimate(row, less, change, 1)
                row["stderr"] = float(change.stderr[0])
            rows.append(row | {"prompts": curve.n_prompts, "clusters": curve.n_clusters})
    return pd.DataFrame(rows)


def retain_wide(table: pd.DataFrame) -> pd.DataFrame:
    """Format the retain scores with their intervals, one row per decoding, one column per model.

    Args:
        table: Table from ``retain_table``.
    """
    bounds = zip(table[_SCORE], table[_SCORE + LOW], table[_SCORE + HIGH], strict=True)
    text = table.assign(text=[f"{v:.2f} [{a:.2f}, {b:.2f}]" for v, a, b in bounds])
    wide = text.pivot(index="decoding", columns="model", values="text")
    wide = wide.loc[table["decoding"].unique(), table["model"].unique()]
    return wide.reset_index().rename_axis(columns=None)


def retain_figure(table: pd.DataFrame, metric: str, baseline: str = "Original") -> Figure:
    """Draw the retain score under each decoding setting.

    The baseline is a horizontal line with its interval; every other model is a marker with its
    interval.

    Args:
        table: Table from ``retain_table``.
        metric: Id of the core metric, for the axis label.
        baseline: Name of the baseline model, if it is in the table.
    """
    decodings = list(table["decoding"].unique())
    styles = line_styles(list(table["model"].unique()))
    others = [model for model in styles if model != baseline]
    with style():
        figure, axes = plt.subplots(figsize=(7.2, 3.2))
        place = np.arange(len(decodings))
        for model, line in styles.items():
            rows = table[table["model"] == model].set_index("decoding").loc[decodings]
            value, low, high = (rows[_SCORE + suffix].to_numpy(float) for suffix in ("", LOW, HIGH))
            if model == baseline:
                axes.bar(place, high - low, 0.84, bottom=low, color="0.88", zorder=1)
                axes.hlines(
                    value, place - 0.42, place + 0.42, color=line.colour, label=model, zorder=2
                )
                continue
            offset = (others.index(model) - (len(others) - 1) / 2) * 0.76 / len(others)
            axes.errorbar(
                place + offset,
                value,
                yerr=np.clip([value - low, high - value], 0, None),
                label=model,
                color=line.colour,
                marker=line.marker,
                markerfacecolor="white" if model == "Retrain" else line.colour,
                linestyle="none",
                linewidth=0.9,
                zorder=3,
            )
        axes.set_xticks(place, [name.replace(", ", "\n") for name in decodings], fontsize=7)
        axes.grid(visible=False, axis="x")
        axes.set_xlim(-0.55, len(decodings) - 0.45)
        axes.set_ylim(top=1.02)
        axes.set_ylabel(f"{_SCORE} ({metric.partition('@')[0]})")
        draw_arrow(axes, "higher")
        figure.legend(loc="outside upper right", ncols=min(6, len(styles)))
        plt.close(figure)
    return figure
