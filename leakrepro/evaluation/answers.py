"""Scored samples and scored greedy answers of several models, for tables of single answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from leakrepro.benchmarks.base import Benchmark
from leakrepro.evaluation.scores import score_samples
from leakrepro.metrics.registry import Metric, load_metric
from leakrepro.profiles.schema import Profile
from leakrepro.sampling import Samples, sample
from leakrepro.types import Prompt, Scores


@dataclass(frozen=True, eq=False)
class Answers:
    """One model's samples and greedy answers to the same prompts.

    Attributes:
        samples: Samples of each prompt.
        scores: Scores of the samples, prompts x samples.
        greedy: Greedy answers, one per prompt.
        greedy_scores: Scores of the greedy answers, prompts x 1.
    """

    samples: Samples
    scores: Scores
    greedy: Samples
    greedy_scores: Scores


def make_answers(
    profile: Profile,
    benchmark_or_prompts: Benchmark | Sequence[Prompt],
    models: Mapping[str, Path],
    metric: Metric,
) -> dict[str, Answers]:
    """Sample each model, generate its greedy answers, and score both.

    Args:
        profile: Supplies the decoding and the backend.
        benchmark_or_prompts: The prompts; for a benchmark, its forget prompts.
        models: Model name -> folder, as returned by ``leakrepro.make_models``.
        metric: Core metric that scores the answers, or its id.

    Returns:
        Model name -> its answers, in the order of ``models``.

    Raises:
        ValueError: when the metric is unknown.
        StoreError: when samples cannot be saved or a store is damaged.
        IncompleteScores: when the metric fails on some answers.
    """
    given = benchmark_or_prompts
    benchmark = None if isinstance(given, Sequence) else given
    metric = load_metric(metric, benchmark, profile.backend)
    made = {}
    for name, path in models.items():
        samples, greedy = (
            sample(path, benchmark_or_prompts, decoding, backend=profile.backend)
            for decoding in (profile.decoding, profile.decoding.greedy())
        )
        made[name] = Answers(
            samples, score_samples(samples, metric), greedy, score_samples(greedy, metric)
        )
    return made
