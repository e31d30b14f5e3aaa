"""NPO (arXiv 2404.05868) and NPO+ENT (code of arXiv 2511.04934)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from leakrepro.unlearning import losses
from leakrepro.unlearning.methods.grad_diff import GradDiffOptions
from leakrepro.unlearning.methods.options import check_numbers

if TYPE_CHECKING:
    pass
from leakrepro.unlearning.trainer import (
    UnlearnTrainer,
    answer_logits,
    answer_nll,
    counts_of,
    mean_answer,
)


@dataclass(frozen=True)
class NPOOptions(GradDiffOptions):
    """Negative preference optimisation with a retain loss (arXiv 2404.05868).

    Attributes:
        beta: Inverse temperature of the preference; the smaller, the closer to gradient ascent.
    """

    beta: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, above=("beta",))


@dataclass(frozen=True)
class NPOENTOptions(NPOOptions):
    """NPO with the entropy of the forget answers as a further loss (code of arXiv 2511.04934).

    Attributes:
        entropy_weight: Of the mean entropy in nats over the forget answers' tokens, minimised.
    """

    entropy_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, at_least=("entropy_weight",))


class NPOTrainer(UnlearnTrainer):
    """Negative preference optimisation against the reference."""

    reference_losses = True

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        counts = counts_of(num_items_in_batch)
        nll = answer_nll(model, inputs["forget"])
        values = losses.npo(nll, inputs["reference_nll"], self.options.beta)
        retain = self.retain_loss(model, inputs, counts)
        return self.weigh(mean_answer(values, inputs, counts), retain, return_outputs)


class NPOENTTrainer(UnlearnTrainer):
    """NPO and the entropy of the forget answers."""

    reference_losses = True

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        counts = counts_of(num_items_in_batch)
        logits, labels = answer_logits(model, inputs["forget"]), inputs["forget"]["labels"]
        nll = losses.sequence_nll(logits, labels)
        values = losses.npo(nll, inputs["reference_nll"], self.options.beta)
        entropy = losses.entropy(logits, labels).sum() / counts.forget_tokens
        forget = mean_answer(values, inputs, counts) + self.options.entropy_weight * entropy
        return self.weigh(forget, self.retain_loss(model, inputs, counts), return_outputs)
