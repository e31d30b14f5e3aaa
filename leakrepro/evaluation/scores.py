"""Scores of stored samples, which need no model."""

from __future__ import annotations

import numpy as np
from tqdm import tqdm

from leakrepro.metrics import CoreMetric
from leakrepro.sampling.samples import Samples
from leakrepro.types import Scores

_BLOCK = 200_000  # samples that are held as Python strings at a time


def score_samples(samples: Samples, metric: CoreMetric) -> Scores:
    """Scores of all samples, read from their store block by block.

    Raises:
        StoreError: naming the file of the store that is damaged.
        ValueError: as the metric.
        IncompleteScores: when some could not be scored; those that could stay cached.
    """
    values, counts = [], []
    with tqdm(total=sum(samples.counts), unit="sample", desc=metric.id) as bar:
        for prompts, texts in samples.blocks(_BLOCK):
            scores = metric.score(prompts, texts)
            values.append(scores.values)
            counts.append(scores.counts)
            bar.update(sum(map(len, texts)))
    return Scores(np.concatenate(values), np.cumsum([0, *np.concatenate(counts)]))
