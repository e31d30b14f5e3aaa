"""Figure of the losses and of leak@k during unlearning."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from leakrepro.report.style import style


def training_figure(curves: pd.DataFrame) -> Figure:
    """Draw forget loss, retain loss and leak@k against the step, one panel per available curve.

    Args:
        curves: Content of ``curves.csv`` in the folder of an unlearned model.

    Raises:
        ValueError: when the curves are empty.
    """
    if curves.empty:
        raise ValueError("the curves are empty")
    losses = {"forget_loss": "forget loss", "retain_loss": "retain loss"}
    panels = [name for name in losses if name in curves]
    leaks = [name for name in map(str, curves) if name.startswith("leak@")]
    with style():
        count = len(panels) + bool(leaks)
        figure, axes = plt.subplots(1, count, figsize=(2.9 * count, 2.7), squeeze=False)
        for panel, name in zip(axes[0], panels, strict=False):
            panel.plot(curves["step"], curves[name], color="#0072B2", linewidth=1.2)
            panel.set_title(losses[name])
        for leak, colour, marker in zip(leaks, ("#D55E00", "#882255"), ("s", "o"), strict=False):
            rows = curves.dropna(subset=[leak])
            axes[0][-1].plot(rows["step"], rows[leak], color=colour, marker=marker, label=leak)
        if leaks:
            axes[0][-1].set_title("leak on a few prompts")
            axes[0][-1].set_ylim(-0.02, 1.02)
            axes[0][-1].legend()
        for panel in axes[0]:
            panel.set_xlabel("step")
        plt.close(figure)
    return figure
