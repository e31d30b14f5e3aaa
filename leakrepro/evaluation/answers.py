"""Samples and greedy answers of several models with their scores, for tables of single answers."""

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
        samples: The samples.
        scores: Their scores.
        greedy: The greedy answers, one per prompt.
        greedy_scores: Their scores.
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
    """Samples each model as a profile says, and greedily, and scores the answers.

    Args:
        profile: Decoding and backend.
        benchmark_or_prompts: A benchmark stands for its forget prompts.
        models: Name -> folder, as ``leakrepro.make_models`` returns them.
        metric: The core metric or its id.

    Raises:
        ValueError: for an unknown metric.
        StoreError: when samples cannot be kept or a store is damaged.
        IncompleteScores: when some answers could not be scored.
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
