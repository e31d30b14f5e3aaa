"""What a core metric is, and the table of those that need no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from leakrepro.metrics.base import CoreMetric
from leakrepro.metrics.rouge_recall import RougeRecall
from leakrepro.metrics.text import ExactMatch, FactMatch

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
