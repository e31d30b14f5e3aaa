"""One Trainer for every method: forget and retain batches in pairs, divided by true counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, Trainer

from leakrepro.models import chat
from leakrepro.unlearning import losses
from leakrepro.unlearning.methods.options import UnlearnOptions

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class UnlearnItem:
    """One forget answer with what accompanies it.

    Attributes:
        forget: The answer to forget.
        retain: Answers to keep.
        reference_nll: ``-log r(y | x)`` of the forget answer under the reference.
        alternate: Another answer to the same question, for the methods that prefer one.
        alternate_reference_nll: The same of that answer.
    """

    forget: chat.Pair
    retain: tuple[chat.Pair, ...] = ()
    reference_nll: float = 0.0
    alternate: chat.Pair | None = None
    alternate_reference_nll: float = 0.0


def collate(items: Sequence[UnlearnItem], pad_token_id: int) -> dict[str, Any]:
    """``forget``, ``retain`` and ``alternate`` (those that there are) and the reference losses."""
    parts = {
        "forget": [item.forget for item in items],
        "retain": [pair for item in items for pair in item.retain],
        "alternate": [item.alternate for item in items if item.alternate is not None],
    }
    return {name: chat.collate(pairs, pad_token_id) for name, pairs in parts.items() if pairs} | {
        "reference_nll": torch.tensor([i.reference_nll for i in items]),
        "alternate_reference_nll": torch.tensor([i.alternate_reference_nll for i in items]),
    }


class Counts(NamedTuple):
    """What losses are divided by: sums over the accumulated batch and all devices."""

    forget_tokens: Tensor
    forget_answers: Tensor
    retain_tokens: Tensor
    retain_positions: Tensor

    @classmethod
    def of(cls, batches: Sequence[dict[str, Any]], device: torch.device) -> Tensor:
        """The counts of some batches, [4]."""
        total = torch.zeros(4, dtype=torch.long, device=device)
        for batch in batches:
            forget = losses.answer_tokens(batch["forget"]["labels"])
            counts = [forget.sum(), (forget > 0).sum(), 0, 0]
            if "retain" in batch:
                labels = batch["retain"]["labels"]
                counts[2:] = losses.answer_tokens(labels).sum(), labels[:, 1:].numel()
            total += torch.tensor(counts, device=device)
        return total


class UnlearnTrainer(Trainer):
    """``forget_weight * L_forget + retain_weight * L_retain``; a method overrides the loss.

    Losses are divided by counts over the whole accumulated batch and all devices, so that 1 x 8
    equals 8 x 1: Trainer's own count does not see {forget, retain} batches. Rows without answer
    tokens count for nothing: with several processes such rows fill up the last batch.

    Args:
        options: The method's options.
        reference: The frozen reference, for the losses that need more of it than the answers'
            log-probabilities.
        trainer_arguments: Of ``transformers.Trainer``.
    """

    # Our compute_loss has divided by the accumulated counts already.
    loss_is_scaled_for_ga = True
    # Whether the loss compares the answers' log-probabilities with the reference's.
    reference_losses = False
    # Whether the retain loss is one of tokens, which can be held against that of guessing.
    retain_in_nats = True

    def __init__(
        self,
        options: UnlearnOptions,
        reference: PreTrainedModel | None = None,
        **trainer_arguments: Any,
    ) -> None:
        self.options: Any = options
        self.reference = reference
        self.state_tensors: Batch = {}  # a method's own state, kept in checkpoints
        super().__init__(**trainer_arguments)
        # Forget and retain loss, summed over the micro-batches since the last entry of the log.
        self._parts = torch.zeros(2, device=self.args.device)
        if reference is not None:
            reference.to(self.args.device)  # type: ignore[arg-type]
            reference.requires_grad_(False).eval()

    @classmethod
    def check(cls, options: Any, model: PreTrainedModel) -> None:
        """Raises ValueError when the options do not fit the model; sets what is trained."""

    @staticmethod
    def needs_reference(options: Any) -> bool:
        """Whether the loss needs the reference itself."""
        return getattr(options, "retain_loss", "nll") != "nll" and options.retain_weight > 0

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor]:
        """Collects the batches of one step and counts them; see ``Counts``."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        counts = Counts.of(batches, device)
        if self.args.world_size > 1:
            counts = self.accelerator.reduce(counts, "sum")
        return batches, counts

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        raise NotImplementedError

    def retain_loss(self, model: nn.Module, inputs: dict[str, Any], counts: Counts) -> Tensor:
        """The token loss of the retain answers, or their KL divergence from the reference."""
        if "retain" not in inputs:
            return torch.zeros((), device=self.args.device)
        batch = inputs["retain"]
        logits = answer_logits(model, batch)
        if self.options.retain_loss == "nll":
            return losses.sequence_nll(logits, batch["labels"]).sum() / counts.retain_tokens
        assert self.reference is not None
        with torch.no_grad():
            reference = answer_logits(self.reference, batch)
        if self.options.retain_loss == "kl":
            return losses.kl(logits, reference, batch["labels"]).sum() / counts.retain_tokens
        everywhere = torch.zeros_like(batch["labels"])
        return losses.kl(logits, reference, everywhere).sum() / counts.retain_positions

    def weigh(self, forget: Tensor, retain: Tensor, return_outputs: bool) -> Any:
        """The weighted sum of both losses, which have been divided by the counts."""
        self._parts += torch.stack([forget.detach(), retain.detach()])
        # Gradients are averaged over devices, while the counts are sums over them.
        forget = forget * self.options.forget_weight * self.args.world_size
        retain = retain * self.options.retain_weight * self.args.world_size
        parts = {"forget": forget, "retain": retain}
        return (forget + retain, parts) if return_outputs else forget + retain

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the forget and the retain loss to an entry of the training log."""
        if "loss" in logs:
            parts = self._parts
            if self.args.world_size > 1:
                parts = self.accelerator.reduce(parts, "sum")
            logs["forget_loss"] = float(parts[0])
            if self.options.retain_weight:
                logs["retain_loss"] = float(parts[1])
            self._parts.zero_()
        super().log(logs, start_time)


@torch.no_grad()
def reference_nll(
    model: PreTrainedModel, pairs: Sequence[chat.Pair], pad_token_id: int, batch_size: int
) -> list[float]:
    """``-log p(y | x)`` of each answer, in nats, without gradients."""
    values: list[float] = []
    for start in range(0, len(pairs), batch_size):
        batch = chat.collate(pairs[start : start + batch_size], pad_token_id)
        values += answer_nll(model, {k: v.to(model.device) for k, v in batch.items()}).tolist()
    return values


def answer_logits(model: nn.Module, batch: Batch) -> Tensor:
    """Logits of a collated batch, [batch, length, vocabulary]."""
    output = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    logits: Tensor = output.logits
    return logits


def answer_nll(model: nn.Module, batch: Batch) -> Tensor:
    """``-log p(y | x)`` of each answer of a collated batch, [batch]."""
    return losses.sequence_nll(answer_logits(model, batch), batch["labels"])


def counts_of(counts: Tensor | int | None) -> Counts:
    assert isinstance(counts, Tensor)
    return Counts(*counts.unbind())


def mean_answer(values: Tensor, inputs: dict[str, Any], counts: Counts) -> Tensor:
    """The sum over answers that have tokens, divided by all of the accumulated batch."""
    present = losses.answer_tokens(inputs["forget"]["labels"]) > 0
    return values.where(present, 0.0).sum() / counts.forget_answers
