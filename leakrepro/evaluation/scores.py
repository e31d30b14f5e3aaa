"""Scores of stored samples; scoring does not need a model."""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from leakrepro.metrics import CoreMetric
from leakrepro.metrics.base import checked_scores
from leakrepro.sampling.samples import Samples
from leakrepro.types import Scores

_BLOCK = 200_000  # samples held as Python strings at the same time


def score_samples(samples: Samples, metric: CoreMetric) -> Scores:
    """Score all samples of a store, reading it block by block to limit memory.

    Args:
        samples: Samples of one model.
        metric: Core metric.

    Returns:
        Scores, prompts x samples.

    Raises:
        StoreError: when the store is damaged; the message names the file.
        ValueError: when the metric cannot score these prompts.
        IncompleteScores: when some samples could not be scored; the other scores stay cached.
    """
    values, counts = [], []
    with tqdm(total=sum(samples.counts), unit="sample", desc=metric.id) as bar:
        for prompts, texts in samples.blocks(_BLOCK):
            scores = checked_scores(metric, prompts, texts)
            values.append(scores.values)
            counts.append(scores.counts)
            bar.update(sum(map(len, texts)))
    return Scores(np.concatenate(values), np.cumsum([0, *np.concatenate(counts)]))
