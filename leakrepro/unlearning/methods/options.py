"""The options that all unlearning methods share."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class LoRAOptions:
    """Low-rank adapters, trained with peft instead of all weights (arXiv 2106.09685).

    The adapters are merged into the weights when training ends: the saved model is a plain model.

    Attributes:
        rank: Rank of the adapters.
        alpha: The output of the adapters is scaled by ``alpha / rank``.
        dropout: Dropout probability on the input of the adapters, in [0, 1).
        targets: Names of the adapted modules; ``("all-linear",)`` for every linear layer except
            the output layer.

    Raises:
        ValueError: when a value is out of range.
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
    """Options of every method. The defaults are those of open-unlearning, except where noted.

    Attributes:
        learning_rate: Peak learning rate of the schedule.
        epochs: Passes over the forget set.
        steps: Optimiser steps; None for as many as the epochs take.
        batch_size: Forget answers per batch and process.
        retain_ratio: Retain answers per forget answer.
        accumulation: Batches per optimiser step; losses are normalised over all of them.
        forget_weight: Weight of the forget loss (gamma in open-unlearning).
        retain_weight: Weight of the retain loss (alpha in open-unlearning). At 0 it is not
            computed.
        weight_decay: Weight decay of AdamW.
        warmup_epochs: Epochs of linear warm-up; a linear decay to 0 follows.
        max_grad_norm: Gradients are clipped to this norm; 0 does not clip.
        optimizer: A name of transformers' ``OptimizerNames``. open-unlearning's
            ``paged_adamw_32bit`` needs bitsandbytes; ``adamw_torch`` takes the same steps.
        bf16: Whether to autocast to bfloat16; the weights stay in float32.
        lora: Adapters to train; None trains all weights.
        seed: Seed of the order of the forget and retain answers, of dropout and of what a method
            draws.

    Raises:
        ValueError: when a value is out of range.
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
    """Checks that fields are finite and in range.

    Args:
        options: The dataclass.
        above: Fields that must be above 0.
        at_least: Fields that must be at least 0.

    Raises:
        ValueError: when a value is out of range; the message names the field.
    """
    for name in (*above, *at_least):
        value = getattr(options, name)
        if not math.isfinite(value) or value < 0 or (name in above and value == 0):
            how = "above" if name in above else "at least"
            raise ValueError(f"{name} must be {how} 0, not {value}")


def check_choice(options: object, name: str, known: tuple[str, ...]) -> None:
    """Checks that a field has one of the known values.

    Args:
        options: The dataclass.
        name: The field.
        known: Its possible values.

    Raises:
        ValueError: when the value is unknown; the message lists the known ones.
    """
    value = getattr(options, name)
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")
