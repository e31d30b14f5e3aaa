"""``sample``: prompts and a model in, a complete store of samples out."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch
from tqdm import tqdm

from leakrepro import __version__, parallel, paths
from leakrepro.models.load import (
    eos_ids,
    fingerprint,
    locate,
    resolve_device,
    resolve_dtype,
    tokenizer_fingerprint,
)
from leakrepro.sampling.hf import SAMPLER_VERSION, HFSampler, LogitsProcessor
from leakrepro.sampling.store import Identity, Request, SampleStore, open_store, prompts_hash
from leakrepro.types import Decoding, Prompt, check_prompts

if TYPE_CHECKING:
    from leakrepro.benchmarks.base import Benchmark

ENGINES = ("hf",)
EXECUTORS = ("local",)


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of one model, read from their store.

    Attributes:
        prompts: What was asked, in order.
        decoding: How the answers were drawn.
        path: The store's folder.
        fingerprint: Hash of the model's weights.
        table: One row a sample with the columns of ``leakrepro.sampling.store.SCHEMA``, ordered
            by prompt and then by sample.
        drawn: Samples drawn by this call; 0 when all were there.
    """

    prompts: tuple[Prompt, ...]
    decoding: Decoding
    path: Path
    fingerprint: str
    table: pa.Table
    drawn: int = 0

    @functools.cached_property
    def texts(self) -> list[list[str]]:
        """The answers, one list of ``decoding.n`` a prompt."""
        texts, n = self.table["text"].to_pylist(), self.decoding.n
        return [texts[i : i + n] for i in range(0, len(texts), n)]

    @property
    def finished(self) -> float:
        """Share of the samples that ended by themselves before ``max_new_tokens``."""
        reasons: list[str] = self.table["finish_reason"].to_pylist()
        return reasons.count("stop") / len(reasons)


def sample(
    model: str | Path,
    benchmark_or_prompts: Benchmark | Sequence[Prompt],
    decoding: Decoding,
    *,
    engine: str = "hf",
    executor: str = "local",
    workers: int = 1,
    logits_processors: Sequence[LogitsProcessor] = (),
    store: str | Path | None = None,
) -> Samples:
    """Draws ``decoding.n`` answers a prompt, or reads them when the same were drawn before.

    The call can be interrupted at any time; the same call goes on where it stopped.

    Args:
        model: A local folder or a hub id, ``"org/name@revision"`` to pin it.
        benchmark_or_prompts: A benchmark stands for its forget prompts.
        decoding: How to draw.
        engine: ``"hf"``.
        executor: ``"local"``.
        workers: Processes at the same time; torch's threads are shared among them. The samples
            are the same for any number as long as each has the same threads.
        logits_processors: Transformers-style callables ``(input_ids, scores) -> scores`` with an
            ``id``, applied in order before the temperature. The id must change with what they do.
        store: The folder of this one store. None: a folder of the sample cache named by content.

    Returns:
        All samples.

    Raises:
        ValueError: for an unknown engine or executor, no prompts or doubled ids, a prompt that
            exceeds the model's context, a tokenizer without chat template, or a processor
            without id.
        FileNotFoundError: when the model is not found.
        StoreError: when the folder holds something else, is damaged, or the disk is full.
    """
    for name, value, known in (("engine", engine, ENGINES), ("executor", executor, EXECUTORS)):
        if value not in known:
            raise ValueError(f"unknown {name} {value!r}; this version has: {', '.join(known)}")
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    given = benchmark_or_prompts
    prompts = check_prompts(given if isinstance(given, Sequence) else given.forget)
    path = locate(model).resolve()
    device = resolve_device()
    identity = Identity(
        weights=fingerprint(path),
        tokenizer=tokenizer_fingerprint(path),
        prompts=prompts_hash(prompts),
        decoding=decoding,
        engine=engine,
        engine_version=SAMPLER_VERSION,
        dtype=str(resolve_dtype("auto", device)).removeprefix("torch."),
        eos=eos_ids(path),
        logits_processors=tuple(_processor_id(p) for p in logits_processors),
    )
    folder = Path(store) if store is not None else paths.samples() / identity.key[:16]
    threads = max(1, torch.get_num_threads() // workers)
    target = SampleStore(folder, identity, prompts, _made_with(device, threads))
    drawn = 0
    if not target.is_complete():
        with target.writing():
            drawn = _fill(target, path, tuple(logits_processors), workers, threads)
    return Samples(prompts, decoding, folder, identity.weights, target.read(), drawn)


def read_samples(path: str | Path) -> Samples:
    """The samples of a complete store, with the prompts that its manifest records.

    Raises:
        StoreError: when the folder is no store, or an unfinished or damaged one.
    """
    store = open_store(path)
    identity = store.identity
    return Samples(store.prompts, identity.decoding, store.path, identity.weights, store.read())


def _fill(
    store: SampleStore,
    model: Path,
    processors: tuple[LogitsProcessor, ...],
    workers: int,
    threads: int,
) -> int:
    """Draws the missing shards, writing each as it is finished; returns the rows drawn."""
    plan = store.plan
    sizes = [sum(request.stop - request.start for request in shard) for shard in plan]
    missing = store.missing()
    left = sum(sizes[i] for i in missing)
    tasks = [(str(model), plan[i], store.identity.decoding, processors) for i in missing]
    done = [0] * len(tasks)
    with contextlib.ExitStack() as stack:
        # The model stays loaded from shard to shard and no longer.
        stack.callback(_sampler.cache_clear)
        bar = stack.enter_context(
            tqdm(total=sum(sizes), initial=sum(sizes) - left, unit="sample", desc="samples")
        )

        def watch(task: int, rows: int, total: int) -> None:
            bar.update(rows - done[task])
            done[task] = rows

        drawn = parallel.stream(_draw_shard, tasks, workers=workers, threads=threads, watch=watch)
        for task, table in stack.enter_context(contextlib.closing(drawn)):
            store.write(missing[task], table)
    return left


def _draw_shard(
    model: str,
    requests: Sequence[Request],
    decoding: Decoding,
    processors: tuple[LogitsProcessor, ...],
    progress: Callable[[int, int], None],
) -> pa.Table:
    total = sum(request.stop - request.start for request in requests)
    return _sampler(model).draw(requests, decoding, processors, lambda rows: progress(rows, total))


@functools.lru_cache(maxsize=1)
def _sampler(model: str) -> HFSampler:
    return HFSampler(model)


def _processor_id(processor: LogitsProcessor) -> str:
    identity = getattr(processor, "id", None)
    if not isinstance(identity, str) or not identity:
        raise ValueError(
            f"logits processor {processor!r} needs an `id`, a string that changes with what it "
            "does: it is part of the name under which samples are kept"
        )
    return identity


def _made_with(device: torch.device, threads: int) -> dict[str, Any]:
    """Facts that may change samples by rounding; recorded and not part of the key."""
    packages = ("torch", "transformers", "tokenizers", "numpy", "pyarrow")
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "python": platform.python_version(),
        "leakrepro": __version__,
        **{name: importlib.metadata.version(name) for name in packages},
        "platform": platform.platform(terse=True),
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "device": gpu or "cpu",
        "threads": threads,
    }
