"""Results as data frames: one long for machines, one wide for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from leakrepro.evaluation.leak_report import LeakReport, check_reports, describe_decoding
from leakrepro.stats.estimator import LeakCurve

LOW, HIGH = " low", " high"  # endings of the columns that hold the ends of an interval


def table(reports: Iterable[LeakReport]) -> pd.DataFrame:
    """All curves in long form: one row for each report, core metric and k.

    Columns: benchmark, model, metric, temperature, top_p, top_k, n, k, leak@k, low, high, stderr,
    plain_stderr, confidence, interval, prompts, clusters, weights. ``stderr`` respects clusters;
    ``plain_stderr`` is what it would be if all prompts were independent. Where values are
    published, ``draws_stderr`` is the standard error under new draws of the same prompts.
    ``top_k`` is missing where all tokens were kept; ``n`` is the smallest number of samples of a
    prompt.

    Raises:
        ValueError: as ``check_reports``.
    """
    rows = [
        {
            "benchmark": report.benchmark,
            "model": report.model,
            "metric": metric,
            "temperature": report.decoding.temperature,
            "top_p": report.decoding.top_p,
            "top_k": report.decoding.top_k,
            "n": curve.n_samples,
            "k": int(curve.k[i]),
            "leak@k": float(curve.value[i]),
            "low": float(curve.low[i]),
            "high": float(curve.high[i]),
            "stderr": float(curve.stderr[i]),
            "plain_stderr": _plain_stderr(curve, i),
            **({"draws_stderr": report.draws[metric][i]} if metric in report.draws else {}),
            "confidence": curve.confidence,
            "interval": curve.interval,
            "prompts": curve.n_prompts,
            "clusters": curve.n_clusters,
            "weights": report.weights,
        }
        for report in check_reports(reports)
        for metric, curve in report.curves.items()
        for i in range(curve.k.size)
    ]
    return pd.DataFrame(rows).astype({"top_k": "Int64"})


def _plain_stderr(curve: LeakCurve, i: int) -> float:
    values = curve.per_prompt[:, i]
    return float(values.std(ddof=1) / values.size**0.5) if values.size > 1 else float("nan")


def summary(
    reports: Iterable[LeakReport],
    metric: str | None = None,
    *,
    k: Sequence[int] = (1, 8, 32, 128),
) -> pd.DataFrame:
    """One row a report: what the model leaks and what it has kept.

    Columns: benchmark, model, decoding, greedy leak, leak@k for each ``k`` that was computed and
    for the largest, easy and hard leak at the largest k with what chance gives on the easy prompts
    (headline metric only, where the benchmark has both), retain score (greedy) and (sampled),
    finished. Each estimate is followed by its interval in columns that end in " low" and " high".

    Args:
        reports: One or more reports.
        metric: Id of the core metric; None for the headline.
        k: Sample counts to show.

    Raises:
        ValueError: as ``check_reports``, and for a metric that was not computed.
    """
    rows = []
    for report in check_reports(reports):
        curve = report.curve(metric)
        name = report.headline if metric is None else metric
        row: dict[str, str | float] = {
            "benchmark": report.benchmark,
            "model": report.model,
            "decoding": describe_decoding(report.decoding),
        }
        add_estimate(row, "greedy leak", report.greedy[name], 1)
        largest = int(curve.k[-1])
        for count in sorted({*k, largest} & set(curve.k.tolist())):
            add_estimate(row, f"leak@{count}", curve, count)
        if name == report.headline and report.hard is not None:  # else all is easy, or nothing
            for split, part in (("easy", report.easy), ("hard", report.hard)):
                if part is not None:
                    last = int(part.k[-1])
                    add_estimate(row, f"{split} leak@{last}", part, last)
                if split == "easy" and part is not None and report.chance is not None:
                    row[f"easy chance@{last}"] = float(report.chance[-1])
        add_estimate(row, "retain score (greedy)", report.retain_greedy[name], 1)
        add_estimate(row, "retain score (sampled)", report.retain_sampled[name], 1)
        row["finished"] = report.finished
        rows.append(row)
    return pd.DataFrame(rows)


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


def add_estimate(row: dict[str, str | float], name: str, curve: LeakCurve, k: int) -> None:
    """Puts a curve's value at ``k`` and the ends of its interval into a row."""
    row[name], row[name + LOW], row[name + HIGH] = curve.at(k)
