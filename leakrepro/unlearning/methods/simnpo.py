"""SimNPO (arXiv 2410.07163)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from leakrepro.unlearning import losses
from leakrepro.unlearning.methods.grad_diff import GradDiffOptions
from leakrepro.unlearning.methods.options import check_numbers

if TYPE_CHECKING:
    pass
from leakrepro.unlearning.trainer import UnlearnTrainer, answer_nll, counts_of, mean_answer


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
        check_numbers(self, above=("beta",), at_least=("delta",))


class SimNPOTrainer(UnlearnTrainer):
    """SimNPO: preference over the token loss, without a reference."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        counts = counts_of(num_items_in_batch)
        nll = answer_nll(model, inputs["forget"])
        tokens = losses.answer_tokens(inputs["forget"]["labels"])
        values = losses.simnpo(nll, tokens, self.options.beta, self.options.delta)
        retain = self.retain_loss(model, inputs, counts)
        return self.weigh(mean_answer(values, inputs, counts), retain, return_outputs)
