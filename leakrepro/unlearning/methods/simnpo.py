"""SimNPO (arXiv 2410.07163)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from leakrepro.unlearning import losses
from leakrepro.unlearning.methods.grad_diff import GradDiffOptions, GradDiffTrainer
from leakrepro.unlearning.methods.options import check_numbers
from leakrepro.unlearning.trainer import Batch, Counts, answer_nll, mean_over_answers


@dataclass(frozen=True)
class SimNPOOptions(GradDiffOptions):
    """NPO without a reference model, normalised by length (arXiv 2410.07163).

    Attributes:
        beta: Inverse temperature of the preference.
        delta: NLL per token, in nats, above which an answer counts as forgotten: the paper's
            margin gamma divided by beta.
        forget_weight: 0.125 as in open-unlearning, which calls it gamma; it is not the paper's
            gamma.
    """

    forget_weight: float = 0.125
    beta: float = 4.5
    delta: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, above=("beta",), at_least=("delta",))


class SimNPOTrainer(GradDiffTrainer):
    """Preference over the NLL per token, without a reference."""

    options: SimNPOOptions

    def forget_loss(self, model: nn.Module, batch: Batch, counts: Counts) -> Tensor:
        nll = answer_nll(model, batch["forget"])
        tokens = losses.answer_tokens(batch["forget"]["labels"])
        values = losses.simnpo(nll, tokens, self.options.beta, self.options.delta)
        return mean_over_answers(values, batch, counts)
