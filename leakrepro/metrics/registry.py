"""The core metrics by their ids: the only place that turns an id into a metric."""

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
    """Builds a core metric from its id; a metric is returned as it is.

    Model-based metrics have more options; build them from their classes for these:
    ``EntailmentScore``, ``CosineSimilarity``, ``LLMJudge`` in ``leakrepro.metrics``.

    >>> load_metric("exact_match").id
    'exact_match'

    Args:
        metric: ``fact_match``, ``fact_match/strict``, ``exact_match``, ``rougeL_recall/stem``,
            ``rougeL_recall``, ``choice_accuracy``, or with a model ``entailment/<model>``,
            ``cosine/<model>`` and ``judge/<model>``, where a model is a hub id (``@revision`` pins
            it), a folder, or what the judge's server calls it. ``entailment/embedded`` is the
            entailment model of the fictional worlds, trained now or before.
        benchmark: What is scored. The fact metrics use the names of its subjects to refuse answers
            that name someone else.
        backend: Where a metric's model runs; None for one process.

    Raises:
        ValueError: for an unknown id (the message lists the known ones), and for
            ``entailment/embedded`` on a benchmark that is not a fictional world.
        MissingExtra: for a metric whose packages are not installed.
        FileNotFoundError: when there is no such model.
    """
    if not isinstance(metric, str):
        return metric
    if metric in _METRICS:
        return _METRICS[metric](benchmark.subjects if benchmark else {})
    kind, _, model = metric.partition("/")
    # The modules below load torch or need a network; the metrics above must not load them.
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
    """Core metrics for a benchmark.

    Args:
        metric: One or several, each as ``load_metric`` takes it; None for the benchmark's own.
        benchmark: What is scored.
        backend: Where the metrics' models run; None for one process.

    Raises:
        ValueError: for an unknown id.
        MissingExtra: for a metric whose packages are not installed.
        FileNotFoundError: when there is no such model.
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
        raise ValueError(f"{id!r}: the gate is a number, not {gate!r}") from None
    if f"entailment/{model}" != _EMBEDDED:
        return EntailmentScore(model, gate=recall, backend=backend)
    if benchmark is not None and not benchmark.name.startswith("fictional("):
        raise ValueError(
            f"{_EMBEDDED} is trained on sentences of the fictional world, not of {benchmark.name}"
        )
    from leakrepro.models.nli import entailment_model

    return EntailmentScore(entailment_model(), name="embedded", gate=recall, backend=backend)
