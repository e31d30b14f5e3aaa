"""The protocol that every core metric follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from leakrepro.types import Prompt, Scores


class CoreMetric(Protocol):
    """Scores each candidate answer in [0, 1].

    Attributes:
        id: Stable name, used in tables, captions and caches.
        higher_is_better: Whether a higher score is a better answer. A better answer to a forget
            prompt is a leak, so a lower leak@k is then better.
    """

    @property
    def id(self) -> str: ...

    @property
    def higher_is_better(self) -> bool: ...

    def score(self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scores:
        """Return the scores of ``candidates[i]``, the answers to ``prompts[i]``, in their order."""
        ...


def checked_scores(
    metric: CoreMetric, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]
) -> Scores:
    """Return ``metric.score(prompts, candidates)`` after checking it.

    Args:
        metric: The metric, possibly a user's.
        prompts: The prompts.
        candidates: Their answers.

    Raises:
        ValueError: If a score is nan or outside [0, 1], or if the metric does not return one row
            per prompt, or more scores than answers; the message names the metric and the prompt.
    """
    # A user's metric may return an array or a table.
    scores = Scores.from_rows(metric.score(prompts, candidates))
    if len(scores) != len(prompts):
        raise ValueError(
            f"the metric {metric.id} returns scores of {len(scores)} prompts for {len(prompts)}"
        )
    for prompt, texts, count in zip(prompts, candidates, scores.counts.tolist(), strict=True):
        if count > len(texts):  # fewer: a judge may omit answers without a score
            raise ValueError(
                f"the metric {metric.id} gives prompt {prompt.id!r} {count} scores for "
                f"{len(texts)} answers"
            )
    bad = np.flatnonzero(~((scores.values >= 0) & (scores.values <= 1)))  # nan is neither
    if bad.size:
        row = int(np.searchsorted(scores.offsets, bad[0], side="right")) - 1
        raise ValueError(
            f"the metric {metric.id} gives prompt {prompts[row].id!r} the score "
            f"{scores.values[bad[0]]}, not a number in [0, 1]"
        )
    return scores
