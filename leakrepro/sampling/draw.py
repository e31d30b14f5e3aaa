"""``sample``: prompts and a model in, a complete store of samples out."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch
from tqdm import tqdm

from leakrepro import __version__
from leakrepro.execution import local
from leakrepro.execution.executors import check_executor, stream
from leakrepro.metrics import CoreMetric
from leakrepro.models.load import (
    eos_ids,
    fingerprint,
    locate,
    resolve_device,
    tokenizer_fingerprint,
)
from leakrepro.sampling import adaptive
from leakrepro.sampling.engines.base import LogitsProcessor, Sampler
from leakrepro.sampling.engines.table import Engine, find_engine
from leakrepro.sampling.store import Identity, Request, SampleStore, prompts_hash
from leakrepro.stats.adaptive import Plan
from leakrepro.storage import paths, provenance
from leakrepro.types import Decoding, Prompt, check_prompts

if TYPE_CHECKING:
    from leakrepro.benchmarks.base import Benchmark
from leakrepro.sampling.samples import Samples


def sample(
    model: str | Path,
    benchmark_or_prompts: Benchmark | Sequence[Prompt],
    decoding: Decoding,
    *,
    engine: str | Engine = "hf",
    executor: str = "local",
    workers: int = 1,
    logits_processors: Sequence[LogitsProcessor] = (),
    store: str | Path | None = None,
    plan: Plan | None = None,
    metric: CoreMetric | str | None = None,
) -> Samples:
    """Draws ``decoding.n`` answers a prompt, or reads them when the same were drawn before.

    The call can be interrupted at any time; the same call goes on where it stopped.

    Args:
        model: A local folder or a hub id, ``"org/name@revision"`` to pin it.
        benchmark_or_prompts: A benchmark stands for its forget prompts.
        decoding: How to draw.
        engine: ``"hf"``, ``"vllm"``, or one with options: ``HFOptions`` or ``VLLMOptions``.
        executor: ``"local"``: processes of this machine; ``"ray"``: actors of a Ray cluster, where
            the shards of a lost worker are drawn again.
        workers: Processes or actors at the same time; torch's threads are shared among the former.
            The samples are the same for any number as long as each has the same threads.
        logits_processors: Transformers-style callables ``(input_ids, scores) -> scores`` with an
            ``id``, applied in order before the temperature. The id must change with what they do.
        store: The folder of this one store. None: a folder of the sample cache named by content.
        plan: An ``AdaptivePlan`` or ``PilotPlan`` that leaves prompts with fewer samples;
            ``decoding.n`` is then not used.
        metric: Core metric, or its id, by which the plan decides; None for the benchmark's first.

    Returns:
        All samples.

    Raises:
        ValueError: for an unknown engine or executor, no prompts or doubled ids, a prompt that
            exceeds the model's context, a tokenizer without chat template, a processor without
            id, or a plan without metric.
        FileNotFoundError: when the model is not found.
        MissingExtra: when the engine or executor is not installed; the message gives the command.
        StoreError: when the folder holds something else, is damaged, or the disk is full; and for
            samples that are not there, in a run that only reads what is stored.
    """
    options = find_engine(engine)
    options.check(logits_processors)
    check_executor(executor)
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    given = benchmark_or_prompts
    prompts = check_prompts(given if isinstance(given, Sequence) else given.forget)
    path = locate(model).resolve()
    identity = Identity(
        weights=fingerprint(path),
        tokenizer=tokenizer_fingerprint(path),
        prompts=prompts_hash(prompts),
        decoding=decoding,
        engine=options.name,
        engine_version=options.version,
        dtype=options.resolved_dtype(),
        eos=eos_ids(path),
        logits_processors=tuple(_processor_id(p) for p in logits_processors),
    )
    threads = max(1, torch.get_num_threads() // workers) if executor == "local" else 1
    made_with = _made_with(options, threads)

    def fill(target: SampleStore) -> int:
        if target.is_complete():
            target.check()
            return 0
        provenance.require_stored(f"samples in the store {target.path}")
        with target.writing():
            missing = target.missing()
            tasks = [
                (str(path), options, target.plan[i], target.identity.decoding, logits_processors)
                for i in missing
            ]
            return _fill(target, missing, tasks, executor, workers, threads, options.gpus)

    # The model stays loaded from shard to shard and round to round, and no longer.
    with contextlib.ExitStack() as stack:
        stack.callback(_sampler.release)
        if plan is None:
            folder = Path(store) if store is not None else paths.samples() / identity.key[:16]
            target = SampleStore(folder, identity, prompts, made_with)
            drawn = fill(target)
            return Samples(prompts, decoding, folder, identity.weights, (target,), drawn)
        core = adaptive.metric_of(metric, None if isinstance(given, Sequence) else given)
        asked = adaptive.Asked(plan, core, identity, prompts, made_with)
        folder = Path(store) if store is not None else paths.samples() / asked.key[:16]
        stores, drawn = adaptive.draw(asked, folder, fill)
        most = decoding.replace(n=plan.cap)
        return Samples(prompts, most, folder, identity.weights, stores, drawn, plan)


def _fill(
    store: SampleStore,
    missing: Sequence[int],
    tasks: Sequence[tuple[Any, ...]],
    executor: str,
    workers: int,
    threads: int,
    gpus: int,
) -> int:
    """Draws the missing shards, writing each as it is finished; returns the rows drawn."""
    sizes = [sum(r.stop - r.start for r in store.plan[i]) for i in missing]
    total = len(store.prompts) * len(store.each)
    done = [0] * len(tasks)
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(
            tqdm(total=total, initial=total - sum(sizes), unit="sample", desc="samples")
        )

        def watch(task: int, rows: int, total: int) -> None:
            rows = rows * sizes[task] // total  # some executors tell the end alone
            bar.update(rows - done[task])
            done[task] = rows

        drawn = stream(
            executor,
            _draw_shard,
            tasks,
            workers=workers,
            threads=threads,
            watch=watch,
            gpus=gpus,
        )
        for task, table in stack.enter_context(contextlib.closing(drawn)):
            store.write(missing[task], table)
    return sum(sizes)


def _draw_shard(
    model: str,
    engine: Engine,
    requests: Sequence[Request],
    decoding: Decoding,
    processors: Sequence[LogitsProcessor],
    progress: Callable[[int, int], None],
) -> pa.Table:
    total = sum(request.stop - request.start for request in requests)
    sampler = _sampler(model, engine)
    return sampler.draw(requests, decoding, processors, lambda rows: progress(rows, total))


def _open(model: str, engine: Engine) -> Sampler:
    return engine.open(Path(model))


_sampler = local.Held(_open, lambda sampler: sampler.close())


def _processor_id(processor: LogitsProcessor) -> str:
    identity = getattr(processor, "id", None)
    if not isinstance(identity, str) or not identity:
        raise ValueError(
            f"logits processor {processor!r} needs an `id`, a string that changes with what it "
            "does: it is part of the name under which samples are kept"
        )
    return identity


def _made_with(engine: Engine, threads: int) -> dict[str, Any]:
    """Facts that may change samples by rounding; recorded and not part of the key."""
    packages = (*engine.packages, "tokenizers", "numpy", "pyarrow")
    device = resolve_device()
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "python": platform.python_version(),
        "leakrepro": __version__,
        **{name: _version(name) for name in packages},
        "engine": dataclasses.asdict(engine),
        "platform": platform.platform(terse=True),
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "device": gpu or "cpu",
        "threads": threads,
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return importlib.metadata.version(f"{package}-cpu")  # vLLM's builds have several names
