"""NPO (arXiv 2404.05868) and NPO+ENT (code of arXiv 2511.04934)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from leakrepro.unlearning import losses
from leakrepro.unlearning.methods.grad_diff import GradDiffOptions, GradDiffTrainer
from leakrepro.unlearning.methods.options import check_numbers
from leakrepro.unlearning.trainer import (
    Batch,
    Counts,
    answer_logits,
    answer_nll,
    mean_over_answers,
)


@dataclass(frozen=True)
class NPOOptions(GradDiffOptions):
    """Negative preference optimisation with a retain loss (arXiv 2404.05868).

    Attributes:
        beta: Inverse temperature of the preference. Smaller values are closer to gradient ascent.
    """

    beta: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, above=("beta",))


@dataclass(frozen=True)
class NPOENTOptions(NPOOptions):
    """NPO with the entropy of the forget answers as an additional loss (code of arXiv 2511.04934).

    Attributes:
        entropy_weight: Weight of the mean entropy, in nats per token of the forget answers. The
            entropy is minimised.
    """

    entropy_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, at_least=("entropy_weight",))


class NPOTrainer(GradDiffTrainer):
    """Negative preference optimisation against the reference."""

    needs_reference_nll = True
    options: NPOOptions

    def forget_loss(self, model: nn.Module, batch: Batch, counts: Counts) -> Tensor:
        nll = answer_nll(model, batch["forget"])
        values = losses.npo(nll, batch["reference_nll"], self.options.beta)
        return mean_over_answers(values, batch, counts)


class NPOENTTrainer(NPOTrainer):
    """NPO and the entropy of the forget answers."""

    options: NPOENTOptions

    def forget_loss(self, model: nn.Module, batch: Batch, counts: Counts) -> Tensor:
        logits, labels = answer_logits(model, batch["forget"]), batch["forget"]["labels"]
        nll = losses.sequence_nll(logits, labels)
        values = losses.npo(nll, batch["reference_nll"], self.options.beta)
        entropy = losses.entropy(logits, labels).sum() / counts.forget_tokens
        return mean_over_answers(values, batch, counts) + self.options.entropy_weight * entropy
