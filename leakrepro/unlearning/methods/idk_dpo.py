"""IdkDPO (arXiv 2401.06121)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from leakrepro.unlearning import losses
from leakrepro.unlearning.methods.npo import NPOOptions
from leakrepro.unlearning.methods.refusals import REFUSALS

if TYPE_CHECKING:
    pass
from leakrepro.unlearning.trainer import (
    UnlearnTrainer,
    answer_nll,
    counts_of,
    mean_answer,
)


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


class IdkDPOTrainer(UnlearnTrainer):
    """Direct preference optimisation of refusals over the forget answers."""

    reference_losses = True

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        counts = counts_of(num_items_in_batch)
        values = losses.dpo(
            answer_nll(model, inputs["forget"]),
            inputs["reference_nll"],
            answer_nll(model, inputs["alternate"]),
            inputs["alternate_reference_nll"],
            self.options.beta,
        )
        retain = self.retain_loss(model, inputs, counts)
        return self.weigh(mean_answer(values, inputs, counts), retain, return_outputs)
