"""GradAscent and GradDiff (arXiv 2401.06121)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from leakrepro.unlearning import losses
from leakrepro.unlearning.methods.options import UnlearnOptions, check_choice
from leakrepro.unlearning.trainer import Batch, Counts, UnlearnTrainer, answer_logits, answer_nll


@dataclass(frozen=True)
class GradAscentOptions(UnlearnOptions):
    """Gradient ascent on the forget set only (arXiv 2401.06121). The model eventually collapses.

    Attributes:
        retain_weight: Must be 0: this method does not have a retain loss. GradDiff has one.
    """

    retain_weight: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.retain_weight:
            raise ValueError(
                f"GradAscent does not have a retain loss: retain_weight must be 0, not "
                f"{self.retain_weight}; use GradDiff to train with one"
            )


@dataclass(frozen=True)
class GradDiffOptions(UnlearnOptions):
    """Gradient ascent on the forget set with a retain loss (TOFU, arXiv 2401.06121).

    Attributes:
        retain_loss: ``"nll"``: the NLL per token of the retain answers. ``"kl"``: the KL
            divergence from the reference per token of the retain answers; this keeps a second
            model in memory. ``"kl_all"``: the same over all positions, prompt and padding
            included, as in open-unlearning.
    """

    retain_loss: Literal["nll", "kl", "kl_all"] = "nll"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, "retain_loss", ("nll", "kl", "kl_all"))


class GradAscentTrainer(UnlearnTrainer):
    """Gradient ascent on the tokens of the forget answers."""

    def forget_loss(self, model: nn.Module, batch: Batch, counts: Counts) -> Tensor:
        nll = answer_nll(model, batch["forget"])
        return losses.grad_ascent(nll).sum() / counts.forget_tokens


class GradDiffTrainer(GradAscentTrainer):
    """GradAscent with a retain loss: NLL, or KL divergence from the reference."""

    options: GradDiffOptions

    @classmethod
    def needs_reference_model(cls, options: Any) -> bool:
        return bool(options.retain_loss != "nll" and options.retain_weight > 0)

    def retain_loss(self, model: nn.Module, batch: Batch, counts: Counts) -> Tensor:
        if self.options.retain_loss == "nll":
            return super().retain_loss(model, batch, counts)
        assert self.reference is not None
        answers = batch["retain"]
        logits = answer_logits(model, answers)
        with torch.no_grad():
            reference = answer_logits(self.reference, answers)
        if self.options.retain_loss == "kl":
            return losses.kl(logits, reference, answers["labels"]).sum() / counts.retain_tokens
        everywhere = torch.zeros_like(answers["labels"])
        return losses.kl(logits, reference, everywhere).sum() / counts.retain_positions
