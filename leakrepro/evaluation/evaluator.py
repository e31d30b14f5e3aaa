"""``evaluate``: samples, scores and leak@k of one model in one result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from leakrepro.benchmarks.base import Benchmark
from leakrepro.evaluation.leak_report import LeakReport, digest_texts
from leakrepro.execution.backend import Backend, takes_backend
from leakrepro.metrics.base import CoreMetric
from leakrepro.metrics.registry import Metric, load_metrics
from leakrepro.metrics.text import naming_share
from leakrepro.models.resolve import LoadedModel, Model, resolve
from leakrepro.profiles.schema import Profile
from leakrepro.sampling import sample
from leakrepro.stats.estimator import LeakCurve, chance_curve, leak_at_k
from leakrepro.types import Decoding, Prompt, Scores


@takes_backend
def evaluate(
    model: Model,
    benchmark: Benchmark,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    decoding: Decoding | None = None,
    metric: Metric | Sequence[Metric] | None = None,
    k: Sequence[int] | None = None,
    retain_n: int = 8,
    backend: Backend | None = None,
    name: str | None = None,
) -> LeakReport:
    """Samples a model on the forget and retain prompts, greedily and not, and scores the answers.

    Samples are kept under ``LEAKREPRO_HOME/samples``: the same call reads them, and a call with
    another metric or k only scores again.

    Args:
        model: A folder, a hub id, a name of the profile that makes the benchmark's models
            (``"Original"``, ``"NPO"`` ...; it is made when it is missing), or a
            ``PreTrainedModel``.
        benchmark: Whose forget prompts are sampled; see ``leakrepro.load_benchmark``.
        tokenizer: Of a loaded model.
        decoding: How to sample; None for the benchmark's default.
        metric: Core metrics or their ids, the primary one first; None for the benchmark's own.
        k: Values of k; None for powers of two up to ``decoding.n``.
        retain_n: Samples per retain prompt under the same decoding.
        backend: Where sampling and the metrics' models run; None for one process.
        name: Name in tables and figures; None for ``model``.

    Returns:
        leak@k with intervals over prompts that respect clusters, the greedy leak, the easy and
        hard split with its chance curve where the benchmark has one, the retain scores, and the
        scores of all samples.

    Raises:
        ValueError: for k above n and other values out of range, and for an unknown metric.
        FileNotFoundError: when there is no such model.
        StoreError: when samples cannot be kept or a store is damaged.
    """
    decoding = decoding or benchmark.decoding
    k = k if k is None else sorted(k)
    if k and k[-1] > decoding.n:
        raise ValueError(
            f"k = {k[-1]} needs as many samples per prompt, but n is {decoding.n}: raise n or "
            "lower k"
        )
    if k is not None and (not k or k[0] < 1):
        raise ValueError(f"k must hold numbers from 1 to n, not {k}")
    retain_decoding = decoding if decoding.is_greedy else decoding.replace(n=retain_n)
    metrics = load_metrics(metric, benchmark, backend)
    source = resolve(model, benchmark, tokenizer)
    everyone = benchmark.forget + benchmark.retain
    forget, retain, greedy = (
        sample(source, prompts, how, backend=backend)
        for prompts, how in (
            (benchmark.forget, decoding),
            (benchmark.retain, retain_decoding),
            (everyone, decoding.greedy()),
        )
    )

    count = len(benchmark.forget)
    scores = {each.id: each.score(forget.prompts, forget.texts) for each in metrics}
    greedy_leak, retain_greedy, retain_sampled = {}, {}, {}
    for each in metrics:
        greedy_leak[each.id] = _mean(each, greedy.prompts[:count], greedy.texts[:count])
        retain_greedy[each.id] = _mean(each, greedy.prompts[count:], greedy.texts[count:])
        retain_sampled[each.id] = _mean(each, retain.prompts, retain.texts)

    easy, hard, chance = _split(scores[metrics[0].id], benchmark, k)
    return LeakReport(
        model=name or _name(model),
        benchmark=benchmark.name,
        weights_fingerprint=forget.weights_fingerprint,
        decoding=decoding,
        texts_digest=digest_texts(forget.texts),
        curves={id: _curve(each, forget.prompts, k) for id, each in scores.items()},
        greedy=greedy_leak,
        retain_greedy=retain_greedy,
        retain_sampled=retain_sampled,
        finished=forget.finished,
        samples_path=forget.path,
        scores=scores,
        clusters=tuple(forget.clusters),
        missing={
            id: sum(forget.counts) - each.values.size
            for id, each in scores.items()
            if each.values.size < sum(forget.counts)
        },
        named_share=naming_share(forget.prompts, forget.texts, benchmark.subjects),
        easy=easy,
        hard=hard,
        chance=chance,
    )


def make_reports(
    profile: Profile,
    benchmark: Benchmark,
    models: Mapping[str, Path],
    *,
    decoding: Decoding | None = None,
    metric: Metric | Sequence[Metric] | None = None,
    k: Sequence[int] | None = None,
    retain_n: int | None = None,
) -> list[LeakReport]:
    """Evaluates models as a profile says, one report per model in their order.

    Args:
        profile: Decoding, metrics, k, ``retain_n`` and backend.
        benchmark: What is asked.
        models: Name in tables -> folder, as ``leakrepro.make_models`` returns them.
        decoding: Instead of the profile's.
        metric: Core metrics or their ids, instead of the profile's.
        k: Instead of the profile's.
        retain_n: Instead of the profile's.

    Raises:
        ValueError: for k above n and other values out of range, and for an unknown metric.
        FileNotFoundError: when there is no such model.
        StoreError: when samples cannot be kept or a store is damaged.
    """
    backend = profile.backend
    metrics = load_metrics(metric or profile.metrics, benchmark, backend)
    return [
        evaluate(
            model,
            benchmark,
            name=name,
            decoding=decoding or profile.decoding,
            metric=metrics,
            k=k or profile.k,
            retain_n=retain_n or profile.retain_n,
            backend=backend,
        )
        for name, model in models.items()
    ]


def _name(model: Model) -> str:
    if isinstance(model, str | Path):
        return str(model)
    loaded = model.model if isinstance(model, LoadedModel) else model
    return loaded.name_or_path or type(loaded).__name__


def _curve(scores: Scores, prompts: Sequence[Prompt], k: Sequence[int] | None) -> LeakCurve:
    return leak_at_k(scores, k, clusters=[prompt.cluster for prompt in prompts])


def _mean(metric: CoreMetric, prompts: Sequence[Prompt], texts: list[list[str]]) -> LeakCurve:
    return _curve(metric.score(prompts, texts), prompts, [1])


def _split(
    scores: Scores, benchmark: Benchmark, k: Sequence[int] | None
) -> tuple[LeakCurve | None, LeakCurve | None, NDArray[np.float64] | None]:
    """Curves of the guessable and the other prompts, and what guessing alone would leak."""
    pools = benchmark.pool_sizes

    def part(guessable: bool) -> LeakCurve | None:
        chosen = [i for i, p in enumerate(benchmark.forget) if (p.id in pools) is guessable]
        rows = Scores.from_rows(scores[i] for i in chosen)
        return _curve(rows, [benchmark.forget[i] for i in chosen], k) if chosen else None

    easy = part(True)
    if easy is None:
        return None, None, None
    sizes = [pools[prompt.id] for prompt in benchmark.forget if prompt.id in pools]
    return easy, part(False), chance_curve(sizes, easy.k)
