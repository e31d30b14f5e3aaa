"""``unlearn``: a model, a benchmark and a method in, the folder of an unlearned model out."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from leakrepro import keys
from leakrepro.benchmarks.base import Benchmark
from leakrepro.models import chat, load, train
from leakrepro.models.recipe import Made, find, make_once
from leakrepro.unlearning.methods import GradDiffOptions, find_method
from leakrepro.unlearning.trainer import UnlearnItem, answer_nll, collate

# Changes whenever the same inputs would give other weights.
_VERSION = 1


def unlearn(
    model: str | Path,
    benchmark: Benchmark,
    method: str = "NPO",
    options: GradDiffOptions | None = None,
    *,
    output_dir: str | Path | None = None,
    resume: bool = True,
    progress: train.Progress | None = None,
) -> Path:
    """Unlearns a benchmark's forget set and saves the model, its tokenizer and its recipe.

    Args:
        model: A folder or a hub id.
        benchmark: Gives ``train_forget`` and ``train_retain``.
        method: A name of ``leakrepro.unlearning.METHODS``.
        options: That method's options dataclass; None for its defaults.
        output_dir: Where to save; None for ``LEAKREPRO_HOME/models``, under a name made from
            everything that the weights depend on.
        resume: Reuse a finished result of the same recipe. False trains again.
        progress: Called with steps done and steps in all; None for a progress bar.

    Returns:
        The folder of the unlearned model. ``recipe.json`` there says how it was made.

    Raises:
        ValueError: for an unknown method, options of another method, a benchmark without training
            sets, or an ``output_dir`` that holds the result of another recipe.
        FileNotFoundError: for a missing model.
        FloatingPointError: when training diverges.
    """
    find_method(method)  # an unknown one is an error before anything is downloaded
    start = load.locate(model)
    options, recipe = _describe(start, benchmark, method, options)
    return make_once(
        method,
        recipe,
        lambda: _train(start, benchmark, method, options, progress),
        output_dir=output_dir,
        resume=resume,
    )


def find_unlearned(
    model: Path, benchmark: Benchmark, method: str, options: GradDiffOptions
) -> Path | None:
    """What ``unlearn`` would return without training, or None."""
    return find(method, _describe(model, benchmark, method, options)[1])


def _describe(
    model: Path, benchmark: Benchmark, method: str, options: GradDiffOptions | None
) -> tuple[GradDiffOptions, dict[str, Any]]:
    """The options to use and everything that the weights depend on."""
    chosen = find_method(method)
    options = chosen.options() if options is None else options
    if type(options) is not chosen.options:
        raise ValueError(f"{method} takes {chosen.options.__name__}, not {type(options).__name__}")
    if not benchmark.train_forget or not benchmark.train_retain:
        raise ValueError(f"{benchmark.name} has no forget and retain sets to train on")
    return options, {
        "method": method,
        "source": chosen.source,
        "options": options,
        "model": load.fingerprint(model),
        "tokenizer": load.tokenizer_fingerprint(model),
        "forget": keys.pairs_digest(benchmark.train_forget),
        "retain": keys.pairs_digest(benchmark.train_retain),
        "version": _VERSION,
    }


def _train(
    start: Path,
    benchmark: Benchmark,
    method: str,
    options: GradDiffOptions,
    progress: train.Progress | None,
) -> Made:
    model, tokenizer = load.load_model(start, dtype="float32"), load.load_tokenizer(start)
    pad = chat.pad_id(tokenizer)
    forget = [chat.pair(tokenizer, p) for p in benchmark.train_forget]
    retain = [chat.pair(tokenizer, p) for p in benchmark.train_retain]
    reference_nll = answer_nll(model, forget, pad, options.batch_size)
    items = pairing(forget, reference_nll, retain, options)
    steps = math.ceil(len(items) / (options.batch_size * options.accumulation))
    log = train.run(
        functools.partial(find_method(method).trainer, options),
        model,
        items,
        lambda batch: collate(batch, pad),
        {
            "per_device_train_batch_size": options.batch_size,
            "gradient_accumulation_steps": options.accumulation,
            "learning_rate": options.learning_rate,
            "lr_scheduler_type": "linear",
            "warmup_steps": round(steps * options.warmup_epochs / options.epochs),
            "weight_decay": options.weight_decay,
            "max_grad_norm": options.max_grad_norm,
            "bf16": options.bf16,
            "seed": options.seed,
        },
        label=method,
        progress=progress,
    )
    return model, tokenizer, log


def pairing(
    forget: Sequence[chat.Pair],
    reference_nll: Sequence[float],
    retain: Sequence[chat.Pair],
    options: GradDiffOptions,
) -> list[UnlearnItem]:
    """The items of all epochs in training order, from the options' seed alone.

    Each epoch shuffles the forget answers. Retain answers are dealt from one shuffled deck after
    the other, so that each is seen equally often.
    """
    rng = np.random.default_rng([options.seed, 2])
    needed = options.epochs * len(forget) * options.retain_ratio
    decks = [rng.permutation(len(retain)) for _ in range(math.ceil(needed / len(retain)))]
    deal = iter(np.concatenate(decks).tolist())
    return [
        UnlearnItem(
            forget[i],
            reference_nll[i],
            tuple(retain[next(deal)] for _ in range(options.retain_ratio)),
        )
        for _ in range(options.epochs)
        for i in rng.permutation(len(forget))
    ]
