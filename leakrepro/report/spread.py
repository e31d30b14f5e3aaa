"""Spread of leak@k over generation seeds, compared with its standard error."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from leakrepro.report.figures import count_axis
from leakrepro.report.published import reference_values
from leakrepro.report.style import style
from leakrepro.stats.estimator import LeakCurve


def spread_table(curves: Sequence[LeakCurve]) -> pd.DataFrame:
    """Compare the spread of leak@k over generation seeds with its standard error.

    Args:
        curves: ``leak_at_k(..., interval="samples")`` of one model on the same prompts, one curve
            per generation seed, at least three.

    Returns:
        One row per k. Columns: k, seeds (number), mean, std (over seeds), std low and std high (its
        95 % interval for normal values), stderr (standard error from one seed, median over seeds),
        ratio (stderr / std), covered (share of the seeds whose interval contains the mean of the
        other seeds; slightly below nominal, because this mean has an error too).

    Raises:
        ValueError: when there are fewer than three curves, their interval is not "samples", or
            their k differ.
    """
    if len(curves) < 3:
        raise ValueError(f"the spread needs at least three seeds, not {len(curves)}")
    if any(curve.interval != "samples" for curve in curves):
        raise ValueError('the spread over seeds must be compared with interval="samples"')
    if any(not np.array_equal(curve.k, curves[0].k) for curve in curves):
        raise ValueError("the curves have different k")
    values = np.stack([curve.value for curve in curves])
    seeds = len(curves)
    std = values.std(axis=0, ddof=1)
    low, high = np.sqrt((seeds - 1) / stats.chi2.ppf([[0.975], [0.025]], seeds - 1))
    others = (values.sum(axis=0) - values) / (seeds - 1)
    inside = [(c.low <= mean) & (mean <= c.high) for c, mean in zip(curves, others, strict=True)]
    stderr = np.median([curve.stderr for curve in curves], axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = stderr / std
    return pd.DataFrame(
        {
            "k": curves[0].k,
            "seeds": seeds,
            "mean": values.mean(axis=0),
            "std": std,
            "std low": std * low,
            "std high": std * high,
            "stderr": stderr,
            "ratio": ratio,
            "covered": np.mean(inside, axis=0),
        }
    )


def spread_figure(curves: Sequence[LeakCurve], other: LeakCurve | None = None) -> Figure:
    """Draw the deviation of each seed from the mean over seeds, with the intervals of one seed.

    Args:
        curves: As for ``spread_table``.
        other: Curve of the same samples as the first curve with the interval "prompts", drawn as a
            band; None for no band. It covers other prompts and is wider.

    Raises:
        ValueError: when there are fewer than three curves, their interval is not "samples", or
            their k differ.
    """
    table = spread_table(curves)
    mean, k = table["mean"].to_numpy(), curves[0].k
    with style():
        figure, axes = plt.subplots(figsize=(5.2, 3.2))
        for curve in curves:
            axes.plot(k, curve.value - mean, color="0.6", linewidth=0.8, marker=".", markersize=3)
        first = curves[0]
        middle = first.value - mean
        if other is not None:
            axes.fill_between(
                k,
                other.low - mean,
                other.high - mean,
                color="0.85",
                linewidth=0,
                label='interval "prompts" of the first seed',
            )
        axes.errorbar(
            k,
            middle,
            [middle - (first.low - mean), first.high - mean - middle],
            color="#0072B2",
            capsize=3,
            linewidth=1.4,
            label='interval "samples" of the first seed',
        )
        axes.plot([], [], color="0.6", linewidth=0.8, marker=".", label="one seed")
        axes.axhline(0, color="0.3", linewidth=0.8)
        count_axis(axes, k.tolist())
        axes.set_xlabel("k, samples per prompt")
        axes.set_ylabel("leak@k minus its mean over seeds")
        axes.legend(loc="best")
        plt.close(figure)
    return figure


def published_spread() -> pd.DataFrame:
    """Return the published spread over generation seeds: GradDiff on TOFU forget10, ES, T = 1.

    Returns:
        One row per k. Columns: method, k, seeds (number), mean, std, source. Mean and standard
        deviation are computed from the published values of the individual seeds.
    """
    values = reference_values()
    rows = values[values["generation_seed"].notna()]
    grouped = rows.groupby(["method", "k"])["value"]
    table = grouped.agg(seeds="size", mean="mean", std="std").reset_index()
    table["source"] = rows["source"].iloc[0]
    return table.astype({"k": int})
