"""``unlearn``: a model, a benchmark and a method in, the folder of an unlearned model out."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from leakrepro.benchmarks.base import Benchmark
from leakrepro.execution.distributed import processes
from leakrepro.models import chat, load, named, train
from leakrepro.models.memory import MemoryEstimate, estimate_memory
from leakrepro.models.resolve import Model, resolve_folder
from leakrepro.models.train_once import Made, find, make_once
from leakrepro.storage import keys
from leakrepro.types import Prompt
from leakrepro.unlearning.card import model_card
from leakrepro.unlearning.curves import Curves, LeakWatch, curves_csv
from leakrepro.unlearning.methods.idk_dpo import IdkDPOOptions
from leakrepro.unlearning.methods.options import UnlearnOptions
from leakrepro.unlearning.methods.table import find_method
from leakrepro.unlearning.trainer import UnlearnItem, collate, reference_nll

# Changes whenever the same inputs would give other weights.
_VERSION = 2


@dataclasses.dataclass(frozen=True)
class _Task:
    """What is unlearned from what."""

    model: Path
    reference: Path
    benchmark: Benchmark
    method: str
    options: UnlearnOptions

    @property
    def recipe(self) -> dict[str, Any]:
        """Everything that the weights depend on."""
        retain = self.benchmark.train_retain if self.options.retain_weight else ()
        return {
            "method": self.method,
            "source": find_method(self.method).source,
            "options": self.options,
            "model": load.fingerprint(self.model),
            "reference": load.fingerprint(self.reference),
            "tokenizer": load.tokenizer_fingerprint(self.model),
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

    The call can be killed at any time: the same call goes on from its last checkpoint and, on the
    same host with the same threads, ends with the same weights. ``accelerate launch`` runs it in
    several processes; ``batch_size`` is then that of each.

    While it trains, ``<folder>.curves.csv`` beside the result holds the losses of each step; in the
    end it is ``curves.csv`` in the folder, beside the weights (safetensors), ``recipe.json`` and a
    model card.

    Args:
        model: A folder, a hub id, a name of the profile that makes the benchmark's models, or a
            ``PreTrainedModel``, of which a copy is saved under ``LEAKREPRO_HOME/models``.
        benchmark: Gives ``train_forget`` and ``train_retain``.
        method: A name of ``leakrepro.unlearning.METHODS``.
        options: That method's options dataclass. None: those of the profile that makes the
            benchmark's models, where ``model`` is one of its names and the profile has the method,
            and the method's defaults otherwise; a line on stderr says which.
        tokenizer: Of a loaded model.
        reference: The model r of the losses that compare with one; None for ``model``.
        output_dir: Where to save; None for ``LEAKREPRO_HOME/models``, under a name made from
            everything that the weights depend on.
        resume: Reuse a finished result of the same recipe, or go on with an unfinished one. False
            trains from the start.
        checkpoint_every: Steps between two checkpoints.
        watch: Also follow leak@k on a few prompts while training. The weights are the same, but a
            result without these curves is not reused.
        report_to: Trackers that transformers knows, such as ``("tensorboard",)``.
        progress: Called with steps done and steps in all; None for a progress bar.

    Returns:
        The folder of the unlearned model.

    Warns:
        UserWarning: when the estimate of what training takes exceeds the memory that is left.

    Raises:
        ValueError: for an unknown method, options of another method or that do not fit the model,
            a benchmark without the sets that are needed, a reference or a model with another
            tokenizer, or an ``output_dir`` that holds the result of another recipe.
        FileNotFoundError: for a missing model.
        FloatingPointError: when training diverges; the message says how and at which step.
    """
    if options is None:
        options, source = named.provider().options_for(model, benchmark, method)
        tqdm.write(f"{method}: {source}", file=sys.stderr)
    task = _task(model, benchmark, method, options, reference, tokenizer)
    return make_once(
        f"{method}-watched" if watch else method,  # its curves hold more
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
    """Estimates the memory that ``unlearn`` takes, from the model's configuration.

    The arguments are those of ``unlearn``.

    Raises:
        ValueError: for a request that ``unlearn`` refuses.
        FileNotFoundError: for a missing model.
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
    """What ``unlearn`` would return without training, or None."""
    return find(method, _task(model, benchmark, method, options, reference).recipe)


def _task(
    model: Model,
    benchmark: Benchmark,
    method: str,
    options: UnlearnOptions,
    reference: str | Path | None,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> _Task:
    # A wrong request is an error before anything is downloaded or made.
    chosen = find_method(method)
    if type(options) is not chosen.options:
        raise ValueError(f"{method} takes {chosen.options.__name__}, not {type(options).__name__}")
    if not benchmark.train_forget:
        raise ValueError(f"{benchmark.name} has an empty forget set: there is nothing to unlearn")
    if options.retain_weight and not benchmark.train_retain:
        raise ValueError(
            f"{benchmark.name} has no retain set to train on, which {method} with retain_weight "
            f"{options.retain_weight:g} needs"
        )
    start = resolve_folder(model, benchmark, tokenizer)
    other = start if reference is None else load.locate(reference)
    if not load.same_tokenizer(other, start):
        raise ValueError(
            f"the reference {other} has another tokenizer than {start}: their log-probabilities "
            "cannot be compared"
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

    model = load.load_model(task.model, dtype="float32")
    _check_vocabulary(model, tokenizer, task.model)
    items, per_epoch = _items(task, forget, retain, tokenizer, model)
    reference = None
    if method.trainer.needs_reference(options):
        reference = load.load_model(task.reference, dtype="float32")
    trained: Any = _with_adapters(model, options) if options.lora else model
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
    options = task.options
    # Forget answers, the alternates of IdkDPO, and retain answers.
    kinds = 1 + isinstance(options, IdkDPOOptions)
    kinds += options.retain_ratio if options.retain_weight else 0
    return estimate_memory(
        task.model,
        load.resolve_device(),
        rows=options.batch_size * kinds,
        length=max(len(pair.input_ids) for pair in pairs),
        reference=find_method(task.method).trainer.needs_reference(options),
        lora_rank=options.lora.rank if options.lora else None,
    )


def _items(
    task: _Task,
    forget: Sequence[chat.Pair],
    retain: Sequence[chat.Pair],
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel,
) -> tuple[list[UnlearnItem], int]:
    """The items of the whole run in order, and the steps that one epoch takes."""
    options, sharing = task.options, processes().num_processes
    at_once = options.batch_size * options.accumulation * sharing
    count = options.steps * at_once if options.steps else options.epochs * len(forget)
    alternates = _refusals(task.benchmark.train_forget, tokenizer, options)
    items = pairing(forget, retain, options, count, alternates)
    if find_method(task.method).trainer.reference_losses:
        same = task.reference == task.model
        reference = model if same else load.load_model(task.reference, dtype="float32")
        items = _with_reference(items, reference, chat.pad_id(tokenizer), options.batch_size)
    if missing := -len(items) % (options.batch_size * sharing) if sharing > 1 else 0:
        # Else the sampler would repeat answers until every process has as many.
        items += [_blank(items[0])] * missing
    return items, math.ceil(len(forget) / at_once)


def pairing(
    forget: Sequence[chat.Pair],
    retain: Sequence[chat.Pair],
    options: UnlearnOptions,
    count: int,
    alternates: Sequence[Sequence[chat.Pair]] = (),
) -> list[UnlearnItem]:
    """``count`` items in training order, from the options' seed alone.

    Each epoch shuffles the forget answers. Retain answers are dealt from one shuffled deck after
    the other, so that each is seen equally often; with a ``retain_weight`` of 0 there are none.

    Args:
        forget: All answers to forget.
        retain: All answers to keep.
        options: Of the method.
        count: Items in all.
        alternates: For each forget answer, those of which it meets a random one every time.
    """
    rng = np.random.default_rng([options.seed, 2])
    choose = np.random.default_rng([options.seed, 3])
    ratio = options.retain_ratio if options.retain_weight else 0
    deal = _shuffled(retain, rng, count * ratio)
    # The decks are drawn before the epochs.
    order = list(itertools.islice(_epochs(len(forget), rng), count))
    return [
        UnlearnItem(
            forget[i],
            tuple(itertools.islice(deal, ratio)),
            alternate=alternates[i][int(choose.integers(len(alternates[i])))]
            if alternates
            else None,
        )
        for i in order
    ]


def _shuffled(
    items: Sequence[chat.Pair], rng: np.random.Generator, needed: int
) -> Iterator[chat.Pair]:
    decks = math.ceil(needed / len(items)) if needed else 0
    orders = [rng.permutation(len(items)) for _ in range(decks)]
    return (items[i] for order in orders for i in order)


def _epochs(size: int, rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(size).tolist()


def _refusals(
    prompts: Iterable[Prompt], tokenizer: PreTrainedTokenizerBase, options: UnlearnOptions
) -> list[list[chat.Pair]]:
    """Each question with each refusal, for the method that prefers them."""
    if not isinstance(options, IdkDPOOptions):
        return []
    return [
        [chat.pair(tokenizer, dataclasses.replace(p, reference=r)) for r in options.refusals]
        for p in prompts
    ]


def _with_reference(
    items: Sequence[UnlearnItem], reference: PreTrainedModel, pad: int, batch_size: int
) -> list[UnlearnItem]:
    """The items with the reference's losses, each answer read once instead of in every step."""
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
    """An item of the same form that carries no loss."""

    def blank(pair: chat.Pair) -> chat.Pair:
        return chat.Pair(pair.input_ids, len(pair.input_ids))

    return UnlearnItem(
        blank(item.forget),
        tuple(blank(pair) for pair in item.retain),
        alternate=item.alternate and blank(item.alternate),
    )


def _with_adapters(model: PreTrainedModel, options: UnlearnOptions) -> Any:
    from peft import LoraConfig, get_peft_model

    assert options.lora is not None
    lora = options.lora
    targets: Any = "all-linear" if lora.targets == ("all-linear",) else list(lora.targets)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)  # of the adapters' first values
        return get_peft_model(model, config)


def _check_vocabulary(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: Path
) -> None:
    embeddings: Any = model.get_input_embeddings()
    rows = embeddings.weight.shape[0]
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise ValueError(
            f"the tokenizer of {path} has ids up to {largest}, but the model has embeddings for "
            f"{rows} tokens: it is another model's tokenizer"
        )
