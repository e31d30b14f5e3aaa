"""One Trainer for every method: forget and retain batches in pairs, divided by true counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, Trainer

from leakrepro.models import chat
from leakrepro.unlearning import losses

if TYPE_CHECKING:
    from leakrepro.unlearning import methods

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
        options: methods.UnlearnOptions,
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


class GradAscentTrainer(UnlearnTrainer):
    """Gradient ascent on the forget answers' tokens, without a retain loss."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        counts = _counts(num_items_in_batch)
        forget = losses.grad_ascent(answer_nll(model, inputs["forget"])).sum()
        none = torch.zeros_like(forget)
        return self.weigh(forget / counts.forget_tokens, none, return_outputs)


class GradDiffTrainer(UnlearnTrainer):
    """Gradient ascent on the forget answers' tokens, with a retain loss."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        counts = _counts(num_items_in_batch)
        forget = losses.grad_ascent(answer_nll(model, inputs["forget"])).sum()
        retain = self.retain_loss(model, inputs, counts)
        return self.weigh(forget / counts.forget_tokens, retain, return_outputs)


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
        counts = _counts(num_items_in_batch)
        nll = answer_nll(model, inputs["forget"])
        values = losses.npo(nll, inputs["reference_nll"], self.options.beta)
        retain = self.retain_loss(model, inputs, counts)
        return self.weigh(_mean_answer(values, inputs, counts), retain, return_outputs)


class SimNPOTrainer(UnlearnTrainer):
    """SimNPO: preference over the token loss, without a reference."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        counts = _counts(num_items_in_batch)
        nll = answer_nll(model, inputs["forget"])
        tokens = losses.answer_tokens(inputs["forget"]["labels"])
        values = losses.simnpo(nll, tokens, self.options.beta, self.options.delta)
        retain = self.retain_loss(model, inputs, counts)
        return self.weigh(_mean_answer(values, inputs, counts), retain, return_outputs)


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
        counts = _counts(num_items_in_batch)
        values = losses.dpo(
            answer_nll(model, inputs["forget"]),
            inputs["reference_nll"],
            answer_nll(model, inputs["alternate"]),
            inputs["alternate_reference_nll"],
            self.options.beta,
        )
        retain = self.retain_loss(model, inputs, counts)
        return self.weigh(_mean_answer(values, inputs, counts), retain, return_outputs)


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
        counts = _counts(num_items_in_batch)
        logits, labels = answer_logits(model, inputs["forget"]), inputs["forget"]["labels"]
        nll = losses.sequence_nll(logits, labels)
        values = losses.npo(nll, inputs["reference_nll"], self.options.beta)
        entropy = losses.entropy(logits, labels).sum() / counts.forget_tokens
        forget = _mean_answer(values, inputs, counts) + self.options.entropy_weight * entropy
        return self.weigh(forget, self.retain_loss(model, inputs, counts), return_outputs)


class RMUTrainer(UnlearnTrainer):
    """Representation misdirection: one layer's hidden states, steered away or held."""

    retain_in_nats = False  # a squared distance

    def __init__(self, options: methods.RMUOptions, *args: Any, **trainer_arguments: Any) -> None:
        super().__init__(options, *args, **trainer_arguments)
        width = self.accelerator.unwrap_model(self.model).config.hidden_size
        generator = torch.Generator().manual_seed(options.seed)
        direction = torch.rand(width, generator=generator)  # uniform entries, as in the paper
        self.state_tensors["direction"] = (direction / direction.norm()).to(self.args.device)

    @classmethod
    def check(cls, options: Any, model: PreTrainedModel) -> None:
        """Freezes what the loss does not reach, so that the weight decay does not either."""
        layers: Sequence[Any] = decoder_layers(model)
        if options.layer >= len(layers):
            raise ValueError(
                f"RMU steers layer {options.layer}, but the model has layers 0 to "
                f"{len(layers) - 1}; set layer"
            )
        reached = {id(p) for layer in layers[: options.layer + 1] for p in layer.parameters()}
        reached |= {id(p) for p in model.get_input_embeddings().parameters()}
        if options.trainable == "down_proj":
            chosen = layers[max(0, options.layer - 2) : options.layer + 1]
            reached = {id(p) for layer in chosen for p in layer.mlp.down_proj.parameters()}
        for parameter in model.parameters():
            parameter.requires_grad_(parameter.requires_grad and id(parameter) in reached)

    @staticmethod
    def needs_reference(options: Any) -> bool:
        return bool(options.retain_weight > 0)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        counts = _counts(num_items_in_batch)
        layer, batch = self.options.layer, inputs["forget"]
        target = self.options.steering * self.state_tensors["direction"]
        hidden = hidden_states(model, layer, batch)
        forget = losses.squared_distance(hidden, target, batch["labels"]).sum()
        retain = torch.zeros_like(forget)
        if "retain" in inputs:
            assert self.reference is not None
            batch = inputs["retain"]
            with torch.no_grad():
                target = hidden_states(self.reference, layer, batch)
            hidden = hidden_states(model, layer, batch)
            retain = losses.squared_distance(hidden, target, batch["labels"]).sum()
            retain = retain / counts.retain_tokens
        return self.weigh(forget / counts.forget_tokens, retain, return_outputs)


class BLURNPOTrainer(NPOTrainer):
    """NPO's and the retain gradient, combined once per optimiser step.

    The two gradients are kept apart until the last micro-batch, so that this trainer overrides
    ``training_step``.
    """

    def __init__(self, options: methods.BLURNPOOptions, *args: Any, **kwargs: Any) -> None:
        super().__init__(options, *args, **kwargs)
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            raise ValueError(
                "BLUR-NPO combines two whole gradients, which DeepSpeed and FSDP keep in parts; "
                "run it on one device or with plain data parallelism"
            )
        self._gradients: list[list[Tensor]] = []  # forget and retain, of this step so far

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        # Not through DDP, whose hooks expect one backward pass over one loss.
        plain = self.accelerator.unwrap_model(model)
        plain.train()
        inputs = self._prepare_inputs(inputs)
        with self.compute_loss_context_manager():
            loss, parts = self.compute_loss(
                plain, inputs, return_outputs=True, num_items_in_batch=num_items_in_batch
            )
        weights = [p for p in plain.parameters() if p.requires_grad]
        new = [
            torch.autograd.grad(parts[name], weights, materialize_grads=True)
            for name in ("forget", "retain")
        ]
        old = self._gradients or [[torch.zeros_like(p) for p in weights]] * 2
        self._gradients = [
            [a + b for a, b in zip(*gradients, strict=True)]
            for gradients in zip(old, new, strict=True)
        ]
        if self.accelerator.gradient_state.sync_gradients:
            self._combine(weights)
        detached: Tensor = loss.detach()
        return detached

    def _combine(self, weights: Sequence[nn.Parameter]) -> None:
        forget, retain = self._gradients
        if self.args.world_size > 1:
            forget, retain = (self.accelerator.reduce(g, "mean") for g in (forget, retain))
        inner = torch.stack([(f.double() * r).sum() for f, r in zip(forget, retain, strict=True)])
        square = torch.stack([f.double().square().sum() for f in forget])
        xi = losses.blur_weight(
            inner.sum(), square.sum(), self.options.gamma, clamp=self.options.clamp
        )
        for weight, f, r in zip(weights, forget, retain, strict=True):
            weight.grad = r + xi.to(f.dtype) * f
        self._gradients = []


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


def decoder_layers(model: nn.Module) -> Sequence[nn.Module]:
    """The decoder layers of a causal language model.

    Raises:
        ValueError: when they are not where transformers keeps them.
    """
    base: Any = model
    if hasattr(base, "get_base_model"):  # within peft's wrapper
        base = base.get_base_model()
    layers = getattr(base.get_decoder(), "layers", None)
    if layers is None:
        raise ValueError(f"{type(base).__name__} has no list of decoder layers to choose one from")
    return list(layers)


def hidden_states(model: nn.Module, layer: int, batch: Batch) -> Tensor:
    """Output of one decoder layer, [batch, length, width]."""
    inner = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
    caught: list[Tensor] = []

    def catch(module: nn.Module, inputs: Any, output: Any) -> None:
        caught.append(output if isinstance(output, Tensor) else output[0])

    hook = decoder_layers(inner)[layer].register_forward_hook(catch)
    try:
        answer_logits(model, batch)
    finally:
        hook.remove()
    return caught[0]


def _counts(counts: Tensor | int | None) -> Counts:
    assert isinstance(counts, Tensor)
    return Counts(*counts.unbind())


def _mean_answer(values: Tensor, inputs: dict[str, Any], counts: Counts) -> Tensor:
    """The sum over answers that have tokens, divided by all of the accumulated batch."""
    present = losses.answer_tokens(inputs["forget"]["labels"]) > 0
    return values.where(present, 0.0).sum() / counts.forget_answers
