"""The embedded world's entailment model: a small pair classifier made from its own templates."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tokenizers.processors import TemplateProcessing
from transformers import LlamaForSequenceClassification, PreTrainedTokenizerBase, Trainer

from leakrepro.benchmarks.entailment import KINDS, Pair, entailment_pairs
from leakrepro.models import chat, load, train
from leakrepro.models.recipe import Made, make_once
from leakrepro.models.tiny import TinyRecipe, tiny_model

if TYPE_CHECKING:
    from leakrepro.benchmarks.base import Benchmark

# Changes whenever the same recipe would give other weights.
_VERSION = 1
_ACCURACY = "accuracy.json"
_LABELS = {0: "not_entailment", 1: "entailment"}


@dataclass(frozen=True)
class NLIRecipe:
    """How the pair classifier is trained.

    It starts from the world's Retrain, whose attention has learnt to copy names, which is most of
    what telling two sentences apart takes.

    Attributes:
        steps: Steps of AdamW with a cosine schedule.
        batch_size: Pairs a step, all of them new.
        learning_rate: Peak of the schedule.
        held_out: Pairs about further authors, on which the accuracy is measured.
        seed: Of the pairs and of the new layer.
    """

    steps: int = 1500
    batch_size: int = 48
    learning_rate: float = 1e-3
    held_out: int = 2000
    seed: int = 0


def entailment_model(
    benchmark: Benchmark,
    training: TinyRecipe | None = None,
    recipe: NLIRecipe | None = None,
    *,
    progress: train.Progress | None = None,
) -> Path:
    """The folder of the world's entailment model, trained now or before.

    Args:
        benchmark: A fictional world; gives Retrain, and nothing of its forget set.
        training: Recipe of Retrain; None for its defaults.
        recipe: Of the classifier; None for its defaults.
        progress: Called with steps done and steps in all; None shows a bar.

    Raises:
        ValueError: when the benchmark has no training sets.
        FloatingPointError: when training diverges.
    """
    recipe = recipe or NLIRecipe()
    base = tiny_model(benchmark, "retain", training or TinyRecipe(), progress=progress)
    return make_once(
        "embedded",
        {"recipe": recipe, "base": load.fingerprint(base), "version": _VERSION},
        functools.partial(_train, base, recipe, progress),
        checkpoint_every=200,
    )


def held_out_accuracy(path: Path) -> dict[str, float]:
    """Accuracy on pairs about authors that training never saw: in all, and by kind of pair."""
    found: dict[str, float] = json.loads((path / _ACCURACY).read_text(encoding="utf-8"))
    return found


def _train(
    base: Path, recipe: NLIRecipe, progress: train.Progress | None, checkpoints: train.Checkpoints
) -> Made:
    tokenizer = _pair_tokenizer(base)
    pad = chat.pad_id(tokenizer)
    rng, other = (np.random.default_rng([recipe.seed, part, 2]) for part in (0, 1))
    # What differs in one word only comes later: at first it hides what is to be compared.
    stages = np.array_split(np.arange(recipe.steps), 4)
    pairs = [
        pair
        for stage, partly in zip(stages, (0.0, 0.2, 0.5, 0.7), strict=True)
        for pair in entailment_pairs(len(stage) * recipe.batch_size, rng, partly=partly)
    ]
    torch.manual_seed(recipe.seed)
    with load.no_progress_bars():
        model = LlamaForSequenceClassification.from_pretrained(
            str(base),
            num_labels=2,
            id2label=_LABELS,
            label2id={name: i for i, name in _LABELS.items()},
            pad_token_id=pad,
            dtype=torch.float32,
        )
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


def _pair_tokenizer(base: Path) -> Any:
    """The base's tokenizer, with two sentences laid out as a question and its answer are."""
    tokenizer: Any = load.load_tokenizer(base)
    parts = {
        name: tokenizer.convert_tokens_to_ids(name)
        for name in ("<|user|>", "<|end|>", "<|assistant|>")
    }
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|user|> $A <|end|>",
        pair="<|user|> $A <|end|> <|assistant|> $B <|end|>",
        special_tokens=list(parts.items()),
    )
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.padding_side = "right"
    return tokenizer


def _collate(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]) -> Mapping[str, Any]:
    batch = tokenizer(
        [pair.premise for pair in pairs],
        [pair.hypothesis for pair in pairs],
        padding=True,
        truncation=True,
        max_length=512,
        return_tensors="pt",
    )
    return {**batch, "labels": torch.tensor([int(pair.entails) for pair in pairs])}


@torch.inference_mode()
def _accuracy(
    model: LlamaForSequenceClassification,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
) -> dict[str, float]:
    right = []
    for start in range(0, len(pairs), 100):
        batch = {k: v.to(model.device) for k, v in _collate(tokenizer, pairs[start:][:100]).items()}
        labels = batch.pop("labels")
        right += (model(**batch).logits.argmax(-1) == labels).tolist()
    by_kind = {
        kind: float(np.mean([r for r, pair in zip(right, pairs, strict=True) if pair.kind == kind]))
        for kind in KINDS
        if any(pair.kind == kind for pair in pairs)
    }
    return {"all": float(np.mean(right)), **by_kind}
