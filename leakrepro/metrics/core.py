"""What a core metric is, and the table of those that need no model."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from leakrepro.metrics.rouge import rouge_l
from leakrepro.metrics.text import ExactMatch, FactMatch, check_candidates
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


_TOKEN = re.compile("[a-z0-9]")


class RougeRecall:
    """ROUGE-L recall of the reference answer, as rouge_score computes it.

    Warns of references in other scripts, which rouge_score reads as empty.

    Args:
        stem: With the Porter stemmer, as TOFU does; MUSE does not stem.
    """

    higher_is_better = True

    def __init__(self, *, stem: bool) -> None:
        self.id = "rougeL_recall/stem" if stem else "rougeL_recall"
        self._stem = stem

    def score(self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scores:
        """Scores the candidates; see ``CoreMetric``.

        Raises:
            ValueError: when there is not one list of candidates a prompt.
            TypeError: for a candidate that is not a string; the message names its prompt.
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


_METRICS: dict[str, Callable[[Mapping[str, str]], CoreMetric]] = {
    "fact_match": lambda subjects: FactMatch(subjects),
    "fact_match/strict": lambda subjects: FactMatch(subjects, strict=True),
    "exact_match": lambda subjects: ExactMatch(),
    "rougeL_recall/stem": lambda subjects: RougeRecall(stem=True),
    "rougeL_recall": lambda subjects: RougeRecall(stem=False),
}
_MODELS = (
    "entailment/<model>[@<revision>][/gate=<recall>]",
    "cosine/<model>[@<revision>]",
    "judge/<model>[/levels]",
)


def load_metric(
    id: str,
    *,
    subjects: Mapping[str, str] | None = None,
    executor: str = "local",
    workers: int = 1,
) -> CoreMetric:
    """Builds a core metric by its id.

    Those that read with a model have more options; build them from their classes for these:
    ``EntailmentScore``, ``CosineSimilarity``, ``LLMJudge`` in ``leakrepro.metrics``.

    >>> load_metric("exact_match").id
    'exact_match'

    Args:
        id: ``fact_match``, ``fact_match/strict``, ``exact_match``, ``rougeL_recall/stem``,
            ``rougeL_recall``, ``choice_accuracy``, or with a model ``entailment/<model>``,
            ``cosine/<model>`` and ``judge/<model>``, where a model is a hub id (``@revision`` pins
            it), a folder, or what the judge's server calls it.
        subjects: Cluster -> full name of its subject (``Benchmark.subjects``); the fact metrics
            use it to refuse answers that name someone else.
        executor: Where a metric's model reads: ``"local"`` or ``"ray"``.
        workers: Processes or actors that read at the same time.

    Raises:
        ValueError: for an unknown id; the message lists the known ones.
        MissingExtra: for a metric whose packages are not installed.
        FileNotFoundError: when there is no such model.
    """
    if id in _METRICS:
        return _METRICS[id](subjects or {})
    kind, _, model = id.partition("/")
    # What follows needs torch or a network; what needs neither must not load them.
    if id == "choice_accuracy":
        from leakrepro.metrics.choice import ChoiceAccuracy

        return ChoiceAccuracy()
    if kind == "entailment" and model:
        from leakrepro.metrics.entailment import GATE, EntailmentScore

        model, _, gate = model.partition("/gate=")
        try:
            recall = float(gate) if gate else GATE
        except ValueError:
            raise ValueError(f"{id!r}: the gate is a number, not {gate!r}") from None
        return EntailmentScore(model, gate=recall, executor=executor, workers=workers)
    if kind == "cosine" and model:
        from leakrepro.metrics.cosine import CosineSimilarity

        return CosineSimilarity(model, executor=executor, workers=workers)
    if kind == "judge" and model:
        from leakrepro.metrics.judge import LLMJudge

        if model.endswith("/levels"):
            return LLMJudge(model.removesuffix("/levels"), rubric="levels")
        return LLMJudge(model)
    known = (*_METRICS, "choice_accuracy", *_MODELS)
    raise ValueError(f"unknown core metric {id!r}; known are {', '.join(known)}")
