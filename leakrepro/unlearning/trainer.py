"""One Trainer for every method: forget and retain batches in pairs, divided by true counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel, Trainer

from leakrepro.models import chat
from leakrepro.unlearning import losses

if TYPE_CHECKING:
    from leakrepro.unlearning.methods import GradDiffOptions, NPOOptions


@dataclass(frozen=True)
class UnlearnItem:
    """One forget answer with the retain answers that accompany it.

    Attributes:
        forget: The answer to forget.
        reference_nll: ``-log r(y | x)`` of that answer under the model before unlearning.
        retain: Answers to keep.
    """

    forget: chat.Pair
    reference_nll: float
    retain: tuple[chat.Pair, ...]


def collate(items: Sequence[UnlearnItem], pad_token_id: int) -> dict[str, Any]:
    """``{"forget": batch, "retain": batch, "reference_nll": [items]}``."""
    return {
        "forget": chat.collate([i.forget for i in items], pad_token_id),
        "retain": chat.collate([r for i in items for r in i.retain], pad_token_id),
        "reference_nll": torch.tensor([i.reference_nll for i in items]),
    }


class UnlearnTrainer(Trainer):
    """``forget_weight * L_forget + retain_weight * L_retain``; a method overrides the forget loss.

    Losses are divided by counts over the whole accumulated batch and all devices, so that 1 x 8
    equals 8 x 1: Trainer's own count does not see {forget, retain} batches.
    """

    # Our compute_loss has divided by the accumulated counts already.
    loss_is_scaled_for_ga = True
    forget_mean: Literal["tokens", "sequences"]

    def __init__(self, options: GradDiffOptions, **trainer_arguments: Any) -> None:
        super().__init__(**trainer_arguments)
        self.options = options

    def forget_losses(self, nll: Tensor, inputs: dict[str, Any]) -> Tensor:
        """The forget loss of each answer, [batch], from its ``-log p(y | x)``."""
        raise NotImplementedError

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor]:
        """Collects the batches of one step with [forget tokens, forget answers, retain tokens]."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        counts = torch.zeros(3, dtype=torch.long, device=device)
        for batch in batches:
            forget = losses.answer_tokens(batch["forget"]["labels"])
            retain = losses.answer_tokens(batch["retain"]["labels"])
            counts += torch.tensor([forget.sum(), len(forget), retain.sum()], device=device)
        if self.args.world_size > 1:
            counts = self.accelerator.gather(counts).view(-1, 3).sum(dim=0)
        return batches, counts

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        assert isinstance(num_items_in_batch, Tensor)
        forget_tokens, forget_answers, retain_tokens = num_items_in_batch.unbind()
        nll = _nll(model, inputs["forget"])
        divisor = forget_tokens if self.forget_mean == "tokens" else forget_answers
        forget = self.forget_losses(nll, inputs).sum() / divisor
        retain = _nll(model, inputs["retain"]).sum() / retain_tokens
        loss = self.options.forget_weight * forget + self.options.retain_weight * retain
        # Gradients are averaged over devices, while the counts are sums over them.
        loss = loss * self.args.world_size
        return (loss, {"forget_nll": nll.detach()}) if return_outputs else loss


class GradDiffTrainer(UnlearnTrainer):
    """Gradient ascent on the forget answers' tokens."""

    forget_mean = "tokens"

    def forget_losses(self, nll: Tensor, inputs: dict[str, Any]) -> Tensor:
        return losses.grad_ascent(nll)


class NPOTrainer(UnlearnTrainer):
    """Negative preference optimisation against the model before unlearning."""

    forget_mean = "sequences"
    options: NPOOptions

    def forget_losses(self, nll: Tensor, inputs: dict[str, Any]) -> Tensor:
        return losses.npo(nll, inputs["reference_nll"], self.options.beta)


@torch.no_grad()
def answer_nll(
    model: PreTrainedModel, pairs: Sequence[chat.Pair], pad_token_id: int, batch_size: int
) -> list[float]:
    """``-log p(y | x)`` of each answer, in nats, without gradients."""
    values: list[float] = []
    for start in range(0, len(pairs), batch_size):
        batch = chat.collate(pairs[start : start + batch_size], pad_token_id)
        values += _nll(model, {k: v.to(model.device) for k, v in batch.items()}).tolist()
    return values


def _nll(model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return losses.sequence_nll(logits, batch["labels"])
