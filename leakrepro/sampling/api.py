"""``sample``: prompts and a model in, a complete store of samples out."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.metadata
import itertools
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from tqdm import tqdm

from leakrepro import __version__, ledger, parallel, paths
from leakrepro.adaptive import Plan
from leakrepro.executors import check_executor, stream
from leakrepro.metrics import CoreMetric
from leakrepro.models.load import (
    eos_ids,
    fingerprint,
    locate,
    resolve_device,
    tokenizer_fingerprint,
)
from leakrepro.sampling import rounds
from leakrepro.sampling.engines import Engine, Sampler, find_engine
from leakrepro.sampling.hf import LogitsProcessor
from leakrepro.sampling.store import Identity, Request, SampleStore, open_store, prompts_hash
from leakrepro.types import Decoding, Prompt, check_prompts

if TYPE_CHECKING:
    from leakrepro.benchmarks.base import Benchmark


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of one model, read from their store when they are asked for.

    Attributes:
        prompts: What was asked, in order.
        decoding: How the answers were drawn; under an adaptive plan ``n`` is the most of a prompt.
        path: The store's folder.
        fingerprint: Hash of the model's weights.
        stores: The store, or those of an adaptive plan's rounds.
        drawn: Samples drawn by this call; 0 when all were there.
        plan: The adaptive plan, where there was one; ``leak_at_k`` needs it.
    """

    prompts: tuple[Prompt, ...]
    decoding: Decoding
    path: Path
    fingerprint: str
    stores: tuple[SampleStore, ...]
    drawn: int = 0
    plan: Plan | None = None

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """One row a sample, ordered by prompt and then by sample.

        Args:
            columns: Only these of ``leakrepro.sampling.store.SCHEMA``; None for all.

        Raises:
            StoreError: naming the file that is missing, damaged, or of another store.
        """
        tables = [store.read(columns) for store in self.stores]
        if len(tables) == 1:
            return tables[0]
        # Rounds are ordered by themselves; a stable sort by prompt keeps samples in order.
        place = {prompt.id: i for i, prompt in enumerate(self.prompts)}
        owner = [place[p.id] for store in self.stores for p in store.prompts for _ in store.each]
        return pa.concat_tables(tables).take(np.argsort(owner, kind="stable")).combine_chunks()

    @functools.cached_property
    def table(self) -> pa.Table:
        """All columns, as ``read`` gives them."""
        return self.read()

    @functools.cached_property
    def counts(self) -> list[int]:
        """Number of samples of each prompt."""
        counts = dict.fromkeys((prompt.id for prompt in self.prompts), 0)
        for store in self.stores:
            for prompt in store.prompts:
                counts[prompt.id] += len(store.each)
        return list(counts.values())

    @functools.cached_property
    def tokens(self) -> int:
        """Tokens generated in all."""
        return int(np.sum(self.read(["n_tokens"])["n_tokens"].to_numpy()))

    @functools.cached_property
    def texts(self) -> list[list[str]]:
        """The answers, one list a prompt."""
        texts = self.read(["text"])["text"].to_pylist()
        stops = np.cumsum([0, *self.counts]).tolist()
        return [texts[a:b] for a, b in itertools.pairwise(stops)]

    @functools.cached_property
    def finished(self) -> float:
        """Share of the samples that ended by themselves before ``max_new_tokens``.

        nan for imported samples, whose files do not say.
        """
        reasons: list[str | None] = self.read(["finish_reason"])["finish_reason"].to_pylist()
        return reasons.count("stop") / len(reasons) if None not in reasons else float("nan")

    def blocks(self, rows: int) -> Iterator[tuple[tuple[Prompt, ...], list[list[str]]]]:
        """Prompts with their answers, about ``rows`` samples at a time, in order.

        For stores that do not fit into memory as Python strings.

        Raises:
            StoreError: as ``read``.
        """
        if len(self.stores) > 1:
            yield self.prompts, self.texts
            return
        (store,) = self.stores
        n, first, held = len(store.each), 0, []
        for table in store.read_shards(["text"]):
            held += table["text"].to_pylist()
            whole = len(held) // n
            if whole * n >= rows or first + whole == len(self.prompts):
                answers = [held[i * n : (i + 1) * n] for i in range(whole)]
                yield self.prompts[first : first + whole], answers
                first, held = first + whole, held[whole * n :]


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
            ledger.note(store=target.path, drawn=[])
            return 0
        ledger.require_stored(f"samples in the store {target.path}")
        with target.writing():
            missing = target.missing()
            tasks = [
                (str(path), options, target.plan[i], target.identity.decoding, logits_processors)
                for i in missing
            ]
            drawn = _fill(target, missing, tasks, executor, workers, threads, options.gpus)
        ledger.note(store=target.path, drawn=missing)
        return drawn

    # The model stays loaded from shard to shard and round to round, and no longer.
    with contextlib.ExitStack() as stack:
        stack.callback(_sampler.release)
        if plan is None:
            folder = Path(store) if store is not None else paths.samples() / identity.key[:16]
            target = SampleStore(folder, identity, prompts, made_with)
            drawn = fill(target)
            return Samples(prompts, decoding, folder, identity.weights, (target,), drawn)
        core = rounds.metric_of(metric, None if isinstance(given, Sequence) else given)
        asked = rounds.Asked(plan, core, identity, prompts, made_with)
        folder = Path(store) if store is not None else paths.samples() / asked.key[:16]
        stores, drawn = rounds.draw(asked, folder, fill)
        ledger.note(read=folder)
        most = decoding.replace(n=plan.cap)
        return Samples(prompts, most, folder, identity.weights, stores, drawn, plan)


def read_samples(path: str | Path) -> Samples:
    """The samples of a complete store, with the prompts that its manifest records.

    Raises:
        StoreError: when the folder is no store, or an unfinished or damaged one.
    """
    path = Path(path)
    ledger.note(read=path)
    if (path / rounds.PLAN).exists():
        plan, prompts, stores = rounds.open_rounds(path)
        last = stores[-1].identity
        decoding = last.decoding.replace(n=plan.cap)
        return Samples(prompts, decoding, path, last.weights, stores, plan=plan)
    store = open_store(path)
    store.check()
    identity = store.identity
    return Samples(store.prompts, identity.decoding, path, identity.weights, (store,))


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


_sampler = parallel.Held(_open, lambda sampler: sampler.close())


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
