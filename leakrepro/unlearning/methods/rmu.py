"""RMU (arXiv 2403.03218)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from leakrepro.unlearning import losses
from leakrepro.unlearning.methods.options import UnlearnOptions, check_choice, check_numbers
from leakrepro.unlearning.trainer import Batch, UnlearnTrainer, answer_logits, counts_of


@dataclass(frozen=True)
class RMUOptions(UnlearnOptions):
    """Representation misdirection: hidden states of one layer are steered away (arXiv 2403.03218).

    The retain loss is the distance of that layer's hidden states from the reference's; it keeps a
    second model in memory.

    Attributes:
        layer: Decoder layer whose output is steered, from 0.
        steering: Length c of the random direction that forget answers are steered to.
        trainable: ``"all"``: every weight that the layer depends on, as open-unlearning does on
            TOFU; ``"down_proj"``: the MLP's down projections of this layer and the two before it,
            as the paper does on WMDP.
    """

    layer: int = 7
    steering: float = 2.0
    trainable: Literal["all", "down_proj"] = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, at_least=("layer",), above=("steering",))
        check_choice(self, "trainable", ("all", "down_proj"))
        if self.lora is not None and self.trainable != "all":
            raise ValueError("with lora the adapters are trained: trainable must stay 'all'")


class RMUTrainer(UnlearnTrainer):
    """Representation misdirection: one layer's hidden states, steered away or held."""

    retain_in_nats = False  # a squared distance

    def __init__(self, options: RMUOptions, *args: Any, **trainer_arguments: Any) -> None:
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
        counts = counts_of(num_items_in_batch)
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
