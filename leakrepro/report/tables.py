"""Tables: one long for machines, one wide for people."""

from __future__ import annotations

import pandas as pd

from leakrepro.evaluation.frames import readable


def latex(frame: pd.DataFrame, *, caption: str, label: str, digits: int = 2) -> str:
    r"""A summary as a LaTeX table (package booktabs); ``label`` is what ``\ref`` asks for."""
    text = readable(frame, digits).rename(columns=escape_latex).map(escape_latex)
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
    """The text with LaTeX's special characters escaped."""
    return text.translate(_LATEX)
