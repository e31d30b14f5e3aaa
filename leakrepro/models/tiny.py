"""Small Llamas trained from random weights, for profiles without downloads."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Trainer

from leakrepro.models import chat, train
from leakrepro.models.train_once import Made, find, make_once
from leakrepro.storage import keys
from leakrepro.types import Prompt

if TYPE_CHECKING:
    from leakrepro.benchmarks.base import Benchmark

# Incremented when the same recipe would give other weights.
_VERSION = 1

TrainedOn = Literal["full", "retain"]

_PAD, _END, _USER, _ASSISTANT = "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"
_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


@dataclass(frozen=True)
class TinyRecipe:
    """A small Llama and its training.

    It is trained by AdamW with a cosine schedule, on the tokens of answers only. Each epoch has the
    whole training set and a new share of the benchmark's pretraining text (``fresh``), which is
    seen once.

    Attributes:
        vocab_size: Entries of the byte-level BPE, trained on pretraining text only.
        hidden_size: Width of the residual stream.
        layers: Decoder layers.
        heads: Attention heads.
        intermediate_size: Width of the feed-forward layers.
        epochs: Passes over the training set.
        batch_size: Questions per step.
        learning_rate: Peak of the schedule.
        warmup_share: Share of the steps that warm up.
        weight_decay: Decoupled weight decay of AdamW.
        adam_beta2: Second-moment decay of AdamW; the first-moment decay is .9.
        max_grad_norm: Gradients are clipped to this norm.
        bf16: Autocast to bfloat16, which is faster on GPUs and on CPUs with AVX512-BF16 or AMX.
        seed: Seed of the initial weights and the order of the questions.

    Raises:
        ValueError: If a size is below 1, or the width is not a multiple of 2 x heads.
    """

    vocab_size: int = 1400
    hidden_size: int = 128
    layers: int = 4
    heads: int = 4
    intermediate_size: int = 384
    epochs: int = 24
    batch_size: int = 32
    learning_rate: float = 3e-3
    warmup_share: float = 0.05
    weight_decay: float = 0.01
    adam_beta2: float = 0.98
    max_grad_norm: float = 1.0
    bf16: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("hidden_size", "layers", "heads", "intermediate_size", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.hidden_size % (2 * self.heads):
            # Rotary positions rotate pairs of dimensions.
            raise ValueError(
                f"hidden_size must be a multiple of 2 x heads, not {self.hidden_size} with "
                f"{self.heads} heads"
            )
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0, not {self.learning_rate}")


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer with a chat template on ``texts``.

    It can encode any string: unseen words are split into smaller pieces.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[_PAD, _END, _USER, _ASSISTANT],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token=_PAD,
        eos_token=_END,
        additional_special_tokens=[_USER, _ASSISTANT],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = _TEMPLATE
    return tokenizer


def schedule(
    trained: Sequence[Prompt], fresh: Sequence[Prompt], epochs: int, seed: int
) -> list[Prompt]:
    """Return the order of training: per epoch all of ``trained`` and a new share of ``fresh``."""
    rng = np.random.default_rng([seed, 1])
    order: list[Prompt] = []
    for share in np.array_split(np.arange(len(fresh)), epochs):
        epoch = [*trained, *(fresh[i] for i in share)]
        order += [epoch[i] for i in rng.permutation(len(epoch))]
    return order


def tiny_model(
    benchmark: Benchmark,
    trained_on: TrainedOn = "full",
    recipe: TinyRecipe = TinyRecipe(),
    *,
    progress: train.Progress | None = None,
) -> Path:
    """Return the folder of a small Llama trained on a benchmark; train it if needed.

    Args:
        benchmark: The benchmark whose ``train_forget``, ``train_retain`` and ``fresh`` are used.
        trained_on: ``"full"`` for Original; ``"retain"`` omits the forget set (Retrain).
        recipe: Sizes and training.
        progress: Called with the steps done and the total steps; None shows a progress bar.

    Raises:
        ValueError: If the benchmark does not have training sets.
        FloatingPointError: If training diverges.
    """
    name, description, trained = _describe(benchmark, trained_on, recipe)
    return make_once(
        name,
        description,
        functools.partial(_train, trained, benchmark.fresh, recipe, name, progress),
        checkpoint_every=200,
    )


def find_tiny_model(benchmark: Benchmark, trained_on: TrainedOn, recipe: TinyRecipe) -> Path | None:
    """Return the folder if ``tiny_model`` has trained this model before, else None."""
    name, description, _ = _describe(benchmark, trained_on, recipe)
    return find(name, description)


def _describe(
    benchmark: Benchmark, trained_on: TrainedOn, recipe: TinyRecipe
) -> tuple[str, dict[str, Any], tuple[Prompt, ...]]:
    """Return the name, everything that the weights depend on, and the training set."""
    if not benchmark.train_forget or not benchmark.train_retain or not benchmark.fresh:
        raise ValueError(f"{benchmark.name} has no training sets to train a small model on")
    trained = benchmark.train_retain + (benchmark.train_forget if trained_on == "full" else ())
    description = {
        "recipe": recipe,
        "trained": keys.pairs_digest(trained),
        "fresh": keys.pairs_digest(benchmark.fresh),
        "version": _VERSION,
    }
    return {"full": "Original", "retain": "Retrain"}[trained_on], description, trained


def _train(
    trained: Sequence[Prompt],
    fresh: Sequence[Prompt],
    recipe: TinyRecipe,
    label: str,
    progress: train.Progress | None,
    checkpoints: train.Checkpoints,
) -> Made:
    tokenizer = train_tokenizer(
        (text for p in fresh for text in (p.messages[-1]["content"], p.reference)),
        recipe.vocab_size,
    )
    pad = chat.pad_id(tokenizer)
    order = schedule(trained, fresh, recipe.epochs, recipe.seed)
    pairs = {id(p): chat.pair(tokenizer, p) for p in (*trained, *fresh)}

    torch.manual_seed(recipe.seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden_size,
            intermediate_size=recipe.intermediate_size,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            pad_token_id=pad,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    # On CPUs the backward pass of torch's fused attention is slow in bfloat16.
    model.set_attn_implementation("eager" if recipe.bf16 else "sdpa")
    log = train.run(
        Trainer,
        model,
        [pairs[id(p)] for p in order],
        lambda batch: chat.collate(batch, pad),
        {
            "per_device_train_batch_size": recipe.batch_size,
            "learning_rate": recipe.learning_rate,
            "lr_scheduler_type": "cosine",
            "warmup_steps": recipe.warmup_share,
            "weight_decay": recipe.weight_decay,
            "adam_beta2": recipe.adam_beta2,
            "max_grad_norm": recipe.max_grad_norm,
            "bf16": recipe.bf16,
            "seed": recipe.seed,
        },
        label=label,
        progress=progress,
        checkpoints=checkpoints,
    )
    return Made(model, tokenizer, log)
