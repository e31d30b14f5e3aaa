"""LaTeX tables."""

from __future__ import annotations

import pandas as pd

from leakrepro.evaluation.frames import readable
from leakrepro.storage.shown import plain


def latex(frame: pd.DataFrame, *, caption: str, label: str, digits: int = 2) -> str:
    r"""Format a table as LaTeX (package booktabs); see ``readable`` for the format of the cells.

    Args:
        frame: Table whose estimates have columns that end in " low" and " high".
        caption: Caption, not escaped.
        label: Label for ``\ref``.
        digits: Number of decimals.
    """
    text = readable(frame, digits).rename(columns=latex_cell).map(latex_cell)
    return text.to_latex(
        index=False,
        escape=False,
        caption=escape_latex(caption),
        label=label,
        column_format="l" + "r" * (text.shape[1] - 1),
        position="t",
    )


_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        **{char: "\\" + char for char in "&%$#_{}"},
    }
)


def escape_latex(text: str) -> str:
    """Escape the special characters of LaTeX.

    Args:
        text: Plain text.
    """
    return plain(text).translate(_LATEX)


def latex_cell(text: str) -> str:
    r"""Escape a text for the first or a later cell of a row.

    A row that begins with ``[`` or ``*`` would be read as an argument of the ``\\\\`` before it.

    Args:
        text: Plain text.
    """
    escaped = escape_latex(" ".join(text.split()))
    return "{}" + escaped if escaped.startswith(("[", "*")) else escaped
