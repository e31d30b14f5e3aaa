"""What the evaluation of one model gives: curves, greedy leak, retain score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from leakrepro.evaluation.leak_report import LeakReport, check_reports
from leakrepro.stats.estimator import LeakCurve


def labels(reports: Sequence[LeakReport]) -> list[str]:
    """What legends call the reports: the model, with what else tells them apart."""
    several_decodings = len({report.decoding for report in reports}) > 1
    several_benchmarks = len({report.benchmark for report in reports}) > 1
    out = []
    for report in reports:
        notes = [report.benchmark] if several_benchmarks else []
        if several_decodings:
            notes.append(str(report.decoding))
        out.append(f"{report.model} ({'; '.join(notes)})" if notes else report.model)
    return out


def caption(reports: Iterable[LeakReport], metric: str | None = None) -> str:
    """A caption made from what was run; it cannot drift from the parameters.

    Args:
        reports: Reports of one figure or table.
        metric: Id of the core metric; None for the headline.

    Raises:
        ValueError: as ``check_reports``, and for a metric that was not computed.
    """
    checked = check_reports(reports)
    curves = [report.curve(metric) for report in checked]
    metric = checked[0].headline if metric is None else metric
    drawn = _distinct(
        f"{report.decoding}, n = {report.decoding.n} samples a prompt, at most "
        f"{report.decoding.max_new_tokens} new tokens, seed {report.decoding.seed}"
        for report in checked
    )
    asked = _distinct(_describe_prompts(curve) for curve in curves)
    unscored = sum(report.missing.get(metric, 0) for report in checked)
    without = f" {unscored} samples have no score and are left out." if unscored else ""
    return (
        f"leak@k ({metric}) on {'; '.join(_distinct(r.benchmark for r in checked))}: "
        f"{', '.join(_distinct(r.model for r in checked))}. "
        f"Samples: {'; '.join(drawn)}. Forget prompts: {'; '.join(asked)}. "
        f"Greedy decoding gives one answer a prompt.{without} Lower is better."
    )


def _describe_prompts(curve: LeakCurve) -> str:
    level = f"{100 * curve.confidence:g} % intervals"
    if curve.interval == "samples":
        return f"{curve.n_prompts}; {level} for new samples of these prompts"
    if curve.n_clusters == curve.n_prompts:
        return f"{curve.n_prompts}; {level} over prompts"
    return f"{curve.n_prompts} in {curve.n_clusters} clusters; {level} over clusters of prompts"


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
