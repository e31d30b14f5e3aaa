"""Captions of tables and figures, generated from the results that they describe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from leakrepro.benchmarks.base import Benchmark
from leakrepro.evaluation.leak_report import LeakReport, check_reports
from leakrepro.sampling import Samples
from leakrepro.stats.estimator import LeakCurve


def labels(reports: Sequence[LeakReport]) -> list[str]:
    """Return a legend label per report: the model, and the benchmark or decoding if these differ.

    Args:
        reports: Reports of one figure.
    """
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
    """Return a caption that states the metric, models, decoding, prompts and intervals.

    Args:
        reports: Reports of one figure or table.
        metric: Id of the core metric; None for the primary metric.

    Raises:
        ValueError: when the reports cannot share a table, see ``check_reports``, or the metric was
            not computed.
    """
    checked = check_reports(reports)
    curves = [report.curve(metric) for report in checked]
    metric = checked[0].headline if metric is None else metric
    drawn = _distinct(
        f"{report.decoding}, n = {report.decoding.n} samples per prompt, at most "
        f"{report.decoding.max_new_tokens} new tokens, seed {report.decoding.seed}"
        for report in checked
    )
    asked = _distinct(_describe_prompts(curve) for curve in curves)
    unscored = sum(report.missing.get(metric, 0) for report in checked)
    without = f" {unscored} samples do not have a score and are excluded." if unscored else ""
    return (
        f"leak@k ({metric}) on {'; '.join(_distinct(r.benchmark for r in checked))}: "
        f"{', '.join(_distinct(r.model for r in checked))}. "
        f"Samples: {'; '.join(drawn)}. Forget prompts: {'; '.join(asked)}. "
        f"Greedy decoding gives one answer per prompt.{without} Lower is better."
    )


def describe_leaks(samples: Samples, benchmark: str, metric: str, threshold: float) -> str:
    """Return the part of a caption that states the samples and the definition of a leak.

    Args:
        samples: Samples of one model.
        benchmark: Name of the benchmark.
        metric: Id of the core metric.
        threshold: An answer leaks when its score is at least this.
    """
    decoding = samples.decoding
    return (
        f"{metric}, an answer leaks if its score is at least {threshold:g}; {benchmark}, "
        f"{decoding}, n = {decoding.n}, seed {decoding.seed}"
    )


def hidden_caption(samples: Samples, drawn: str) -> str:
    """Return the caption of ``hidden_table``.

    Args:
        samples: Samples of one model of the table.
        drawn: Text from ``describe_leaks``.
    """
    return (
        f"Shares of {len(samples.prompts)} forget prompts in {len(set(samples.clusters))} clusters "
        f"that leak when greedy, only when sampled, or not at all ({drawn}), with 95 % intervals "
        "over clusters. Fewer leaks are better."
    )


def examples_caption(shown: pd.DataFrame, model: str, seed: int, drawn: str) -> str:
    """Return the caption of ``hidden_leaks``.

    Args:
        shown: Table from ``hidden_leaks``.
        model: Name of the model whose answers it shows.
        seed: Seed of the choice of prompts.
        drawn: Text from ``describe_leaks``.
    """
    return (
        f"{len(shown)} prompts whose greedy answer by {model} is clean while a sample leaks, "
        f"chosen at random (seed {seed}) over clusters ({drawn}). Bold: shared with the reference."
    )


def accuracy_caption(letters: Benchmark, texts: Benchmark, neutral: str) -> str:
    """Return the caption of ``leakrepro.choice_accuracy_table``.

    Args:
        letters: As for ``choice_accuracy_table``.
        texts: As for ``choice_accuracy_table``.
        neutral: As for ``choice_accuracy_table``.
    """
    guess = np.mean([1 / len(prompt.choices) for prompt in letters.forget + letters.retain])
    return (
        f"Accuracy of the most likely option: letters on {letters.name}, {len(letters.forget)} "
        f"forget and {len(letters.retain)} retain prompts; texts on {texts.name}, "
        f"{len(texts.forget)} and {len(texts.retain)}. Neutral prompt {neutral!r}, 95 % intervals. "
        "Lower is better on the forget side, higher on the retain side; "
        f"guessing gives {guess:.2f}."
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
