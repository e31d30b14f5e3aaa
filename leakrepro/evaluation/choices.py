"""Accuracy of the likeliest option of multiple-choice prompts, model by model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from leakrepro.benchmarks.base import Benchmark
from leakrepro.evaluation.frames import add_estimate
from leakrepro.metrics.choice import NEUTRAL, Calibration, Options, choice_likelihood_accuracy
from leakrepro.stats.estimator import leak_at_k

_CALIBRATIONS: Mapping[Options, tuple[Calibration, ...]] = {
    "letter": ("none", "neutral"),
    "text": ("none", "length", "neutral"),
}


def choice_accuracy_table(
    models: Mapping[str, Path],
    letters: Benchmark,
    texts: Benchmark,
    *,
    neutral: str = NEUTRAL,
) -> pd.DataFrame:
    """How often the option with the largest log-likelihood is the right one; no sampling.

    Columns: model, side (forget or retain), and for each answer that is scored (the option's letter
    or its text) and each calibration the accuracy with its 95 % interval over prompts, which
    respects clusters, in columns that end in " low" and " high".

    Args:
        models: Name -> folder.
        letters: Prompts with options, whose letters are scored.
        texts: The same prompts without options, whose texts are scored.
        neutral: The prompt that asks nothing, for the calibration ``"neutral"``.

    Raises:
        ValueError: for prompts without choices.
    """
    asked: dict[Options, Benchmark] = {"letter": letters, "text": texts}
    rows = []
    for name, path in models.items():
        for side in ("forget", "retain"):
            row: dict[str, Any] = {"model": name, "side": side}
            for options, calibrations in _CALIBRATIONS.items():
                prompts = getattr(asked[options], side)
                clusters = [prompt.cluster for prompt in prompts]
                for calibration in calibrations:
                    scores = choice_likelihood_accuracy(
                        path, prompts, options=options, calibration=calibration, neutral=neutral
                    )
                    column = f"{options}, {calibration}".replace("none", "plain")
                    add_estimate(row, column, leak_at_k(scores, [1], clusters=clusters), 1)
            rows.append(row)
    return pd.DataFrame(rows)
