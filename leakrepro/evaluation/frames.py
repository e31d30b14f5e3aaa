"""Results as data frames for people: estimates with their intervals."""

from __future__ import annotations

import pandas as pd

from leakrepro.stats.estimator import LeakCurve

LOW, HIGH = " low", " high"  # endings of the columns that hold the bounds of an interval


def add_estimate(row: dict[str, str | float], name: str, curve: LeakCurve, k: int) -> None:
    """Puts a curve's value at ``k`` and the ends of its interval into a row."""
    row[name], row[name + LOW], row[name + HIGH] = curve.at(k)


def readable(frame: pd.DataFrame, digits: int = 2) -> pd.DataFrame:
    """A summary in strings: ``0.31 [0.25, 0.38]`` for an estimate, a dash where there is none.

    Columns that are the same in all rows of several (benchmark, decoding) are left to the caption.
    """
    out = pd.DataFrame(index=frame.index)
    for column in frame.columns:
        if column.endswith((LOW, HIGH)):
            continue
        values = frame[column]
        if column in ("benchmark", "decoding") and values.nunique() == 1:
            continue
        if pd.api.types.is_integer_dtype(values):
            out[column] = values.astype(str)  # a count
        elif not pd.api.types.is_numeric_dtype(values):
            out[column] = values
        elif column + LOW in frame:
            ends = zip(values, frame[column + LOW], frame[column + HIGH], strict=True)
            out[column] = [
                "-" if pd.isna(v) else f"{v:.{digits}f} [{a:.{digits}f}, {b:.{digits}f}]"
                for v, a, b in ends
            ]
        else:
            out[column] = ["-" if pd.isna(v) else f"{v:.{digits}f}" for v in values]
    return out
