"""The unlearning methods: a table from name to options and trainer."""

from __future__ import annotations

import math
from dataclasses import dataclass

from leakrepro.unlearning.trainer import GradDiffTrainer, NPOTrainer, UnlearnTrainer


@dataclass(frozen=True)
class GradDiffOptions:
    """Gradient ascent on the forget set with a retain loss (TOFU, arXiv 2401.06121).

    Defaults are those of open-unlearning, except where noted.

    Attributes:
        learning_rate: Peak of the schedule.
        epochs: Passes over the forget set.
        batch_size: Forget answers a step and device.
        retain_ratio: Retain answers drawn for each forget answer.
        accumulation: Batches a step; losses are normalised over all of them.
        forget_weight: Weight of the forget loss (upstream's gamma).
        retain_weight: Weight of the retain loss (upstream's alpha).
        weight_decay: AdamW's.
        warmup_epochs: Linear warm-up; a linear decay to 0 follows.
        max_grad_norm: Gradients are clipped to this norm; 0 does not clip.
        bf16: Autocast to bfloat16.
        seed: Of the order of the forget and retain answers, and of dropout.

    Raises:
        ValueError: for a value out of range.
    """

    learning_rate: float = 1e-5
    epochs: int = 10
    batch_size: int = 8
    retain_ratio: int = 1
    accumulation: int = 4
    forget_weight: float = 1.0
    retain_weight: float = 1.0
    weight_decay: float = 0.01
    warmup_epochs: float = 1.0
    max_grad_norm: float = 1.0
    bf16: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "epochs", "batch_size", "retain_ratio", "accumulation"):
            _at_least(self, name, 0, strictly=True)
        for name in (
            "forget_weight",
            "retain_weight",
            "weight_decay",
            "warmup_epochs",
            "max_grad_norm",
            "seed",
        ):
            _at_least(self, name, 0)


@dataclass(frozen=True)
class NPOOptions(GradDiffOptions):
    """Negative preference optimisation with a retain loss (arXiv 2404.05868).

    Attributes:
        beta: Inverse temperature of the preference; the smaller, the closer to gradient ascent.
    """

    beta: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        _at_least(self, "beta", 0, strictly=True)


def _at_least(options: object, name: str, low: float, *, strictly: bool = False) -> None:
    value = getattr(options, name)
    if not math.isfinite(value) or value < low or (strictly and value == low):
        raise ValueError(f"{name} must be {'above' if strictly else 'at least'} {low}, not {value}")


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes:
        options: Its frozen options dataclass.
        trainer: Its trainer, which overrides the forget loss.
        source: Where it comes from.
    """

    options: type[GradDiffOptions]
    trainer: type[UnlearnTrainer]
    source: str


METHODS: dict[str, Method] = {
    "GradDiff": Method(GradDiffOptions, GradDiffTrainer, "arXiv 2401.06121"),
    "NPO": Method(NPOOptions, NPOTrainer, "arXiv 2404.05868"),
}


def find_method(name: str) -> Method:
    """A row of the table by its name.

    Raises:
        ValueError: for an unknown name; the message lists the known ones.
    """
    if name not in METHODS:
        raise ValueError(f"unknown unlearning method {name!r}; known: {', '.join(METHODS)}")
    return METHODS[name]
