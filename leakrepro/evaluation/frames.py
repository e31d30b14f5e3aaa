"""Data frames of estimates with their intervals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from leakrepro.stats.estimator import LeakCurve, LeakDifference
from leakrepro.storage.shown import NO_MATHS, cell, from_cell, plain

# Jupyter shows tables with MathJax, for which two dollar signs in an answer are a formula.
pd.set_option("display.html.use_mathjax", False)

LOW, HIGH = " low", " high"  # suffixes of the columns with the bounds of an interval


def add_estimate(
    row: dict[str, str | float], name: str, curve: LeakCurve | LeakDifference, k: int
) -> None:
    """Add the value of a curve or difference at ``k`` and its interval to a row.

    Args:
        row: Row of a table; modified in place.
        name: Column of the value; the bounds go to ``name + LOW`` and ``name + HIGH``.
        curve: Source of the estimate.
        k: Sample count.

    Raises:
        ValueError: when the curve does not have ``k``.
    """
    row[name], row[name + LOW], row[name + HIGH] = curve.at(k)


def readable(frame: pd.DataFrame, digits: int = 2) -> pd.DataFrame:
    """Format a table for display: ``0.31 [0.25, 0.38]`` for an estimate, ``-`` if it is missing.

    The columns benchmark and decoding are dropped if all rows have the same value, because the
    caption states it.

    Args:
        frame: Table whose estimates have columns that end in " low" and " high".
        digits: Number of decimals.

    Returns:
        A table of strings, except for columns that are not numeric.
    """
    out = pd.DataFrame(index=frame.index)
    for column in frame.columns:
        if column.endswith((LOW, HIGH)):
            continue
        values = frame[column]
        if column in ("benchmark", "decoding") and values.nunique() == 1:
            continue
        if pd.api.types.is_integer_dtype(values):
            out[column] = values.astype(str)  # counts do not have decimals
        elif not pd.api.types.is_numeric_dtype(values):
            out[column] = values
        elif column + LOW in frame:
            bounds = zip(values, frame[column + LOW], frame[column + HIGH], strict=True)
            out[column] = [
                "-" if pd.isna(v) else f"{v:.{digits}f} [{a:.{digits}f}, {b:.{digits}f}]"
                for v, a, b in bounds
            ]
        else:
            out[column] = ["-" if pd.isna(v) else f"{v:.{digits}f}" for v in values]
    return out


def to_html(frame: pd.DataFrame) -> str:
    """Return a table as HTML in which names and answers are text, without markup and formulas."""
    return str(_texts(frame, plain).to_html(index=False, classes=["dataframe", NO_MATHS]))


def save_table(frame: pd.DataFrame, path: Path, float_format: str | None = None) -> None:
    """Write a table as CSV without the index; texts that look like formulas get an apostrophe.

    Args:
        frame: The table.
        path: The file; ``read_table`` reads it.
        float_format: Format of the numbers, such as ``"%.4f"``.
    """
    _texts(frame, cell).to_csv(path, index=False, float_format=float_format)


def read_table(path: Path) -> pd.DataFrame:
    """Read a table that ``save_table`` wrote. Only an empty cell is missing: ``NA`` is a name."""
    frame = pd.read_csv(path, keep_default_na=False, na_values=[""], encoding="utf-8-sig")
    return _texts(frame, from_cell)


def _texts(frame: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """Change all texts of a table, also the names of its columns."""

    def changed(value: object) -> object:
        return change(value) if isinstance(value, str) else value

    frame = frame.copy()
    for i in range(frame.shape[1]):
        values = frame.iloc[:, i]
        if not pd.api.types.is_numeric_dtype(values):
            frame.isetitem(i, values.astype(object).map(changed).to_numpy())
    return frame.set_axis([changed(name) for name in frame.columns], axis=1)
