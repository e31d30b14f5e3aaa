"""IdkDPO (arXiv 2401.06121)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from leakrepro.types import Prompt
from leakrepro.unlearning import losses
from leakrepro.unlearning.methods.grad_diff import GradDiffTrainer
from leakrepro.unlearning.methods.npo import NPOOptions
from leakrepro.unlearning.methods.refusals import REFUSALS
from leakrepro.unlearning.trainer import Batch, Counts, answer_nll, mean_over_answers


@dataclass(frozen=True)
class IdkDPOOptions(NPOOptions):
    """Direct preference optimisation of refusals over the forget answers (arXiv 2401.06121).

    Attributes:
        refusals: The preferred answers. Each forget answer gets a random one in every epoch.
    """

    refusals: tuple[str, ...] = REFUSALS

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.refusals or not all(self.refusals):
            raise ValueError("refusals must hold at least one answer, and no empty one")


class IdkDPOTrainer(GradDiffTrainer):
    """Direct preference optimisation of refusals over the forget answers."""

    needs_reference_nll = True
    options: IdkDPOOptions

    @classmethod
    def alternate_answers(cls, options: Any, prompt: Prompt) -> Sequence[str]:
        refusals: tuple[str, ...] = options.refusals
        return refusals

    def forget_loss(self, model: nn.Module, batch: Batch, counts: Counts) -> Tensor:
        values = losses.dpo(
            answer_nll(model, batch["forget"]),
            batch["reference_nll"],
            answer_nll(model, batch["alternate"]),
            batch["alternate_reference_nll"],
            self.options.beta,
        )
        return mean_over_answers(values, batch, counts)
