"""Time one row of a study: from 80,000 samples in Parquet to the row of the leak@k table."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

import leakrepro as lr
from leakrepro.bench.shapes import tofu
from leakrepro.evaluation.frames import readable
from leakrepro.evaluation.leak_report import digest_texts, summary
from leakrepro.metrics import load_metric
from leakrepro.sampling.manifest import Identity, prompts_hash
from leakrepro.sampling.store import SHARD_ROWS, SampleStore

STAGES = ("read", "texts", "score", "estimate", "table")


def make_store(folder: Path, *, seed: int = 0) -> Path:
    """Write a complete store of 400 prompts x 200 samples, with 20 prompts per cluster."""
    shape = tofu(seed=seed)
    prompts = tuple(
        lr.Prompt(
            f"p{i}",
            ({"role": "user", "content": f"Question {i}?"},),
            reference,
            cluster=f"c{i // 20}",
            side="forget",
        )
        for i, reference in enumerate(shape.references)
    )
    decoding = lr.Decoding(n=len(shape.candidates[0]))
    identity = Identity("weights", "tokenizer", prompts_hash(prompts), decoding, "hf", 1, "float32")
    store = SampleStore(folder / identity.key, identity, prompts)
    texts = [text for row in shape.candidates for text in row]
    ids = [prompt.id for prompt in prompts for _ in range(decoding.n)]
    count = len(texts)
    table = pa.table(
        {
            "prompt_id": ids,
            "sample": np.tile(np.arange(decoding.n, dtype=np.int32), len(prompts)),
            "text": texts,
            "n_tokens": np.full(count, 60, dtype=np.int32),
            "finish_reason": ["stop"] * count,
            "seed": np.arange(count),
            "logprob": np.full(count, -60.0),
            "logq": np.full(count, -60.0),
        }
    )
    with store.writing():
        for index in range(len(store.plan)):
            store.write(index, table.slice(index * SHARD_ROWS, SHARD_ROWS))
    return store.path


def time_cell(path: Path) -> dict[str, float]:
    """Return the seconds of each stage, from opening the store to the printed row."""
    marks = [time.perf_counter()]
    samples = lr.read_samples(path)
    marks.append(time.perf_counter())
    texts = samples.texts
    digest = digest_texts(texts)
    finished = samples.finished
    marks.append(time.perf_counter())
    metric = load_metric("rougeL_recall/stem")
    scores = metric.score(samples.prompts, texts)
    marks.append(time.perf_counter())
    clusters = [prompt.cluster for prompt in samples.prompts]
    curve = lr.leak_at_k(scores, clusters=clusters)
    first = lr.leak_at_k(lr.Scores.from_rows(row[:1] for row in scores), [1], clusters=clusters)
    marks.append(time.perf_counter())
    one = {metric.id: first}
    report = lr.LeakReport(
        "model", "tofu", "weights", samples.decoding, digest, {metric.id: curve}, one, one, one,
        finished, path,
    )  # fmt: skip
    readable(summary([report])).to_string()
    marks.append(time.perf_counter())
    return dict(zip(STAGES, np.diff(marks).tolist(), strict=True))


def bench_cell(*, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each stage per round, after one warm-up round."""
    with tempfile.TemporaryDirectory() as folder:
        path = make_store(Path(folder))
        time_cell(path)
        found = [time_cell(path) for _ in range(rounds)]
    return {stage: [times[stage] for times in found] for stage in STAGES}
