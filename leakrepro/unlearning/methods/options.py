"""Options that every unlearning method takes."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class LoRAOptions:
    """Low-rank adapters instead of all weights (arXiv 2106.09685), by peft.

    They are merged into the weights when training ends, so that what is saved is a plain model.

    Attributes:
        rank: Width of the adapters.
        alpha: Their scale is ``alpha / rank``.
        dropout: On their input, while training.
        targets: Names of the adapted modules; ``("all-linear",)`` for every linear layer but the
            output layer.

    Raises:
        ValueError: for a value out of range.
    """

    rank: int = 32
    alpha: float = 64.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("all-linear",)

    def __post_init__(self) -> None:
        check_numbers(self, above=("rank", "alpha"), at_least=("dropout",))
        if self.dropout >= 1:
            raise ValueError(f"dropout must be below 1, not {self.dropout}")
        if not self.targets:
            raise ValueError("targets must name at least one module")


@dataclass(frozen=True)
class UnlearnOptions:
    """What every method takes. Defaults are those of open-unlearning, except where noted.

    Attributes:
        learning_rate: Peak of the schedule.
        epochs: Passes over the forget set.
        steps: Optimiser steps; None: as many as the epochs take.
        batch_size: Forget answers a step and device.
        retain_ratio: Retain answers drawn for each forget answer.
        accumulation: Batches a step; losses are normalised over all of them.
        forget_weight: Weight of the forget loss (upstream's gamma).
        retain_weight: Weight of the retain loss (upstream's alpha); at 0 none is computed.
        weight_decay: AdamW's.
        warmup_epochs: Linear warm-up; a linear decay to 0 follows.
        max_grad_norm: Gradients are clipped to this norm; 0 does not clip.
        optimizer: A name of transformers' ``OptimizerNames``. Upstream's ``paged_adamw_32bit``
            needs bitsandbytes; the plain one takes the same steps.
        bf16: Autocast to bfloat16; the weights stay in float32.
        lora: Train adapters; None trains all weights.
        seed: Of the order of the forget and retain answers, of dropout and of what a method draws.

    Raises:
        ValueError: for a value out of range.
    """

    learning_rate: float = 1e-5
    epochs: int = 10
    steps: int | None = None
    batch_size: int = 8
    retain_ratio: int = 1
    accumulation: int = 4
    forget_weight: float = 1.0
    retain_weight: float = 1.0
    weight_decay: float = 0.01
    warmup_epochs: float = 1.0
    max_grad_norm: float = 1.0
    optimizer: str = "adamw_torch"
    bf16: bool = False
    lora: LoRAOptions | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_numbers(
            self,
            above=("learning_rate", "epochs", "batch_size", "retain_ratio", "accumulation"),
            at_least=(
                *("forget_weight", "retain_weight", "weight_decay", "warmup_epochs"),
                *("max_grad_norm", "seed"),
            ),
        )
        if self.steps is not None:
            check_numbers(self, above=("steps",))


def check_numbers(
    options: object, *, above: tuple[str, ...] = (), at_least: tuple[str, ...] = ()
) -> None:
    """Raises unless the fields are finite numbers above, or not below, 0."""
    for name in (*above, *at_least):
        value = getattr(options, name)
        if not math.isfinite(value) or value < 0 or (name in above and value == 0):
            how = "above" if name in above else "at least"
            raise ValueError(f"{name} must be {how} 0, not {value}")


def check_choice(options: object, name: str, known: tuple[str, ...]) -> None:
    value = getattr(options, name)
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")
