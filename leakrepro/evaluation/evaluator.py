"""``evaluate``: sample a model, score its answers and estimate leak@k."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from leakrepro.benchmarks.base import Benchmark
from leakrepro.evaluation.leak_report import LeakReport, Shown, check_shown, digest_texts
from leakrepro.execution.backend import Backend, takes_backend
from leakrepro.metrics.base import CoreMetric, checked_scores
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
    interval: Shown = "prompts",
) -> LeakReport:
    """Evaluate a model on a benchmark with sampled and with greedy answers.

    Samples are saved under ``LEAKREPRO_HOME/samples``. The same call reads them, and a call with
    another metric or k does not sample again.

    Args:
        model: A folder, a hub id, a name of the profile that makes the benchmark's models
            (``"Original"``, ``"NPO"`` ...; a missing model is trained or downloaded), or a
            ``PreTrainedModel``.
        benchmark: Benchmark with the forget and retain prompts; see ``leakrepro.load_benchmark``.
        tokenizer: Tokenizer of a loaded model.
        decoding: Decoding settings of the samples; None for the benchmark's default.
        metric: Core metrics or their ids, the primary one first; None for the benchmark's own.
        k: Values of k; None for powers of two up to ``decoding.n``.
        retain_n: Samples per retain prompt under the same decoding.
        backend: Where sampling and the metrics' models run; None for one process.
        name: Name in tables and figures; None for ``model``.
        interval: What the report's tables show beside leak@k: the interval over other
            ``"prompts"``, over new ``"samples"`` of these prompts, ``"both"``, or the plain
            ``"stderr"``.

    Returns:
        leak@k with intervals over clusters of prompts, the greedy leak, the retain scores, the
        scores of all samples and, if the benchmark has pool sizes, the curves of easy and hard
        prompts with the chance curve.

    Raises:
        ValueError: when k is above n, another value is out of range, or a metric is unknown.
        FileNotFoundError: when the model does not exist.
        StoreError: when samples cannot be saved or a store is damaged.
    """
    check_shown(interval)
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
    scores = {each.id: checked_scores(each, forget.prompts, forget.texts) for each in metrics}
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
        interval=interval,
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
    """Evaluate models with the settings of a profile.

    Args:
        profile: Supplies the backend and the default of each argument below.
        benchmark: Benchmark with the forget and retain prompts.
        models: Name in tables -> folder, as returned by ``leakrepro.make_models``.
        decoding: Decoding settings; None for the profile's.
        metric: Core metrics or their ids, the primary one first; None for the profile's.
        k: Values of k; None for the profile's.
        retain_n: Samples per retain prompt; None for the profile's.

    Returns:
        One report per model, in the order of ``models``.

    Raises:
        ValueError: when k is above n, another value is out of range, or a metric is unknown.
        FileNotFoundError: when a model does not exist.
        StoreError: when samples cannot be saved or a store is damaged.
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
    return _curve(checked_scores(metric, prompts, texts), prompts, [1])


def _split(
    scores: Scores, benchmark: Benchmark, k: Sequence[int] | None
) -> tuple[LeakCurve | None, LeakCurve | None, NDArray[np.float64] | None]:
    """The curves of easy and hard prompts, and the leak of a uniform guesser on the easy ones."""
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
