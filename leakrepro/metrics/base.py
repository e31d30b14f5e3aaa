"""The protocol that every core metric follows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

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
