"""``sample``: prompts and a model in, a complete store of samples out."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import importlib.metadata
import platform
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import torch
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from leakrepro import __version__
from leakrepro.execution import local
from leakrepro.execution.backend import Backend, takes_backend
from leakrepro.execution.executors import stream
from leakrepro.metrics.registry import Metric
from leakrepro.models.load import (
    eos_ids,
    fingerprint,
    loaded_eos_ids,
    resolve_device,
    tokenizer_fingerprint,
)
from leakrepro.models.resolve import LoadedModel, Model, resolve
from leakrepro.sampling import adaptive
from leakrepro.sampling.engines.base import LogitsProcessor, Sampler
from leakrepro.sampling.engines.hf import HFSampler
from leakrepro.sampling.engines.table import Engine, find_engine
from leakrepro.sampling.samples import Samples
from leakrepro.sampling.store import Identity, Request, SampleStore, prompts_hash
from leakrepro.stats.adaptive import Plan
from leakrepro.storage import paths, provenance
from leakrepro.types import Decoding, Prompt, check_prompts

if TYPE_CHECKING:
    from leakrepro.benchmarks.base import Benchmark


@takes_backend
def sample(
    model: Model,
    benchmark_or_prompts: Benchmark | Sequence[Prompt],
    decoding: Decoding,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    backend: Backend | None = None,
    logits_processors: Sequence[LogitsProcessor] = (),
    store: str | Path | None = None,
    plan: Plan | None = None,
    metric: Metric | None = None,
) -> Samples:
    """Draws ``decoding.n`` answers per prompt, or reads them when the same were drawn before.

    The call can be interrupted at any time; the same call continues where it stopped.

    Args:
        model: A folder, a hub id (``"org/name@revision"`` pins it), a name of the profile that
            makes the benchmark's models, or a ``PreTrainedModel``. Samples of a loaded model are
            kept until the process ends, unless the model has an attribute ``fingerprint``; see
            ``leakrepro.models.LoadedModel``.
        benchmark_or_prompts: A benchmark stands for its forget prompts.
        decoding: How to draw.
        tokenizer: Of a loaded model.
        backend: Where to draw; None for one process of the engine ``"hf"``. The samples are the
            same for any number of workers as long as each has the same threads. On Ray the shards
            of a lost worker are drawn again by another.
        logits_processors: Transformers-style callables ``(input_ids, scores) -> scores`` with an
            ``id``, applied in order before the temperature. The id must change with what they do.
        store: The folder of this one store. None: a folder of the sample cache named by content.
        plan: An ``AdaptivePlan`` or ``PilotPlan`` that leaves prompts with fewer samples;
            ``decoding.n`` is then not used.
        metric: Core metric, or its id, by which the plan decides; None for the benchmark's first.

    Returns:
        All samples.

    Raises:
        ValueError: for an unknown engine, no prompts or doubled ids, a prompt that exceeds the
            model's context, a tokenizer without chat template, a processor without id, a plan
            without metric, or a loaded model on another engine or in several processes.
        TypeError: for a loaded model without tokenizer.
        FileNotFoundError: when the model is not found.
        MissingExtra: when the engine or executor is not installed; the message gives the command.
        StoreError: when the folder holds something else, is damaged, or the disk is full; and for
            samples that are not there, in a run that only reads what is stored.
    """
    backend = backend or Backend()
    options = find_engine(backend.engine)
    options.check(logits_processors)
    given = benchmark_or_prompts
    benchmark = None if isinstance(given, Sequence) else given
    prompts = check_prompts(given if isinstance(given, Sequence) else given.forget)
    source = _open_source(resolve(model, benchmark, tokenizer), options, backend)
    identity = Identity(
        weights=source.weights,
        tokenizer=source.tokenizer,
        prompts=prompts_hash(prompts),
        decoding=decoding,
        engine=options.name,
        engine_version=options.version,
        dtype=source.dtype,
        eos=source.eos,
        logits_processors=tuple(_processor_id(p) for p in logits_processors),
    )
    made_with = _made_with(options, backend.threads_per_worker())
    home = paths.samples() if source.is_kept else _temporary_home()

    def fill(target: SampleStore) -> int:
        if target.is_complete():
            target.check()
            return 0
        provenance.require_stored(f"samples in the store {target.path}")
        with target.writing():
            missing = target.missing()
            tasks = [
                (source.model, options, target.plan[i], target.identity.decoding, logits_processors)
                for i in missing
            ]
            return _fill(target, missing, tasks, backend, options.gpus)

    # The model stays loaded from shard to shard and round to round, and no longer.
    with contextlib.ExitStack() as stack:
        stack.callback(_sampler.release)
        if plan is None:
            folder = Path(store) if store is not None else home / identity.key[:16]
            target = SampleStore(folder, identity, prompts, made_with)
            drawn = fill(target)
            return Samples(prompts, decoding, folder, identity.weights, (target,), drawn)
        core = adaptive.metric_of(metric, benchmark, backend)
        asked = adaptive.Asked(plan, core, identity, prompts, made_with)
        folder = Path(store) if store is not None else home / asked.key[:16]
        stores, drawn = adaptive.draw(asked, folder, fill)
        most = decoding.replace(n=plan.cap)
        return Samples(prompts, most, folder, identity.weights, stores, drawn, plan)


class _Source(NamedTuple):
    """What is sampled, and what of it enters the store's key."""

    model: str | LoadedModel
    weights: str
    tokenizer: str
    dtype: str
    eos: tuple[int, ...]
    is_kept: bool  # in the content-keyed store


def _open_source(model: Path | LoadedModel, options: Engine, backend: Backend) -> _Source:
    if isinstance(model, Path):
        path = model.resolve()
        return _Source(
            str(path),
            fingerprint(path),
            tokenizer_fingerprint(path),
            options.resolved_dtype(),
            eos_ids(path),
            is_kept=True,
        )
    if options.name != "hf" or backend.executor != "local" or backend.workers > 1:
        raise ValueError(
            "a loaded model is sampled in its own process by engine 'hf'; for another engine, Ray "
            "or several workers save it to a folder and pass that"
        )
    return _Source(
        model,
        model.fingerprint,
        tokenizer_fingerprint(model.tokenizer),
        str(model.model.dtype).removeprefix("torch."),
        loaded_eos_ids(model.model, model.tokenizer),
        is_kept=model.is_named,
    )


@functools.cache
def _temporary_home() -> Path:
    """A folder that is removed when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="leakrepro-samples-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def _fill(
    store: SampleStore,
    missing: Sequence[int],
    tasks: Sequence[tuple[Any, ...]],
    backend: Backend,
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

        drawn = stream(backend, _draw_shard, tasks, watch=watch, gpus=gpus)
        for task, table in stack.enter_context(contextlib.closing(drawn)):
            store.write(missing[task], table)
    return sum(sizes)


def _draw_shard(
    model: str | LoadedModel,
    engine: Engine,
    requests: Sequence[Request],
    decoding: Decoding,
    processors: Sequence[LogitsProcessor],
    progress: Callable[[int, int], None],
) -> pa.Table:
    total = sum(request.stop - request.start for request in requests)
    sampler = _sampler(model, engine)
    return sampler.draw(requests, decoding, processors, lambda rows: progress(rows, total))


def _open(model: str | LoadedModel, engine: Engine) -> Sampler:
    if isinstance(model, LoadedModel):
        return HFSampler.around(model.model.eval(), model.tokenizer)
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
