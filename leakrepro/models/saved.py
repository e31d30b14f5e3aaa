"""Save a model so that what is loaded later is what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from leakrepro.errors import ModelError
from leakrepro.models.generation import savable
from leakrepro.models.reading import no_progress_bars, reading
from leakrepro.models.weights import load_weights
from leakrepro.storage.atomic import scratch

_PROBE = (2, 6)  # rows and tokens of the texts that both models read


def write_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write a model and its tokenizer with ``save_pretrained``.

    Args:
        model: The model, which is not changed.
        tokenizer: Its tokenizer.
        folder: The folder.
    """
    with no_progress_bars(), savable(model):
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def check_savable(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str | Path
) -> None:
    """Save everything but the weights, so that saving does not fail after the training.

    Args:
        model: The model before its training.
        tokenizer: Its tokenizer.
        name: Its folder or name, for the message.

    Raises:
        ModelError: If the configuration, the generation configuration or the tokenizer cannot be
            saved.
    """
    config: Any = getattr(model, "generation_config", None)
    with scratch("saving") as folder, savable(model):
        for part, what in (
            (model.config, "configuration"),
            (config and model.generation_config, "generation configuration"),
            (tokenizer, "tokenizer"),
        ):
            if part is not None:
                with reading(name, f"{what} (to save it again)"):
                    part.save_pretrained(folder)


@torch.inference_mode()
def check_saved(model: PreTrainedModel, folder: Path, path: Path) -> None:
    """Compare a model in memory with its saved copy: weights, and logits of a probe.

    Weights of the same type are equal. Logits may differ by rounding, below the square root of the
    type's machine epsilon relative to their norm.

    Args:
        model: The model in memory.
        folder: Where it was saved.
        path: The name for messages.

    Raises:
        ModelError: If the copy cannot be loaded or differs; the message names the first weight.
    """
    training = model.training
    classifier = type(model).__name__.endswith("ForSequenceClassification")
    auto = AutoModelForSequenceClassification if classifier else AutoModelForCausalLM
    copy: Any = load_weights(folder, auto, model.dtype)
    copy.to(model.device)
    remedy = "the saved model would not be the one that was trained"
    stored = copy.state_dict()
    for name, tensor in model.state_dict().items():
        if name in stored and not _equal(tensor, stored[name]):
            raise ModelError(f"{path}: {name} is saved with other values: {remedy}")
    model.eval()
    try:
        with reading(path, "model"):
            expected, found = _probe_logits(model), _probe_logits(copy)
    finally:
        model.train(training)
    scale = (expected - expected.mean()).norm()
    allowed = torch.finfo(model.dtype).eps ** 0.5 * scale
    if torch.isfinite(expected).all() and not (expected - found).norm() <= allowed:
        difference = float((expected - found).abs().max())
        raise ModelError(
            f"{path}: the logits of its saved copy differ by {difference:.2g}: {remedy}"
        )


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.to(other.dtype), other)


def _probe_logits(model: PreTrainedModel) -> Tensor:
    embeddings: Any = model.get_input_embeddings()
    rows, length = _PROBE
    size = int(embeddings.weight.shape[0])
    ids = torch.arange(rows * length, device=model.device).mul(7).add(1).remainder(size)
    # One row at a time: a classifier without padding token does not read several.
    parts = [model(input_ids=row[None]).logits.float() for row in ids.view(rows, length)]
    return torch.cat(parts)
