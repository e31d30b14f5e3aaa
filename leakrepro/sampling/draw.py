"""``sample``: draws a model's answers to prompts into a store."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import importlib.metadata
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
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
from leakrepro.models.chat import asked_ids
from leakrepro.models.fingerprints import Fingerprints, require_unchanged, tokenizer_fingerprint
from leakrepro.models.load import eos_ids, load_tokenizer, loaded_eos_ids, resolve_device
from leakrepro.models.resolve import LoadedModel, Model, resolve
from leakrepro.sampling import adaptive
from leakrepro.sampling.engines.base import LogitsProcessor, Sampler
from leakrepro.sampling.engines.hf import HFSampler
from leakrepro.sampling.engines.table import Engine, find_engine
from leakrepro.sampling.manifest import Identity, prompts_hash, rendered_hash
from leakrepro.sampling.samples import Samples
from leakrepro.sampling.store import Request, SampleStore
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
    """Draws ``decoding.n`` answers per prompt, or opens them if they are stored already.

    The call can be interrupted at any time. The same call then continues where it stopped.

    Args:
        model: A folder, a hub id (``"org/name@revision"`` pins the revision), a model name of the
            profile that makes the benchmark's models, or a ``PreTrainedModel``. Samples of a
            loaded model are deleted when the process ends, unless the model has an attribute
            ``fingerprint``; see ``leakrepro.models.LoadedModel``.
        benchmark_or_prompts: The prompts, or a benchmark whose forget prompts are used.
        decoding: The decoding settings.
        tokenizer: The tokenizer of a loaded model.
        backend: Where the samples are drawn. None uses one process with the engine ``"hf"``. The
            samples do not depend on the number of workers if the threads per worker are the same.
            If Ray loses a worker, another worker draws its shards again.
        logits_processors: Callables ``(input_ids, scores) -> scores`` as in transformers, with an
            ``id`` that changes with their behaviour. They are applied in order before the
            temperature.
        store: The store's folder. None uses a folder of the sample cache, named by content.
        plan: An ``AdaptivePlan`` or ``PilotPlan`` that decides the number of samples per prompt.
            ``decoding.n`` is then ignored.
        metric: The core metric, or its id, whose scores the plan uses. None uses the benchmark's
            first metric.

    Returns:
        All samples.

    Raises:
        ValueError: If the engine is unknown, there are no prompts, prompt ids are not unique, a
            prompt exceeds the model's context, the tokenizer does not have a chat template, a
            logits processor does not have an id, a plan does not have a metric, or a loaded model
            is used with another engine or several processes.
        TypeError: If a loaded model is passed without a tokenizer.
        FileNotFoundError: If the model is not found.
        MissingExtra: If the engine or executor is not installed. The message contains the command
            that installs it.
        StoreError: If the folder belongs to another run or is damaged, if the disk is full, or if
            samples are missing in a run that only reads stored results.
    """
    backend = backend or Backend()
    options = find_engine(backend.engine)
    options.check(logits_processors)
    given = benchmark_or_prompts
    benchmark = None if isinstance(given, Sequence) else given
    prompts = check_prompts(given if isinstance(given, Sequence) else given.forget)
    source = _open_source(resolve(model, benchmark, tokenizer), options, backend)
    rendered = {prompt.id: asked_ids(source.encoder, prompt) for prompt in prompts}
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
        rendered=rendered_hash(rendered),
    )
    made_with = _made_with(options, backend.threads_per_worker())
    parent = paths.samples() if source.is_kept else _temporary_folder()

    def fill(target: SampleStore) -> int:
        if target.is_complete():
            target.check()
            return 0
        provenance.require_stored(f"samples in the store {target.path}")
        with target.writing():
            missing = target.missing()
            tasks = [
                (
                    source.model,
                    options,
                    target.plan[i],
                    {r.prompt.id: rendered[r.prompt.id] for r in target.plan[i]},
                    target.identity.decoding,
                    logits_processors,
                )
                for i in missing
            ]
            return _fill(target, missing, tasks, backend, options.gpus)

    # The model stays loaded for all shards and rounds of this call.
    with contextlib.ExitStack() as stack:
        stack.callback(_sampler.release)
        if plan is None:
            folder = Path(store) if store is not None else parent / identity.key[:16]
            target = SampleStore(folder, identity, prompts, made_with)
            drawn = fill(target)
            return Samples(prompts, decoding, folder, identity.weights, (target,), drawn)
        core = adaptive.metric_of(metric, benchmark, backend)
        asked = adaptive.Asked(plan, core, identity, prompts, made_with)
        folder = Path(store) if store is not None else parent / asked.key[:16]
        stores, drawn = adaptive.draw(asked, folder, fill)
        most = decoding.replace(n=plan.cap)
        return Samples(prompts, most, folder, identity.weights, stores, drawn, plan)


class _Folder(NamedTuple):
    """A model's folder, with the hashes that the store's key holds."""

    path: str
    read: Fingerprints


class _Source(NamedTuple):
    """The model to sample and its parts of the store's key."""

    model: _Folder | LoadedModel
    weights: str
    tokenizer: str
    encoder: PreTrainedTokenizerBase
    dtype: str
    eos: tuple[int, ...]
    is_kept: bool  # whether samples go into the sample cache


def _open_source(model: Path | LoadedModel, options: Engine, backend: Backend) -> _Source:
    if isinstance(model, Path):
        path = model.resolve()
        read = Fingerprints.of(path)
        return _Source(
            _Folder(str(path), read),
            read.weights,
            read.tokenizer,
            load_tokenizer(path),
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
        model.tokenizer,
        str(model.model.dtype).removeprefix("torch."),
        loaded_eos_ids(model.model, model.tokenizer),
        is_kept=model.is_named,
    )


@functools.cache
def _temporary_folder() -> Path:
    """Returns a folder that is removed when the process ends."""
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
    """Draws the missing shards, writes each when it is finished and returns the number of rows."""
    sizes = [sum(r.stop - r.start for r in store.plan[i]) for i in missing]
    total = len(store.prompts) * len(store.each)
    done = [0] * len(tasks)
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(
            tqdm(total=total, initial=total - sum(sizes), unit="sample", desc="samples")
        )

        def watch(task: int, rows: int, total: int) -> None:
            rows = rows * sizes[task] // total  # some executors report only the end
            bar.update(rows - done[task])
            done[task] = rows

        drawn = stream(backend, _draw_shard, tasks, watch=watch, gpus=gpus)
        for task, table in stack.enter_context(contextlib.closing(drawn)):
            store.write(missing[task], table)
    return sum(sizes)


def _draw_shard(
    model: _Folder | LoadedModel,
    engine: Engine,
    requests: Sequence[Request],
    rendered: Mapping[str, Sequence[int]],
    decoding: Decoding,
    processors: Sequence[LogitsProcessor],
    progress: Callable[[int, int], None],
) -> pa.Table:
    total = sum(request.stop - request.start for request in requests)
    sampler = _sampler(model, engine)
    for prompt in (request.prompt for request in requests):
        if asked_ids(sampler.tokenizer, prompt) != rendered[prompt.id]:
            raise ValueError(
                f"prompt {prompt.id!r} is rendered differently each time: the chat template must "
                "depend on the conversation only"
            )
    return sampler.draw(requests, decoding, processors, lambda rows: progress(rows, total))


def _open(model: _Folder | LoadedModel, engine: Engine) -> Sampler:
    if isinstance(model, LoadedModel):
        return HFSampler.around(model.model.eval(), model.tokenizer)
    path = Path(model.path)
    sampler = engine.open(path)
    require_unchanged(path, model.read, Fingerprints.of(path))
    return sampler


_sampler = local.Held(_open, lambda sampler: sampler.close())


def _processor_id(processor: LogitsProcessor) -> str:
    identity = getattr(processor, "id", None)
    if not isinstance(identity, str) or not identity:
        raise ValueError(
            f"logits processor {processor!r} needs an `id`, a string that changes with its "
            "behaviour: the id is part of the store's key"
        )
    return identity


def _made_with(engine: Engine, threads: int) -> dict[str, Any]:
    """Returns facts that may change samples by rounding. They are not part of the key."""
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
        return importlib.metadata.version(f"{package}-cpu")  # the CPU build has another name
