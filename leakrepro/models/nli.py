"""The entailment model of the fictional benchmark, a small classifier of sentence pairs."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Trainer,
)

from leakrepro.benchmarks.fictional.entailment_pairs import KINDS, Pair, entailment_pairs
from leakrepro.models import chat, train
from leakrepro.models.tiny import train_tokenizer
from leakrepro.models.train_once import Made, make_once

# Incremented when the same recipe would give other weights.
_VERSION = 2
_ACCURACY = "accuracy.json"
_LABELS = {0: "not_entailment", 1: "entailment"}
_LONGEST = 256
_BATCH = 100  # held-out pairs per forward pass


@dataclass(frozen=True)
class NLIRecipe:
    """A small BERT and its training to decide whether one sentence entails another.

    The queries and keys of the first layer are initialised to the embedding, so that equal tokens
    attend to each other. From a random initialisation it learns this only after thousands of steps.

    Attributes:
        vocab_size: Entries of the byte-level BPE.
        hidden_size: Width.
        layers: Layers.
        heads: Attention heads.
        steps: Steps of AdamW with a cosine schedule.
        batch_size: Pairs per step; every pair is used once.
        learning_rate: Peak of the schedule.
        held_out: Number of pairs about other authors for measuring the accuracy.
        seed: Seed of the pairs and the weights.
    """

    vocab_size: int = 1400
    hidden_size: int = 128
    layers: int = 3
    heads: int = 4
    steps: int = 2500
    batch_size: int = 64
    learning_rate: float = 1e-3
    held_out: int = 5000
    seed: int = 0


def entailment_model(
    recipe: NLIRecipe | None = None, *, progress: train.Progress | None = None
) -> Path:
    """Return the folder of the fictional benchmark's entailment model; train it if needed.

    It serves all seeds. Its training sentences are about other authors than any forget set.

    Args:
        recipe: Sizes and training; None for the defaults.
        progress: Called with the steps done and the total steps; None shows a progress bar.

    Raises:
        FloatingPointError: If training diverges.
    """
    recipe = recipe or NLIRecipe()
    return make_once(
        "embedded",
        {"recipe": recipe, "version": _VERSION},
        functools.partial(_train, recipe, progress),
        checkpoint_every=500,
    )


def held_out_accuracy(path: Path) -> dict[str, float]:
    """Return the accuracy on pairs about unseen authors, in total and per kind of pair."""
    found: dict[str, float] = json.loads((path / _ACCURACY).read_text(encoding="utf-8"))
    return found


def _train(
    recipe: NLIRecipe, progress: train.Progress | None, checkpoints: train.Checkpoints
) -> Made:
    rng, other = (np.random.default_rng([recipe.seed, part, 2]) for part in (0, 1))
    pairs = entailment_pairs(recipe.steps * recipe.batch_size, rng)
    tokenizer = _pair_tokenizer(pairs[:10_000], recipe.vocab_size)
    torch.manual_seed(recipe.seed)
    model = _new_model(recipe, tokenizer)
    log = train.run(
        Trainer,
        model,
        pairs,
        lambda batch: _collate(tokenizer, batch),
        {
            "per_device_train_batch_size": recipe.batch_size,
            "learning_rate": recipe.learning_rate,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 0.1,
            "weight_decay": 0.01,
            "seed": recipe.seed,
        },
        label="entailment",
        progress=progress,
        checkpoints=checkpoints,
    )
    accuracy = _accuracy(model, tokenizer, entailment_pairs(recipe.held_out, other))
    return Made(model, tokenizer, log, {_ACCURACY: json.dumps(accuracy, indent=1)})


def _pair_tokenizer(pairs: Sequence[Pair], vocab_size: int) -> Any:
    """Train a byte-level BPE tokenizer that joins two sentences."""
    single: Any = train_tokenizer((text for pair in pairs for text in pair[:2]), vocab_size)
    names = ("<|user|>", "<|end|>")
    backend = single.backend_tokenizer
    backend.post_processor = TemplateProcessing(
        single="<|user|> $A <|end|>",
        pair="<|user|> $A <|end|> $B:1 <|end|>:1",
        special_tokens=[(name, single.convert_tokens_to_ids(name)) for name in names],
    )
    # Only these inputs are saved; without token types the two sentences could not be distinguished.
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=single.pad_token,
        eos_token=single.eos_token,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        padding_side="right",
        model_max_length=_LONGEST,
        clean_up_tokenization_spaces=False,
    )


def _new_model(recipe: NLIRecipe, tokenizer: PreTrainedTokenizerBase) -> Any:
    model: Any = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden_size,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            intermediate_size=3 * recipe.hidden_size,
            max_position_embeddings=_LONGEST,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            pad_token_id=chat.pad_id(tokenizer),
            id2label=_LABELS,
            label2id={name: i for i, name in _LABELS.items()},
        )
    )
    embeddings = model.bert.embeddings
    attention = model.bert.encoder.layer[0].attention.self
    with torch.no_grad():
        # Large, nearly orthogonal embeddings: equal tokens get e^9 times the attention of others.
        embeddings.word_embeddings.weight.normal_(0.0, 1.0)
        embeddings.position_embeddings.weight.normal_(0.0, 0.1)
        embeddings.token_type_embeddings.weight.normal_(0.0, 0.3)
        for part in (attention.query, attention.key):
            part.weight.copy_(1.6 * torch.eye(recipe.hidden_size))
    return model


def _collate(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]) -> Mapping[str, Any]:
    batch = tokenizer(
        [pair.premise for pair in pairs],
        [pair.hypothesis for pair in pairs],
        padding=True,
        truncation=True,
        return_tensors="pt",
    )
    return {**batch, "labels": torch.tensor([int(pair.entails) for pair in pairs])}


@torch.inference_mode()
def _accuracy(
    model: Any, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]
) -> dict[str, float]:
    hits: list[bool] = []
    for start in range(0, len(pairs), _BATCH):
        batch = _collate(tokenizer, pairs[start : start + _BATCH])
        inputs = {name: part.to(model.device) for name, part in batch.items() if name != "labels"}
        hits += (model(**inputs).logits.argmax(-1).cpu() == batch["labels"]).tolist()
    right, kinds = np.array(hits), np.array([pair.kind for pair in pairs])
    by_kind = {kind: float(right[kinds == kind].mean()) for kind in KINDS if kind in kinds}
    return {"all": float(right.mean()), **by_kind}
