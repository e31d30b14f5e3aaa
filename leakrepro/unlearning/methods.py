"""The unlearning methods: a table from name to options and trainer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from leakrepro.unlearning import trainer
from leakrepro.unlearning.refusals import REFUSALS


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
        _check(self, above=("rank", "alpha"), at_least=("dropout",))
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
        _check(
            self,
            above=("learning_rate", "epochs", "batch_size", "retain_ratio", "accumulation"),
            at_least=(
                *("forget_weight", "retain_weight", "weight_decay", "warmup_epochs"),
                *("max_grad_norm", "seed"),
            ),
        )
        if self.steps is not None:
            _check(self, above=("steps",))


@dataclass(frozen=True)
class GradAscentOptions(UnlearnOptions):
    """Gradient ascent on the forget set alone (arXiv 2401.06121): it collapses sooner or later.

    Attributes:
        retain_weight: 0, since it has no retain loss; with one it is GradDiff.
    """

    retain_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.retain_weight:
            raise ValueError(
                f"GradAscent has no retain loss, so retain_weight must be 0, not "
                f"{self.retain_weight}; GradDiff is the method that has one"
            )


@dataclass(frozen=True)
class GradDiffOptions(UnlearnOptions):
    """Gradient ascent on the forget set with a retain loss (TOFU, arXiv 2401.06121).

    Attributes:
        retain_loss: ``"nll"``: token loss of the retain answers. ``"kl"``: KL divergence of the
            model from the reference, per answer token; it keeps a second model in memory.
            ``"kl_all"``: the same over all positions, prompt and padding included, as in
            open-unlearning.
    """

    retain_loss: Literal["nll", "kl", "kl_all"] = "nll"

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of(self, "retain_loss", ("nll", "kl", "kl_all"))


@dataclass(frozen=True)
class NPOOptions(GradDiffOptions):
    """Negative preference optimisation with a retain loss (arXiv 2404.05868).

    Attributes:
        beta: Inverse temperature of the preference; the smaller, the closer to gradient ascent.
    """

    beta: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, above=("beta",))


@dataclass(frozen=True)
class SimNPOOptions(GradDiffOptions):
    """NPO without a reference model, normalised by length (arXiv 2410.07163).

    Attributes:
        beta: Inverse temperature of the preference.
        delta: Token loss in nats that counts as forgotten: the paper's margin gamma over beta.
        forget_weight: Upstream's .125 (it calls it gamma, which is not the paper's).
    """

    forget_weight: float = 0.125
    beta: float = 4.5
    delta: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, above=("beta",), at_least=("delta",))


@dataclass(frozen=True)
class RMUOptions(UnlearnOptions):
    """Representation misdirection: hidden states of one layer are steered away (arXiv 2403.03218).

    The retain loss is the distance of that layer's hidden states from the reference's; it keeps a
    second model in memory.

    Attributes:
        layer: Decoder layer whose output is steered, from 0.
        steering: Length c of the random direction that forget answers are steered to.
        trainable: ``"all"``: every weight that the layer depends on, as open-unlearning does on
            TOFU; ``"down_proj"``: the MLP's down projections of this layer and the two before it,
            as the paper does on WMDP.
    """

    layer: int = 7
    steering: float = 2.0
    trainable: Literal["all", "down_proj"] = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, at_least=("layer",), above=("steering",))
        _one_of(self, "trainable", ("all", "down_proj"))
        if self.lora is not None and self.trainable != "all":
            raise ValueError("with lora the adapters are trained: trainable must stay 'all'")


@dataclass(frozen=True)
class IdkDPOOptions(NPOOptions):
    """Direct preference optimisation of refusals over the forget answers (arXiv 2401.06121).

    Attributes:
        refusals: Answers to prefer; each forget answer meets a random one in every epoch.
    """

    refusals: tuple[str, ...] = REFUSALS

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.refusals or not all(self.refusals):
            raise ValueError("refusals must hold at least one answer, and no empty one")


@dataclass(frozen=True)
class BLURNPOOptions(NPOOptions):
    """NPO and the retain loss combined by their gradients, not by weights (arXiv 2506.08164).

    The step is ``g_r + xi g_f`` with ``xi = gamma - <g_r, g_f> / |g_f|^2``, where g_f and g_r are
    the gradients of the weighted forget and retain losses over the whole accumulated batch.

    Attributes:
        gamma: Rate at which the forget loss falls, in units of ``|g_f|^2``.
        clamp: Keep xi at 0 or above. The released code lets it go negative.
    """

    gamma: float = 1.0
    clamp: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, above=("gamma",))
        if not self.retain_weight:
            raise ValueError("BLUR-NPO weighs two gradients, so retain_weight must be above 0")


@dataclass(frozen=True)
class NPOENTOptions(NPOOptions):
    """NPO with the entropy of the forget answers as a further loss (code of arXiv 2511.04934).

    Attributes:
        entropy_weight: Of the mean entropy in nats over the forget answers' tokens, minimised.
    """

    entropy_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, at_least=("entropy_weight",))


def _check(options: object, *, above: tuple[str, ...] = (), at_least: tuple[str, ...] = ()) -> None:
    """Raises unless the fields are finite numbers above, or not below, 0."""
    for name in (*above, *at_least):
        value = getattr(options, name)
        if not math.isfinite(value) or value < 0 or (name in above and value == 0):
            how = "above" if name in above else "at least"
            raise ValueError(f"{name} must be {how} 0, not {value}")


def _one_of(options: object, name: str, known: tuple[str, ...]) -> None:
    value = getattr(options, name)
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, not {value!r}")


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes:
        options: Its frozen options dataclass.
        trainer: Its trainer, which overrides the loss.
        source: Where it comes from.
    """

    options: type[UnlearnOptions]
    trainer: type[trainer.UnlearnTrainer]
    source: str


METHODS: dict[str, Method] = {
    "GradAscent": Method(GradAscentOptions, trainer.GradAscentTrainer, "arXiv 2401.06121"),
    "GradDiff": Method(GradDiffOptions, trainer.GradDiffTrainer, "arXiv 2401.06121"),
    "NPO": Method(NPOOptions, trainer.NPOTrainer, "arXiv 2404.05868"),
    "SimNPO": Method(SimNPOOptions, trainer.SimNPOTrainer, "arXiv 2410.07163"),
    "RMU": Method(RMUOptions, trainer.RMUTrainer, "arXiv 2403.03218"),
    "IdkDPO": Method(IdkDPOOptions, trainer.IdkDPOTrainer, "arXiv 2401.06121"),
    "BLUR-NPO": Method(BLURNPOOptions, trainer.BLURNPOTrainer, "arXiv 2506.08164"),
    "NPO+ENT": Method(NPOENTOptions, trainer.NPOENTTrainer, "arXiv 2511.04934"),
}


def find_method(name: str) -> Method:
    """A row of the table by its name.

    Raises:
        ValueError: for an unknown name; the message lists the known ones.
    """
    if name not in METHODS:
        raise ValueError(f"unknown unlearning method {name!r}; known: {', '.join(METHODS)}")
    return METHODS[name]
