"""Core metrics by id. Only this module turns an id into a metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from leakrepro.errors import extra_named
from leakrepro.execution.backend import Backend, takes_backend
from leakrepro.metrics.base import CoreMetric
from leakrepro.metrics.rouge_recall import RougeRecall
from leakrepro.metrics.text import ExactMatch, FactMatch

if TYPE_CHECKING:
    from leakrepro.benchmarks.base import Benchmark

Metric = str | CoreMetric

_METRICS: dict[str, Callable[[Mapping[str, str]], CoreMetric]] = {
    "fact_match": lambda subjects: FactMatch(subjects),
    "fact_match/strict": lambda subjects: FactMatch(subjects, strict=True),
    "exact_match": lambda subjects: ExactMatch(),
    "rougeL_recall/stem": lambda subjects: RougeRecall(stem=True),
    "rougeL_recall": lambda subjects: RougeRecall(stem=False),
}
_EMBEDDED = "entailment/embedded"
_MODELS = (
    _EMBEDDED,
    "entailment/<model>[@<revision>][/gate=<recall>]",
    "cosine/<model>[@<revision>]",
    "judge/<model>[/levels]",
)


@takes_backend
@extra_named("this core metric")
def load_metric(
    metric: Metric, benchmark: Benchmark | None = None, backend: Backend | None = None
) -> CoreMetric:
    """Return the core metric of an id; a metric object is returned unchanged.

    Metrics with a model have more options, as arguments of their classes ``EntailmentScore``,
    ``CosineSimilarity`` and ``LLMJudge`` in ``leakrepro.metrics``.

    >>> load_metric("exact_match").id
    'exact_match'

    Args:
        metric: ``fact_match``, ``fact_match/strict``, ``exact_match``, ``rougeL_recall/stem``,
            ``rougeL_recall``, ``choice_accuracy``, or with a model ``entailment/<model>``,
            ``cosine/<model>`` and ``judge/<model>``, where a model is a hub id (``@revision`` pins
            it), a folder, or the name of a model on the judge's server. ``entailment/embedded`` is
            the entailment model of the fictional benchmark, which is trained if needed.
        benchmark: The benchmark to score. The fact metrics use the names of its subjects to reject
            answers that name someone else.
        backend: Where the model of a metric runs; None for one process.

    Raises:
        ValueError: If the id is unknown (the message lists the known ones), or
            ``entailment/embedded`` is used for another benchmark than ``fictional``.
        MissingExtra: If the packages of the metric are not installed.
        FileNotFoundError: If the model does not exist.
    """
    if not isinstance(metric, str):
        return metric
    if metric in _METRICS:
        return _METRICS[metric](benchmark.subjects if benchmark else {})
    kind, _, model = metric.partition("/")
    # Late: these modules import torch or need a network; the metrics above do not.
    if metric == "choice_accuracy":
        from leakrepro.metrics.choice import ChoiceAccuracy

        return ChoiceAccuracy()
    if kind == "entailment" and model:
        return _entailment(metric, model, benchmark, backend)
    if kind == "cosine" and model:
        from leakrepro.metrics.cosine import CosineSimilarity

        return CosineSimilarity(model, backend=backend)
    if kind == "judge" and model:
        from leakrepro.metrics.judge import LLMJudge

        if model.endswith("/levels"):
            return LLMJudge(model.removesuffix("/levels"), rubric="levels")
        return LLMJudge(model)
    known = (*_METRICS, "choice_accuracy", *_MODELS)
    raise ValueError(f"unknown core metric {metric!r}; known are {', '.join(known)}")


@takes_backend
def load_metrics(
    metric: Metric | Sequence[Metric] | None,
    benchmark: Benchmark,
    backend: Backend | None = None,
) -> list[CoreMetric]:
    """Return the core metrics for a benchmark.

    Args:
        metric: One or several metrics or ids; None for the metrics of the benchmark.
        benchmark: The benchmark to score.
        backend: Where the models of the metrics run; None for one process.

    Raises:
        ValueError: If an id is unknown.
        MissingExtra: If the packages of a metric are not installed.
        FileNotFoundError: If the model does not exist.
    """
    if metric is None:
        metric = benchmark.metrics
    elif isinstance(metric, str) or not isinstance(metric, Sequence):
        metric = [metric]
    return [load_metric(each, benchmark, backend) for each in metric]


def _entailment(
    id: str, model: str, benchmark: Benchmark | None, backend: Backend | None
) -> CoreMetric:
    from leakrepro.metrics.entailment import GATE, EntailmentScore

    model, _, gate = model.partition("/gate=")
    try:
        recall = float(gate) if gate else GATE
    except ValueError:
        raise ValueError(f"{id!r}: the gate must be a number, not {gate!r}") from None
    if f"entailment/{model}" != _EMBEDDED:
        return EntailmentScore(model, gate=recall, backend=backend)
    if benchmark is not None and not benchmark.name.startswith("fictional("):
        raise ValueError(
            f"{_EMBEDDED} is trained on sentences of the fictional world, not of {benchmark.name}"
        )
    from leakrepro.models.nli import entailment_model

    return EntailmentScore(entailment_model(), name="embedded", gate=recall, backend=backend)
