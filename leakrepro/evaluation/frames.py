"""Data frames of estimates with their intervals."""

from __future__ import annotations

import pandas as pd

from leakrepro.stats.estimator import LeakCurve, LeakDifference

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
