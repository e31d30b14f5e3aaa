"""The trainer that all unlearning methods share.

A batch holds forget answers and retain answers. Both losses are divided by counts over the whole
accumulated batch, so that the step does not depend on how the batch is split.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, Trainer

from leakrepro.models import chat
from leakrepro.types import Prompt
from leakrepro.unlearning import losses
from leakrepro.unlearning.methods.options import UnlearnOptions

# Collated prompts with answers: input_ids, attention_mask and labels, each [answers, length].
Answers = dict[str, Tensor]
# What ``collate`` returns. ``forget_loss`` and ``retain_loss`` both get all of it.
Batch = dict[str, Any]


@dataclass(frozen=True)
class UnlearnItem:
    """One forget answer and the data that belongs to it.

    Attributes:
        forget: The answer to forget.
        retain: Retain answers that are trained in the same step.
        reference_nll: ``-log r(y | x)`` of the forget answer under the reference, in nats; 0 for
            methods that do not need it.
        alternate: Another answer to the same prompt; None for methods that do not need one.
        alternate_reference_nll: ``-log r(y' | x)`` of the alternate answer, in nats.
    """

    forget: chat.Pair
    retain: tuple[chat.Pair, ...] = ()
    reference_nll: float = 0.0
    alternate: chat.Pair | None = None
    alternate_reference_nll: float = 0.0


def collate(items: Sequence[UnlearnItem], pad_token_id: int) -> Batch:
    """Makes a batch from items.

    Args:
        items: The items of one batch.
        pad_token_id: Token that fills shorter answers up.

    Returns:
        A dict with

        - ``forget``: ``Answers``, one row per item;
        - ``retain``: ``Answers``, the retain answers of all items; missing without any;
        - ``alternate``: ``Answers``, one row per item; missing for methods without alternates;
        - ``reference_nll``, ``alternate_reference_nll``: [items], in nats.
    """
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
    """What losses are divided by: totals over the accumulated batch and all processes.

    Attributes:
        forget_tokens: Tokens of the forget answers.
        forget_answers: Forget answers that have tokens.
        retain_tokens: Tokens of the retain answers.
        retain_positions: Positions of the retain rows that predict a token of any kind, padding
            included.
    """

    forget_tokens: Tensor
    forget_answers: Tensor
    retain_tokens: Tensor
    retain_positions: Tensor

    @staticmethod
    def of(batches: Sequence[Batch], device: torch.device) -> Tensor:
        """The counts of some batches as one tensor [4], in the order of the fields."""
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
    """Minimises ``forget_weight * L_forget + retain_weight * L_retain``.

    A method is a subclass that implements ``forget_loss``. It may override ``retain_loss``, and it
    declares what else it needs with the class attributes and class methods below.

    Losses are divided by counts over the accumulated batch and all processes, so that eight
    batches of one take the same step as one batch of eight. Rows without answer tokens do not
    count: they fill up the last batch when there are several processes.

    Attributes:
        needs_reference_nll: Whether the loss uses ``reference_nll`` and
            ``alternate_reference_nll`` of the batch. They are computed once, before training.
        retain_in_nats: Whether the retain loss is in nats per token. Training then stops when it
            is worse than that of uniform guessing.
        options: The method's options.
        reference: The frozen reference; None unless ``needs_reference_model``.
        state_tensors: The method's own state by name; it is saved in checkpoints.

    Args:
        options: The method's options.
        reference: The reference model, for methods that need the model itself.
        trainer_arguments: Arguments of ``transformers.Trainer``.
    """

    needs_reference_nll: ClassVar[bool] = False
    retain_in_nats: ClassVar[bool] = True
    # Read by Trainer: compute_loss divides by the accumulated counts itself.
    loss_is_scaled_for_ga = True

    options: UnlearnOptions

    def __init__(
        self,
        options: UnlearnOptions,
        reference: PreTrainedModel | None = None,
        **trainer_arguments: Any,
    ) -> None:
        self.options = options
        self.reference = reference
        self.state_tensors: dict[str, Tensor] = {}
        super().__init__(**trainer_arguments)
        # Forget and retain loss, summed over the micro-batches since the last entry of the log.
        self._parts = torch.zeros(2, device=self.args.device)
        if reference is not None:
            reference.to(self.args.device)  # type: ignore[arg-type]
            reference.requires_grad_(False).eval()

    @classmethod
    def needs_reference_model(cls, options: Any) -> bool:
        """Whether the loss needs the reference model itself, which then stays in memory."""
        return False

    @classmethod
    def alternate_answers(cls, options: Any, prompt: Prompt) -> Sequence[str]:
        """Other answers to a forget prompt; a random one is in the batch each time it is trained.

        Args:
            options: The method's options.
            prompt: A prompt of the forget set.

        Returns:
            At least one answer for every prompt, or none for every prompt.
        """
        return ()

    @classmethod
    def check(cls, options: Any, model: PreTrainedModel) -> None:
        """Checks the options against the model and freezes weights that must not be trained.

        Args:
            options: The method's options.
            model: The model that will be trained.

        Raises:
            ValueError: when the options do not fit the model.
        """

    def forget_loss(self, model: nn.Module, batch: Batch, counts: Counts) -> Tensor:
        """The forget loss of a batch, before ``forget_weight``; each method implements it.

        Args:
            model: The model in training.
            batch: What ``collate`` returned, on the model's device.
            counts: Totals to divide by.

        Returns:
            A scalar: a sum over the batch divided by a count of the accumulated batch.
        """
        raise NotImplementedError

    def retain_loss(self, model: nn.Module, batch: Batch, counts: Counts) -> Tensor:
        """The retain loss of a batch, before ``retain_weight``: the mean NLL per answer token.

        It is called only when the batch has retain answers. They are missing when
        ``retain_weight`` is 0.

        Args:
            model: The model in training.
            batch: What ``collate`` returned, on the model's device.
            counts: Totals to divide by.

        Returns:
            A scalar: a sum over the batch divided by a count of the accumulated batch.
        """
        return answer_nll(model, batch["retain"]).sum() / counts.retain_tokens

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
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The weighted sum of forget and retain loss; with outputs, also both weighted losses."""
        assert isinstance(num_items_in_batch, Tensor)
        counts = Counts(*num_items_in_batch.unbind())
        forget = self.forget_loss(model, inputs, counts)
        retain = torch.zeros_like(forget)
        if "retain" in inputs:
            retain = self.retain_loss(model, inputs, counts)
        self._parts += torch.stack([forget.detach(), retain.detach()])
        # Gradients are averaged over processes, while the counts are sums over them.
        forget = forget * self.options.forget_weight * self.args.world_size
        retain = retain * self.options.retain_weight * self.args.world_size
        parts = {"forget": forget, "retain": retain}
        return (forget + retain, parts) if return_outputs else forget + retain

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the unweighted forget and retain loss to an entry of the training log."""
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
    """``-log p(y | x)`` of each answer, without gradients.

    Args:
        model: The model p.
        pairs: Prompts with answers.
        pad_token_id: Token that fills shorter answers up.
        batch_size: Answers per forward pass.

    Returns:
        One value per pair, in nats.
    """
    values: list[float] = []
    for start in range(0, len(pairs), batch_size):
        batch = chat.collate(pairs[start : start + batch_size], pad_token_id)
        values += answer_nll(model, {k: v.to(model.device) for k, v in batch.items()}).tolist()
    return values


def answer_logits(model: nn.Module, answers: Answers) -> Tensor:
    """Logits of collated answers: [answers, length, vocabulary]."""
    output = model(input_ids=answers["input_ids"], attention_mask=answers["attention_mask"])
    logits: Tensor = output.logits
    return logits


def answer_nll(model: nn.Module, answers: Answers) -> Tensor:
    """``-log p(y | x)`` of collated answers: [answers], in nats."""
    return losses.sequence_nll(answer_logits(model, answers), answers["labels"])


def mean_over_answers(values: Tensor, batch: Batch, counts: Counts) -> Tensor:
    """The mean of a loss over the forget answers that have tokens.

    Args:
        values: [forget answers], one loss per answer.
        batch: The batch that the values belong to.
        counts: Totals of the accumulated batch.

    Returns:
        The batch's part of the mean over the accumulated batch.
    """
    present = losses.answer_tokens(batch["forget"]["labels"]) > 0
    return values.where(present, 0.0).sum() / counts.forget_answers
