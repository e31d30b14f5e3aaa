"""Style of the figures, readable in grey and for colour-blind readers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl

_RC: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",  # part of matplotlib, so the same on every machine
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "pdf.fonttype": 42,  # TrueType; some venues reject Type 3 fonts
    "savefig.dpi": 220,
    "text.parse_math": False,  # a dollar sign in a name is not a formula
}

# Okabe and Ito's palette without yellow, which is too light on paper, and four colours of Tol's
# muted palette. Black and grey are reserved for Original and Retrain.
_COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"),
    *("#332288", "#882255", "#999933", "#44AA99"),
)
_MARKERS = ("s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")
_DASHES = ("-", (0, (6, 1.2)), (0, (5, 1.2, 1.2, 1.2)), (0, (4, 1, 1, 1, 1, 1)), (0, (8, 2, 2, 2)))
_BASELINES = {"Original": ("#000000", "o", "-"), "Retrain": ("#7F7F7F", "o", (0, (6, 1.2)))}
# These models have fixed styles. Other models take the next styles in the order of the figure, so
# a new method does not need an entry here.
_METHODS = (
    *("GradDiff", "NPO", "SimNPO", "RULE-NPO", "RMU", "BLUR-NPO", "NPO+ENT", "GradAscent"),
    *("IdkDPO", "RULE-GradDiff", "RULE-SimNPO", "RULE-RMU"),
)


@dataclass(frozen=True)
class LineStyle:
    """Style of one line.

    Attributes:
        colour: Colour as a hexadecimal string.
        marker: Marker, as in matplotlib.
        dashes: Line style, as in matplotlib.
    """

    colour: str
    marker: str
    dashes: Any


def style() -> AbstractContextManager[None]:
    """Return a context manager that applies the package's matplotlib settings."""
    return mpl.rc_context(_RC)


def line_styles(models: Sequence[str]) -> dict[str, LineStyle]:
    """Assign a line style to each model.

    Original, Retrain and the known methods have the same style in every figure. Other models take
    the next styles in the given order. Styles repeat after 110 models.

    Args:
        models: Names of the models of a figure.

    Returns:
        Model -> its style.
    """
    styles: dict[str, LineStyle] = {}
    unknown = len(_METHODS)
    for model in dict.fromkeys(models):
        if model in _BASELINES:
            styles[model] = LineStyle(*_BASELINES[model])
            continue
        if model in _METHODS:
            i = _METHODS.index(model)
        else:
            i, unknown = unknown, unknown + 1
        styles[model] = LineStyle(
            _COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)], _DASHES[i % len(_DASHES)]
        )
    return styles
