"""RS, the ROUGE-L recall of the reference."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

from leakrepro.metrics.text import check_candidates
from leakrepro.rouge.texts import rouge_l
from leakrepro.types import Prompt, Scores

_TOKEN = re.compile("[a-z0-9]")


class RougeRecall:
    """ROUGE-L recall of the reference answer, equal to that of rouge_score.

    It warns of references in other scripts, of which rouge_score drops every character.

    Args:
        stem: Whether to use the Porter stemmer. TOFU does, MUSE does not.
    """

    higher_is_better = True

    def __init__(self, *, stem: bool) -> None:
        self.id = "rougeL_recall/stem" if stem else "rougeL_recall"
        self._stem = stem

    def score(self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scores:
        """Score the candidates; see ``CoreMetric``.

        Raises:
            ValueError: If the number of lists of candidates is not the number of prompts.
            TypeError: If a candidate is not a string; the message names its prompt.
        """
        check_candidates(prompts, candidates)
        references = [prompt.reference for prompt in prompts]
        unread = [p.id for p in prompts if not _TOKEN.search(p.reference.lower())]
        if unread:
            warnings.warn(
                f"{len(unread)} references hold no Latin letter or digit, {unread[0]!r} first; "
                "ROUGE, which knows no other tokens, scores every answer to them 0",
                stacklevel=2,
            )
        return rouge_l(references, candidates, stem=self._stem).recall
