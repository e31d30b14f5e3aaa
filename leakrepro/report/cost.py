"""What an evaluation costs, what saves, and how many samples an interval of some width takes."""

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

_NORMAL = 1.959964


def adaptive_table(
    full: Mapping[str, LeakCurve],
    adaptive: Mapping[str, LeakCurve],
    samples: Mapping[str, Samples],
    n: int,
    k: int,
) -> pd.DataFrame:
    """One row a model: leak@k from all samples and from an adaptive plan, and what the plan drew.

    Columns: model, all samples and adaptive (leak@k, each with its interval in columns that end in
    " low" and " high"), drawn, of (samples without the plan), share, tokens (generated).

    Args:
        full: Model -> curve of all samples.
        adaptive: Model -> curve under the plan.
        samples: Model -> the plan's samples.
        n: Samples a prompt without the plan.
        k: Which leak@k.

    Raises:
        ValueError: for a curve without ``k``.
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
    """Expected width of the 95 % interval of leak@k for other numbers of samples and prompts.

    From 0/1 scores of a pilot: each prompt's leak probability has its posterior
    (``leakrepro.stats.posterior``); samples add the variance of the estimate under new draws,
    prompts the variance of leak@k between prompts. Widths are those of normal intervals, 2 x
    1.96 standard errors, and leave out the phantom prompt, which adds a little where leaks are
    rare.

    Columns: k, prompts, n, samples (drawn in all), width over prompts, width for new draws.

    Args:
        scores: 0/1 scores of the pilot, prompts x samples.
        k: Which leak@k.
        n: Samples a prompt, none below ``k``.
        prompts: Numbers of independent prompts.

    Raises:
        ValueError: for scores other than 0 and 1, and an ``n`` below ``k``.
    """
    checked = check_scores(scores)
    if not np.isin(checked.values, (0.0, 1.0)).all():
        raise ValueError("width_table needs scores of 0 and 1")
    if min(n) < k:
        raise ValueError(f"leak@{k} needs at least {k} samples a prompt, not {min(n)}")
    hits = np.array([int(row.sum()) for row in checked])
    posterior = Posterior.of_hits(hits, checked.counts)
    ks = np.array([k])
    curve = leak_at_k(checked, [min(k, int(checked.counts.min()))])
    pilot = len(checked)
    # What prompts differ by is what their estimates differ by, less what sampling adds to it.
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
    """Width of the interval against the number of samples a prompt, for the pilot's prompts.

    Solid over prompts, dashed for new draws: where the solid line is flat, more samples a prompt
    buy nothing, only more prompts do.

    Args:
        tables: Model -> ``width_table`` with one number of prompts.

    Raises:
        ValueError: for a table with several numbers of prompts.
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
        axes.set_xlabel(f"n, samples a prompt ({first['prompts'].iloc[0]} prompts)")
        axes.set_ylabel(f"width of leak@{first['k'].iloc[0]}'s 95 % interval")
        axes.plot([], [], color="0.4", linestyle="--", label="for new draws")
        figure.legend(loc="outside right upper")
        plt.close(figure)
    return figure
