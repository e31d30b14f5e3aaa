"""Estimate of the memory for training, from the model's configuration only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from transformers import AutoModelForCausalLM

from leakrepro.models.load import load_config
from leakrepro.models.reading import reading

_FLOAT = 4  # bytes; weights, gradients and AdamW's two moments are kept in float32
# Values per layer and token that are kept for the backward pass, in units of the width: the
# attention's input, queries, keys, values and output, the MLP's input, both norms and both residual
# sums.
_KEPT_PER_TOKEN = 16


@dataclass(frozen=True)
class MemoryEstimate:
    """Peak memory of a training step of one process, in bytes. Activations are a rough estimate.

    Attributes:
        weights: All weights.
        gradients: Gradients of the trained weights.
        optimizer: Moments of AdamW.
        reference: A second, frozen model, if there is one.
        activations: Activations for the backward pass, and the logits with their gradient.
        available: Free memory of the device.
    """

    weights: int
    gradients: int
    optimizer: int
    reference: int
    activations: int
    available: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.reference + self.activations

    def __str__(self) -> str:
        parts = ("weights", "gradients", "optimizer", "reference", "activations")
        shown = ", ".join(f"{n} {getattr(self, n) / 2**30:.2f}" for n in parts if getattr(self, n))
        return (
            f"about {self.total / 2**30:.2f} GiB ({shown}) of {self.available / 2**30:.1f} GiB "
            "available"
        )


def estimate_memory(
    path: str | Path,
    device: torch.device,
    *,
    rows: int,
    length: int,
    reference: bool = False,
    lora_rank: int | None = None,
) -> MemoryEstimate:
    """Estimate the memory of an AdamW step on a local model, from its configuration.

    Args:
        path: A local model.
        device: Device of the training.
        rows: Answers per batch, of all kinds.
        length: Length of the longest answer with its prompt, in tokens.
        reference: Whether a second, frozen model is kept.
        lora_rank: Rank of adapters on all linear layers; None trains all weights.
    """
    config = load_config(path)
    with reading(path, "configuration"), torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    count = sum(p.numel() for p in model.parameters())
    trained = count
    if lora_rank is not None:
        linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
        trained = lora_rank * sum(m.in_features + m.out_features for m in linear)
    text = config.get_text_config(decoder=True)
    inner = getattr(text, "intermediate_size", 4 * text.hidden_size)
    # The MLP keeps its two projections, the activation and their product.
    layer = _KEPT_PER_TOKEN * text.hidden_size + 4 * inner
    kept = rows * length * (text.num_hidden_layers * layer + 3 * text.vocab_size)
    if device.type == "cuda":
        available = torch.cuda.mem_get_info(device)[0]
    else:
        available = psutil.virtual_memory().available
    return MemoryEstimate(
        weights=_FLOAT * count,
        gradients=_FLOAT * trained,
        optimizer=2 * _FLOAT * trained,
        reference=_FLOAT * count if reference else 0,
        activations=_FLOAT * kept,
        available=available,
    )
