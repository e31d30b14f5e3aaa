"""Log-likelihood accuracy on multiple-choice prompts, as a table over models."""

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
    """Compute how often the option with the largest log-likelihood is right, without sampling.

    Args:
        models: Model name -> folder.
        letters: Benchmark whose prompts list the options; the option letters are scored.
        texts: Benchmark with the same prompts without options; the option texts are scored.
        neutral: Prompt that asks nothing, for the calibration ``"neutral"``.

    Returns:
        One row per model and side. Columns: model, side (forget or retain), and one accuracy in
        [0, 1] per scored answer ("letter" or "text") and calibration, such as "letter, plain".
        Columns that end in " low" and " high" hold the 95 % interval over clusters of prompts.

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
