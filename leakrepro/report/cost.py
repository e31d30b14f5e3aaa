"""Savings of adaptive sampling, and the width of intervals for other numbers of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from leakrepro.evaluation.frames import add_estimate
from leakrepro.report.figures import count_axis
from leakrepro.report.style import line_styles, style
from leakrepro.stats.checks import check_scores
from leakrepro.stats.estimator import LeakCurve, leak_at_k
from leakrepro.stats.posterior import Posterior
from leakrepro.types import Scores

if TYPE_CHECKING:
    from leakrepro.sampling import Samples

_NORMAL = 1.959964  # 97.5 % quantile of the standard normal distribution


def adaptive_table(
    full: Mapping[str, LeakCurve],
    adaptive: Mapping[str, LeakCurve],
    samples: Mapping[str, Samples],
    n: int,
    k: int,
) -> pd.DataFrame:
    """Compare leak@k from all samples with leak@k from an adaptive plan.

    Args:
        full: Model -> curve of all samples.
        adaptive: Model -> curve of the samples of the plan.
        samples: Model -> samples of the plan.
        n: Samples per prompt without the plan.
        k: Sample count.

    Returns:
        One row per model. Columns: model, all samples and adaptive (leak@k, each with its interval
        in columns that end in " low" and " high"), drawn (samples of the plan), of (samples without
        the plan), share (drawn / of), tokens (generated under the plan).

    Raises:
        ValueError: when a curve does not have ``k``.
    """
    rows = []
    for model, curve in adaptive.items():
        row: dict[str, str | float] = {"model": model}
        for name, each in (("all samples", full[model]), ("adaptive", curve)):
            add_estimate(row, name, each, k)
        drawn = samples[model]
        most = len(drawn.prompts) * n
        row |= {"drawn": sum(drawn.counts), "of": most, "share": sum(drawn.counts) / most}
        row["tokens"] = drawn.tokens
        rows.append(row)
    return pd.DataFrame(rows)


def width_table(
    scores: Scores | ArrayLike, k: int, n: Sequence[int], prompts: Sequence[int]
) -> pd.DataFrame:
    """Predict the width of the 95 % interval of leak@k for other numbers of samples and prompts.

    The prediction uses 0/1 scores of a pilot. The posterior of each prompt's leak probability
    (``leakrepro.stats.posterior``) gives the variance of leak@k under new samples; the pilot's
    leak@k per prompt gives the variance between prompts. The widths are those of normal intervals,
    2 x 1.96 standard errors. They ignore the phantom cluster, which widens the intervals slightly
    if leaks are rare.

    Args:
        scores: 0/1 scores of the pilot, prompts x samples.
        k: Sample count of leak@k.
        n: Numbers of samples per prompt, at least ``k``.
        prompts: Numbers of independent prompts.

    Returns:
        One row per number of prompts and ``n``. Columns: k, prompts, n, samples (prompts x n),
        width over prompts, width for new draws (new samples of the same prompts).

    Raises:
        ValueError: when a score is neither 0 nor 1, or an ``n`` is below ``k``.
    """
    checked = check_scores(scores)
    if not np.isin(checked.values, (0.0, 1.0)).all():
        raise ValueError("width_table needs scores of 0 and 1")
    if min(n) < k:
        raise ValueError(f"leak@{k} needs at least {k} samples per prompt, not {min(n)}")
    hits = np.array([int(row.sum()) for row in checked])
    posterior = Posterior.of_hits(hits, checked.counts)
    ks = np.array([k])
    curve = leak_at_k(checked, [min(k, int(checked.counts.min()))])
    pilot = len(checked)
    # The variance between prompts is that of their estimates minus the part due to sampling.
    within = float(posterior.variance(curve.k)[0]) * pilot
    between = max(float(curve.per_prompt.var(ddof=1)) - within, 0.0) if pilot > 1 else 0.0
    rows = []
    for count in prompts:
        for each in n:
            drawn = float(posterior.variance(ks, n=each)[0]) * pilot
            rows.append(
                {
                    "k": k,
                    "prompts": count,
                    "n": each,
                    "samples": count * each,
                    "width over prompts": 2 * _NORMAL * ((between + drawn) / count) ** 0.5,
                    "width for new draws": 2 * _NORMAL * (drawn / count) ** 0.5,
                }
            )
    return pd.DataFrame(rows)


def width_figure(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the width of the interval against the number of samples per prompt.

    Solid lines show the interval over prompts, dashed lines the interval for new samples. Where the
    solid line is flat, more samples per prompt do not help; only more prompts do.

    Args:
        tables: Model -> ``width_table`` with one number of prompts.

    Raises:
        ValueError: when a table has several numbers of prompts.
    """
    for name, table in tables.items():
        if table["prompts"].nunique() != 1:
            raise ValueError(f"the table of {name} has several numbers of prompts")
    styles = line_styles(list(tables))
    with style():
        figure, axes = plt.subplots(figsize=(5.4, 3.2))
        for name, table in tables.items():
            line = styles[name]
            for column, dashes in (("width over prompts", "-"), ("width for new draws", "--")):
                axes.plot(
                    table["n"],
                    table[column],
                    color=line.colour,
                    marker=line.marker,
                    linestyle=dashes,
                    label=name if dashes == "-" else None,
                )
        first = next(iter(tables.values()))
        count_axis(axes, first["n"].tolist())
        axes.set_ylim(bottom=0)
        axes.set_xlabel(f"n, samples per prompt ({first['prompts'].iloc[0]} prompts)")
        axes.set_ylabel(f"width of the 95 % interval of leak@{first['k'].iloc[0]}")
        axes.plot([], [], color="0.4", linestyle="--", label="for new samples")
        figure.legend(loc="outside right upper")
        plt.close(figure)
    return figure
