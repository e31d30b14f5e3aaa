"""How the package's figures look: readable in grey and by colour-blind readers."""

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
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same figure on every machine
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "grid.color": "0.9",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "pdf.fonttype": 42,  # text stays text; some venues refuse type 3 fonts
    "savefig.dpi": 220,
}

# Okabe and Ito's palette without its yellow, which paper swallows, then four of Tol's muted one;
# black and grey are for the two models that every method is held against.
_COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"),
    *("#332288", "#882255", "#999933", "#44AA99"),
)
_MARKERS = ("s", "^", "D", "v", "P", "X", "<", ">", "p", "h", "*")
_DASHES = ("-", (0, (6, 1.2)), (0, (5, 1.2, 1.2, 1.2)), (0, (4, 1, 1, 1, 1, 1)), (0, (8, 2, 2, 2)))
_YARDSTICKS = {"Original": ("#000000", "o", "-"), "Retrain": ("#7F7F7F", "o", (0, (6, 1.2)))}
# A method looks the same in every figure; other models take the styles after these.
_METHODS = (
    *("GradDiff", "NPO", "SimNPO", "RULE-NPO", "RMU", "BLUR-NPO", "NPO+ENT", "GradAscent"),
    *("IdkDPO", "RULE-GradDiff", "RULE-SimNPO", "RULE-RMU"),
)


@dataclass(frozen=True)
class LineStyle:
    """Colour, marker and dashes of one line; no two lines of a figure share all of them."""

    colour: str
    marker: str
    dashes: Any


def style() -> AbstractContextManager[None]:
    """The package's matplotlib settings, for a ``with`` block."""
    return mpl.rc_context(_RC)


def line_styles(models: Sequence[str]) -> dict[str, LineStyle]:
    """A style for each model; the field's methods look the same in every figure.

    Styles do not come again before 110 models.
    """
    styles: dict[str, LineStyle] = {}
    unknown = len(_METHODS)
    for model in dict.fromkeys(models):
        if model in _YARDSTICKS:
            styles[model] = LineStyle(*_YARDSTICKS[model])
            continue
        if model in _METHODS:
            i = _METHODS.index(model)
        else:
            i, unknown = unknown, unknown + 1
        styles[model] = LineStyle(
            _COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)], _DASHES[i % len(_DASHES)]
        )
    return styles
