"""The protocol that every core metric follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from leakrepro.types import Prompt, Scores


class CoreMetric(Protocol):
    """Scores each candidate answer in [0, 1].

    Attributes:
        id: Stable name; it goes into tables, captions and caches.
        higher_is_better: Whether a higher score is a better answer. On forget prompts a better
            answer is a leak, so leak@k is then better when lower.
    """

    @property
    def id(self) -> str: ...

    @property
    def higher_is_better(self) -> bool: ...

    def score(self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scores:
        """Scores of ``candidates[i]``, the answers to ``prompts[i]``, in the same order."""
        ...
