"""``evaluate``: everything that a table row needs to know about one model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from leakrepro.benchmarks.base import Benchmark
from leakrepro.evaluation.leak_report import LeakReport, digest_texts
from leakrepro.metrics import CoreMetric, EntailmentScore, load_metric
from leakrepro.metrics.text import naming_share
from leakrepro.profiles.models import make_entailment, resolve
from leakrepro.report import published
from leakrepro.sampling import Samples, sample
from leakrepro.sampling.engines.table import Engine
from leakrepro.stats.estimator import LeakCurve, chance_curve, leak_at_k
from leakrepro.types import Decoding, Prompt, Scores

Metric = str | CoreMetric
_EMBEDDED = "entailment/embedded"
_BLOCK = 200_000  # samples that are held as Python strings at a time


def evaluate(
    model: str | Path,
    benchmark: Benchmark,
    *,
    decoding: Decoding | None = None,
    metric: Metric | Sequence[Metric] | None = None,
    k: Sequence[int] | None = None,
    retain_n: int = 8,
    engine: str | Engine = "hf",
    executor: str = "local",
    workers: int = 1,
    name: str | None = None,
) -> LeakReport:
    """Samples a model on the forget and retain prompts, greedily and not, and scores what it says.

    Samples are kept under ``LEAKREPRO_HOME/samples``: the same call reads them, and a call with
    another metric or k only scores again.

    Args:
        model: A folder, a hub id, or a model of the benchmark's profile (``"Original"``,
            ``"NPO"`` ...), which is then made on demand.
        benchmark: Whose forget prompts are sampled; see ``leakrepro.load_benchmark``.
        decoding: How; None for the benchmark's default.
        metric: Core metrics or their ids, headline first; None for the benchmark's own.
        k: Values of k; None for powers of two up to ``decoding.n``.
        retain_n: Samples of each retain prompt under the same decoding.
        engine: Sampling engine, see ``leakrepro.sample``.
        executor: Where sampling runs, and metrics that are given by their ids.
        workers: Processes or actors there.
        name: Name in tables and figures; None for ``model``.

    Returns:
        leak@k with intervals over prompts that respect clusters, the greedy leak, the easy and
        hard split with its chance curve where the benchmark has one, and the retain scores.

    Raises:
        ValueError: for k above n and other values out of range, and for an unknown metric.
        FileNotFoundError: when there is no such model.
        StoreError: when samples cannot be kept or a store is damaged.
    """
    decoding = decoding or benchmark.decoding
    k = k if k is None else sorted(k)
    if k and k[-1] > decoding.n:
        raise ValueError(
            f"k = {k[-1]} needs as many samples a prompt, but n is {decoding.n}: raise n or lower k"
        )
    if k is not None and (not k or k[0] < 1):
        raise ValueError(f"k must hold numbers from 1 to n, not {k}")
    retain_decoding = decoding if decoding.is_greedy else decoding.replace(n=retain_n)
    metrics = load_metrics(metric, benchmark, executor=executor, workers=workers)
    path = resolve(model, benchmark)
    everyone = benchmark.forget + benchmark.retain
    forget, retain, greedy = (
        sample(path, prompts, how, engine=engine, executor=executor, workers=workers)
        for prompts, how in (
            (benchmark.forget, decoding),
            (benchmark.retain, retain_decoding),
            (everyone, decoding.greedy()),
        )
    )

    count = len(benchmark.forget)
    leaks = {each.id: each.score(forget.prompts, forget.texts) for each in metrics}
    curves = {id: _curve(scores, forget.prompts, k) for id, scores in leaks.items()}
    greedy_leak, retain_greedy, retain_sampled = {}, {}, {}
    for each in metrics:
        greedy_leak[each.id] = _mean(each, greedy.prompts[:count], greedy.texts[:count])
        retain_greedy[each.id] = _mean(each, greedy.prompts[count:], greedy.texts[count:])
        retain_sampled[each.id] = _mean(each, retain.prompts, retain.texts)

    draws = {
        id: leak_at_k(scores, k, interval="samples").stderr
        for id, scores in leaks.items()
        if len(published(benchmark.name, id, decoding.temperature, decoding.top_p))
    }
    easy, hard, chance = _split(leaks[metrics[0].id], benchmark, k)
    return LeakReport(
        model=name or str(model),
        benchmark=benchmark.name,
        weights=forget.fingerprint,
        decoding=decoding,
        texts=digest_texts(forget.texts),
        curves=curves,
        greedy=greedy_leak,
        retain_greedy=retain_greedy,
        retain_sampled=retain_sampled,
        finished=forget.finished,
        samples=forget.path,
        missing={
            id: sum(forget.counts) - scores.values.size
            for id, scores in leaks.items()
            if scores.values.size < sum(forget.counts)
        },
        named=naming_share(forget.prompts, forget.texts, benchmark.subjects),
        easy=easy,
        hard=hard,
        chance=chance,
        draws=draws,
    )


def score_samples(samples: Samples, metric: CoreMetric) -> Scores:
    """Scores of all samples, read from their store block by block.

    Raises:
        StoreError: naming the file of the store that is damaged.
        ValueError: as the metric.
        IncompleteScores: when some could not be scored; those that could stay cached.
    """
    values, counts = [], []
    with tqdm(total=sum(samples.counts), unit="sample", desc=metric.id) as bar:
        for prompts, texts in samples.blocks(_BLOCK):
            scores = metric.score(prompts, texts)
            values.append(scores.values)
            counts.append(scores.counts)
            bar.update(sum(map(len, texts)))
    return Scores(np.concatenate(values), np.cumsum([0, *np.concatenate(counts)]))


def load_metrics(
    metric: Metric | Sequence[Metric] | None,
    benchmark: Benchmark,
    *,
    executor: str = "local",
    workers: int = 1,
) -> list[CoreMetric]:
    """Core metrics for a benchmark.

    Args:
        metric: Ids as ``load_metric`` takes them, or metrics as they are; None for the benchmark's
            own. ``entailment/embedded`` is the entailment model of the fictional worlds, trained
            now or before.
        benchmark: Gives the subjects.
        executor: Where metrics with a model read.
        workers: How many at the same time.

    Raises:
        ValueError: as ``load_metric``.
    """
    if metric is None:
        metric = benchmark.metrics
    elif isinstance(metric, str) or not isinstance(metric, Sequence):
        metric = [metric]

    def load(one: Metric) -> CoreMetric:
        if not isinstance(one, str):
            return one
        if one == _EMBEDDED:
            path = make_entailment(benchmark)
            return EntailmentScore(path, name="embedded", executor=executor, workers=workers)
        return load_metric(one, subjects=benchmark.subjects, executor=executor, workers=workers)

    return [load(each) for each in metric]


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
