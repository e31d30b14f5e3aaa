"""Heat maps of leak@k over a grid of decoding settings."""

from __future__ import annotations

from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from leakrepro.evaluation.leak_report import LeakReport, check_reports
from leakrepro.report.style import style


def grid_figure(reports: Iterable[LeakReport], metric: str | None = None) -> Figure:
    """Draw one heat map of models against k per decoding setting, greedy decoding first.

    Every cell shows its value. Darker means more leakage.

    Args:
        reports: Reports on one benchmark, one per model and decoding setting, with the same k.
        metric: Id of the core metric; None for the primary metric.

    Raises:
        ValueError: when the reports cannot share a figure, see ``check_reports``, a model does not
            have a report under every decoding, or the reports have different k.
    """
    checked = check_reports(reports)
    metric = checked[0].headline if metric is None else metric
    models = list(dict.fromkeys(report.model for report in checked))
    decodings = list(dict.fromkeys(report.decoding for report in checked))
    by_cell = {(report.model, report.decoding): report for report in checked}
    if missing := [(m, d) for m in models for d in decodings if (m, d) not in by_cell]:
        model, decoding = missing[0]
        raise ValueError(f"{model!r} does not have a report under {decoding}")
    ks = checked[0].curve(metric).k
    if any(not np.array_equal(report.curve(metric).k, ks) for report in checked):
        raise ValueError("the reports have different k; a heat map needs the same k in all reports")
    # The greedy answers of a model do not depend on the decoding setting of the report.
    greedy = [[float(by_cell[m, decodings[0]].greedy[metric].value[0])] for m in models]
    panels = [("greedy", np.array(greedy), ["1"])]
    for decoding in decodings:
        values = np.array([by_cell[model, decoding].curve(metric).value for model in models])
        panels.append((str(decoding), values, [f"{k}" for k in ks]))
    columns = min(len(panels), 5)
    rows = -(-len(panels) // columns)
    with style():
        figure, axes = plt.subplots(
            rows,
            columns,
            figsize=(2.4 * columns + 0.8, (0.26 * len(models) + 0.75) * rows),
            squeeze=False,
        )
        image = None
        for axis, (title, values, names) in zip(axes.flat, panels, strict=False):
            image = axis.imshow(values, cmap="Greys", vmin=0, vmax=1, aspect="auto")
            axis.set_title(title)
            axis.grid(visible=False)
            axis.set_xticks(range(len(names)), names, fontsize=7)
            axis.set_yticks(range(len(models)), models if axis in axes[:, 0] else [], fontsize=8)
            for (i, j), value in np.ndenumerate(values):
                text = f"{value:.2f}".removeprefix("0") if value < 0.995 else "1"
                colour = "white" if value > 0.55 else "black"
                axis.text(j, i, text, ha="center", va="center", fontsize=5.5, color=colour)
        for axis in axes.flat[len(panels) :]:
            axis.set_axis_off()
        for axis in axes[-1]:
            axis.set_xlabel("k, samples per prompt", fontsize=8)
        if image is not None:
            figure.colorbar(image, ax=axes, shrink=0.6, label=f"leak@k ({metric}), lower is better")
        plt.close(figure)
    return figure
