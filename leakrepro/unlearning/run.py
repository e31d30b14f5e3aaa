"""``unlearn``: unlearns the forget set of a benchmark from a model and saves the result."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from leakrepro.benchmarks.base import Benchmark
from leakrepro.execution.distributed import processes
from leakrepro.models import chat, load, named, train
from leakrepro.models.fingerprints import Fingerprints, fingerprint, require_unchanged
from leakrepro.models.memory import MemoryEstimate, estimate_memory
from leakrepro.models.resolve import Model, resolve_folder
from leakrepro.models.saved import check_savable
from leakrepro.models.train_once import Made, find, make_once
from leakrepro.storage import keys
from leakrepro.unlearning.adapters import with_adapters
from leakrepro.unlearning.card import model_card
from leakrepro.unlearning.curves import Curves, LeakWatch, curves_csv
from leakrepro.unlearning.methods.options import UnlearnOptions
from leakrepro.unlearning.methods.table import find_method
from leakrepro.unlearning.trainer import UnlearnItem, collate, reference_nll

# Increase it whenever the same inputs would give different weights.
_VERSION = 3


@dataclasses.dataclass(frozen=True)
class _Task:
    """What determines the weights of an unlearned model."""

    model: Path
    reference: Path
    benchmark: Benchmark
    method: str
    options: UnlearnOptions

    @functools.cached_property
    def read(self) -> Fingerprints:
        """Hashes of the model and its tokenizer, taken once before they are loaded."""
        return Fingerprints.of(self.model)

    @functools.cached_property
    def compared(self) -> str:
        """Hash of the reference, taken once before it is loaded."""
        return fingerprint(self.reference)

    def load_model(self) -> PreTrainedModel:
        """Load the model that the recipe names.

        Raises:
            ValueError: If it changed since the recipe was made.
        """
        model = load.load_model(self.model, dtype="float32")
        require_unchanged(self.model, self.read, Fingerprints.of(self.model))
        return model

    def load_reference(self) -> PreTrainedModel:
        """Load the reference that the recipe names.

        Raises:
            ValueError: If it changed since the recipe was made.
        """
        reference = load.load_model(self.reference, dtype="float32")
        require_unchanged(self.reference, self.compared, fingerprint(self.reference))
        return reference

    @property
    def recipe(self) -> dict[str, Any]:
        """Everything that the weights depend on, in a form that can be hashed."""
        retain = self.benchmark.train_retain if self.options.retain_weight else ()
        return {
            "method": self.method,
            "source": find_method(self.method).source,
            "options": self.options,
            "model": self.read.weights,
            "reference": self.compared,
            "tokenizer": self.read.tokenizer,
            "forget": keys.pairs_digest(self.benchmark.train_forget),
            "retain": keys.pairs_digest(retain),
            "processes": processes().num_processes,
            "version": _VERSION,
        }


def unlearn(
    model: Model,
    benchmark: Benchmark,
    method: str = "NPO",
    options: UnlearnOptions | None = None,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    reference: str | Path | None = None,
    output_dir: str | Path | None = None,
    resume: bool = True,
    checkpoint_every: int = 50,
    watch: LeakWatch | None = None,
    report_to: Sequence[str] = (),
    progress: train.Progress | None = None,
) -> Path:
    """Unlearns a benchmark's forget set and saves the model, its tokenizer and its recipe.

    The call can be killed at any time. The same call then continues from the last checkpoint and,
    on the same host with the same number of threads, ends with the same weights. ``accelerate
    launch`` runs it in several processes; ``batch_size`` is then per process.

    During training, ``<folder>.curves.csv`` next to the result has the losses of each step. The
    finished folder has them as ``curves.csv``, together with the weights (safetensors),
    ``recipe.json`` and a model card.

    Args:
        model: A folder, a hub id, a name of the profile that makes the benchmark's models, or a
            ``PreTrainedModel``, of which a copy is saved under ``LEAKREPRO_HOME/models``.
        benchmark: The benchmark whose ``train_forget`` and ``train_retain`` are trained on.
        method: A name of ``leakrepro.unlearning.METHODS``.
        options: Options of this method, ``METHODS[method].options``. None: the options of the
            profile that makes the benchmark's models, if ``model`` is one of its names and the
            profile has the method, and otherwise the method's defaults. A line on stderr says
            which.
        tokenizer: Tokenizer of a ``PreTrainedModel``.
        reference: The model r of losses that compare with a reference; None for ``model``.
        output_dir: Where to save; None for ``LEAKREPRO_HOME/models``, under a name that is a hash
            of everything that the weights depend on.
        resume: Whether to reuse a finished result of the same recipe, or to continue an unfinished
            one. False trains from the start.
        checkpoint_every: Optimiser steps between two checkpoints.
        watch: Follows leak@k on a few prompts during training. The weights are the same, but a
            result without these curves is not reused.
        report_to: Trackers of transformers, such as ``("tensorboard",)``.
        progress: Called with the steps done and the total steps; None for a progress bar.

    Returns:
        The folder of the unlearned model.

    Warns:
        UserWarning: when training is estimated to need more memory than is available.

    Raises:
        ValueError: when the method is unknown; when the options belong to another method or do not
            fit the model; when the benchmark lacks a training set that is needed; when the
            tokenizers of the model and the reference differ, or the tokenizer does not fit the
            model; or when ``output_dir`` holds the result of another recipe.
        FileNotFoundError: when a model does not exist.
        FloatingPointError: when training diverges; the message says how and at which step.
    """
    if options is None:
        options, source = named.provider().options_for(model, benchmark, method)
        tqdm.write(f"{method}: {source}", file=sys.stderr)
    task = _task(model, benchmark, method, options, reference, tokenizer)
    return make_once(
        f"{method}-watched" if watch else method,  # its curves have more columns
        task.recipe,
        functools.partial(_train, task, watch, report_to, progress),
        output_dir=output_dir,
        resume=resume,
        checkpoint_every=checkpoint_every,
    )


def estimate_unlearning(
    model: Model,
    benchmark: Benchmark,
    method: str = "NPO",
    options: UnlearnOptions | None = None,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> MemoryEstimate:
    """Estimates the memory that ``unlearn`` needs, from the model's configuration only.

    Args:
        model: As for ``unlearn``.
        benchmark: The benchmark whose ``train_forget`` and ``train_retain`` are trained on.
        method: A name of ``leakrepro.unlearning.METHODS``.
        options: Options of this method; None as for ``unlearn``.
        tokenizer: Tokenizer of a ``PreTrainedModel``.

    Raises:
        ValueError: when the method is unknown, the options belong to another method, or the
            benchmark lacks a training set that is needed.
        FileNotFoundError: when the model does not exist.
    """
    if options is None:
        options, _ = named.provider().options_for(model, benchmark, method)
    task = _task(model, benchmark, method, options, None, tokenizer)
    tokenizer = load.load_tokenizer(task.model)
    trained = benchmark.train_forget + benchmark.train_retain
    return _memory(task, [chat.pair(tokenizer, p) for p in trained])


def find_unlearned(
    model: Path,
    benchmark: Benchmark,
    method: str,
    options: UnlearnOptions,
    reference: Path | None = None,
) -> Path | None:
    """Finds a finished result of ``unlearn``.

    Args:
        model: Folder of the model before unlearning.
        benchmark: The benchmark whose ``train_forget`` and ``train_retain`` are trained on.
        method: A name of ``leakrepro.unlearning.METHODS``.
        options: Options of this method.
        reference: Folder of the reference; None for ``model``.

    Returns:
        The folder of the unlearned model; None when ``unlearn`` would have to train it.
    """
    return find(method, _task(model, benchmark, method, options, reference).recipe)


def _task(
    model: Model,
    benchmark: Benchmark,
    method: str,
    options: UnlearnOptions,
    reference: str | Path | None,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> _Task:
    # The request is checked before anything is downloaded.
    chosen = find_method(method)
    if type(options) is not chosen.options:
        raise ValueError(f"{method} takes {chosen.options.__name__}, not {type(options).__name__}")
    if not benchmark.train_forget:
        raise ValueError(f"{benchmark.name} has an empty forget set: there is nothing to unlearn")
    if options.retain_weight and not benchmark.train_retain:
        raise ValueError(
            f"{benchmark.name} does not have a retain set, but {method} with retain_weight "
            f"{options.retain_weight:g} trains on one"
        )
    start = resolve_folder(model, benchmark, tokenizer)
    other = start if reference is None else load.locate(reference)
    if not load.same_tokenizer(other, start):
        raise ValueError(
            f"the reference {other} and {start} have different tokenizers: their "
            "log-probabilities cannot be compared"
        )
    return _Task(start, other, benchmark, method, options)


def _train(
    task: _Task,
    watch: LeakWatch | None,
    report_to: Sequence[str],
    progress: train.Progress | None,
    checkpoints: train.Checkpoints,
) -> Made:
    method, options = find_method(task.method), task.options
    tokenizer = load.load_tokenizer(task.model)
    pad = chat.pad_id(tokenizer)
    forget = [chat.pair(tokenizer, p) for p in task.benchmark.train_forget]
    retain = [chat.pair(tokenizer, p) for p in task.benchmark.train_retain]
    estimate = _memory(task, forget + retain)
    if estimate.total > estimate.available:
        warnings.warn(f"training {task.model} takes {estimate}", stacklevel=2)

    model = task.load_model()
    _check_vocabulary(model, tokenizer, task.model)
    check_savable(model, tokenizer, task.model)
    items, per_epoch = _items(task, forget, retain, tokenizer, model)
    reference = None
    if method.trainer.needs_reference_model(options):
        reference = task.load_reference()
    trained: Any = with_adapters(model, options) if options.lora else model
    method.trainer.check(options, trained)

    probe = watch.follow(task.benchmark, tokenizer) if watch else None
    curves = Curves(checkpoints.folder, probe, watch.every if watch else 0)
    log = train.run(
        functools.partial(method.trainer, options, reference),
        trained,
        items,
        lambda batch: collate(batch, pad),
        {
            "per_device_train_batch_size": options.batch_size,
            "gradient_accumulation_steps": options.accumulation,
            "learning_rate": options.learning_rate,
            "lr_scheduler_type": "linear",
            "warmup_steps": round(per_epoch * options.warmup_epochs),
            "weight_decay": options.weight_decay,
            "max_grad_norm": options.max_grad_norm,
            "optim": options.optimizer,
            "bf16": options.bf16,
            "seed": options.seed,
            "report_to": list(report_to),
        },
        label=task.method,
        progress=progress,
        checkpoints=checkpoints,
        callbacks=[curves],
        retain_in_nats=method.trainer.retain_in_nats,
    )
    if options.lora:
        model = trained.merge_and_unload()
    card = model_card(task.method, method.source, options, task.model, task.benchmark.name, log)
    return Made(model, tokenizer, log, {"README.md": card, "curves.csv": curves_csv(log)})


def _memory(task: _Task, pairs: Sequence[chat.Pair]) -> MemoryEstimate:
    options, trainer = task.options, find_method(task.method).trainer
    # Rows per forget answer: the answer itself, its alternate and its retain answers.
    rows = 1 + any(trainer.alternate_answers(options, p) for p in task.benchmark.train_forget)
    rows += options.retain_ratio if options.retain_weight else 0
    return estimate_memory(
        task.model,
        load.resolve_device(),
        rows=options.batch_size * rows,
        length=max(len(pair.input_ids) for pair in pairs),
        reference=trainer.needs_reference_model(options),
        lora_rank=options.lora.rank if options.lora else None,
    )


def _items(
    task: _Task,
    forget: Sequence[chat.Pair],
    retain: Sequence[chat.Pair],
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
) -> tuple[list[UnlearnItem], int]:
    """The items of the whole run in training order, and the optimiser steps per epoch."""
    options, sharing = task.options, processes().num_processes
    at_once = options.batch_size * options.accumulation * sharing
    count = options.steps * at_once if options.steps else options.epochs * len(forget)
    alternates = _alternates(task, tokenizer)
    items = pairing(forget, retain, options, count, alternates)
    if find_method(task.method).trainer.needs_reference_nll:
        same = task.reference == task.model
        reference = model if same else task.load_reference()
        items = _with_reference(items, reference, chat.pad_id(tokenizer), options.batch_size)
    if missing := -len(items) % (options.batch_size * sharing) if sharing > 1 else 0:
        # Otherwise the sampler would repeat answers to give every process the same number.
        items += [_blank(items[0])] * missing
    return items, math.ceil(len(forget) / at_once)


def pairing(
    forget: Sequence[chat.Pair],
    retain: Sequence[chat.Pair],
    options: UnlearnOptions,
    count: int,
    alternates: Sequence[Sequence[chat.Pair]] = (),
) -> list[UnlearnItem]:
    """Makes the items of a run in training order. They depend on the arguments only.

    The forget answers are shuffled in each epoch. The retain answers are repeated in shuffled
    order as often as needed, so that all are used equally often. With a ``retain_weight`` of 0
    the items do not have retain answers.

    Args:
        forget: All forget answers.
        retain: All retain answers.
        options: The method's options; the order follows from their seed.
        count: Number of items.
        alternates: The alternate answers of each forget answer, at least one per forget answer;
            each item gets a random one. Empty for methods without alternates.
    """
    rng = np.random.default_rng([options.seed, 2])
    choose = np.random.default_rng([options.seed, 3])
    ratio = options.retain_ratio if options.retain_weight else 0
    retained = _shuffled(retain, rng, count * ratio)
    # The retain answers are drawn from the generator before the epochs.
    order = list(itertools.islice(_epochs(len(forget), rng), count))
    return [
        UnlearnItem(
            forget[i],
            tuple(itertools.islice(retained, ratio)),
            alternate=alternates[i][int(choose.integers(len(alternates[i])))]
            if alternates
            else None,
        )
        for i in order
    ]


def _shuffled(
    items: Sequence[chat.Pair], rng: np.random.Generator, needed: int
) -> Iterator[chat.Pair]:
    """At least ``needed`` items: all of them in shuffled order, again and again."""
    repeats = math.ceil(needed / len(items)) if needed else 0
    orders = [rng.permutation(len(items)) for _ in range(repeats)]
    return (items[i] for order in orders for i in order)


def _epochs(size: int, rng: np.random.Generator) -> Iterator[int]:
    """Indices below ``size`` without end, in a new order in each epoch."""
    while True:
        yield from rng.permutation(size).tolist()


def _alternates(task: _Task, tokenizer: PreTrainedTokenizerBase) -> list[list[chat.Pair]]:
    """The alternate answers of each forget prompt; empty for methods without alternates."""
    trainer, prompts = find_method(task.method).trainer, task.benchmark.train_forget
    answers = [trainer.alternate_answers(task.options, prompt) for prompt in prompts]
    if not any(answers):
        return []
    for prompt, given in zip(prompts, answers, strict=True):
        if not given:
            raise ValueError(
                f"{task.method} has alternate answers for other prompts, but not for {prompt.id}"
            )
    return [
        [chat.pair(tokenizer, dataclasses.replace(prompt, reference=each)) for each in given]
        for prompt, given in zip(prompts, answers, strict=True)
    ]


def _with_reference(
    items: Sequence[UnlearnItem], reference: PreTrainedModel, pad: int, batch_size: int
) -> list[UnlearnItem]:
    """The items with the reference's NLL, which is computed once per distinct answer."""
    answers = [i.forget for i in items] + [i.alternate for i in items if i.alternate]
    pairs = list(dict.fromkeys(answers))
    nll: Mapping[chat.Pair | None, float] = dict(
        zip(pairs, reference_nll(reference, pairs, pad, batch_size), strict=True)
    )
    return [
        dataclasses.replace(
            item,
            reference_nll=nll[item.forget],
            alternate_reference_nll=nll.get(item.alternate, 0.0),
        )
        for item in items
    ]


def _blank(item: UnlearnItem) -> UnlearnItem:
    """An item with the same shape as ``item``, but without answer tokens."""

    def blank(pair: chat.Pair) -> chat.Pair:
        return chat.Pair(pair.input_ids, len(pair.input_ids))

    return UnlearnItem(
        blank(item.forget),
        tuple(blank(pair) for pair in item.retain),
        alternate=item.alternate and blank(item.alternate),
    )


def _check_vocabulary(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: Path
) -> None:
    """Raises ValueError when the tokenizer has ids that the model does not have embeddings for."""
    embeddings: Any = model.get_input_embeddings()
    rows = embeddings.weight.shape[0]
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise ValueError(
            f"the tokenizer of {path} has ids up to {largest}, but the model has embeddings for "
            f"{rows} tokens: this tokenizer belongs to another model"
        )
