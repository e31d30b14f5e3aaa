"""GradAscent and GradDiff (arXiv 2401.06121)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from leakrepro.unlearning import losses
from leakrepro.unlearning.methods.options import UnlearnOptions, check_choice

if TYPE_CHECKING:
    pass
from leakrepro.unlearning.trainer import UnlearnTrainer, answer_nll, counts_of


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
        check_choice(self, "retain_loss", ("nll", "kl", "kl_all"))


class GradAscentTrainer(UnlearnTrainer):
    """Gradient ascent on the forget answers' tokens, without a retain loss."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        counts = counts_of(num_items_in_batch)
        forget = losses.grad_ascent(answer_nll(model, inputs["forget"])).sum()
        none = torch.zeros_like(forget)
        return self.weigh(forget / counts.forget_tokens, none, return_outputs)


class GradDiffTrainer(UnlearnTrainer):
    """Gradient ascent on the forget answers' tokens, with a retain loss."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        counts = counts_of(num_items_in_batch)
        forget = losses.grad_ascent(answer_nll(model, inputs["forget"])).sum()
        retain = self.retain_loss(model, inputs, counts)
        return self.weigh(forget / counts.forget_tokens, retain, return_outputs)
