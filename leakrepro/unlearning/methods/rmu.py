"""RMU (arXiv 2403.03218)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from leakrepro.unlearning import losses
from leakrepro.unlearning.methods.options import UnlearnOptions, check_choice, check_numbers
from leakrepro.unlearning.trainer import Answers, Batch, Counts, UnlearnTrainer, answer_logits

_LAYERS = ("layers", "h", "blocks", "block")  # names of the list of decoder layers
# Names of the MLP's last projection. Experts may have one tensor for all of them (Mixtral).
_DOWN = re.compile(
    r"(^|\.)(down_proj|dense_4h_to_h|fc2|fc_out|c_proj|w2|proj_2|lin2|output_linear)"
    r"(\.(weight|bias))?$"
)
_ATTENTION = re.compile(r"attn|attention")


@dataclass(frozen=True)
class RMUOptions(UnlearnOptions):
    """Representation misdirection: hidden states of one layer are steered away (arXiv 2403.03218).

    The retain loss is the distance of that layer's hidden states from the reference's. It keeps a
    second model in memory.

    Attributes:
        layer: Index of the decoder layer whose output is steered, from 0.
        steering: Length c of the random direction that the hidden states of forget answers are
            steered to.
        trainable: ``"all"`` trains every weight that the layer depends on, as open-unlearning
            does on TOFU. ``"down_proj"`` trains the MLP's down projections of this layer and the
            two before it, as the paper does on WMDP, also where they have another name or belong
            to experts.
    """

    layer: int = 7
    steering: float = 2.0
    trainable: Literal["all", "down_proj"] = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, at_least=("layer",), above=("steering",))
        check_choice(self, "trainable", ("all", "down_proj"))
        if self.lora is not None and self.trainable != "all":
            raise ValueError("with lora only the adapters are trained: trainable must stay 'all'")


class RMUTrainer(UnlearnTrainer):
    """Steers the hidden states of forget answers away and keeps those of retain answers."""

    retain_in_nats = False  # a squared distance
    options: RMUOptions

    def __init__(self, options: RMUOptions, *args: Any, **trainer_arguments: Any) -> None:
        super().__init__(options, *args, **trainer_arguments)
        width = self.accelerator.unwrap_model(self.model).config.hidden_size
        generator = torch.Generator().manual_seed(options.seed)
        direction = torch.rand(width, generator=generator)  # uniform entries, as in the paper
        self.state_tensors["direction"] = (direction / direction.norm()).to(self.args.device)

    @classmethod
    def needs_reference_model(cls, options: Any) -> bool:
        return bool(options.retain_weight > 0)

    @classmethod
    def check(cls, options: Any, model: PreTrainedModel) -> None:
        """Freezes the weights that the loss does not depend on: weight decay must not move them."""
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
            reached = {id(p) for layer in chosen for p in _down_projections(layer)}
        for parameter in model.parameters():
            parameter.requires_grad_(parameter.requires_grad and id(parameter) in reached)

    def forget_loss(self, model: nn.Module, batch: Batch, counts: Counts) -> Tensor:
        answers = batch["forget"]
        target = self.options.steering * self.state_tensors["direction"]
        hidden = hidden_states(model, self.options.layer, answers)
        distance = losses.squared_distance(hidden, target, answers["labels"])
        return distance.sum() / counts.forget_tokens

    def retain_loss(self, model: nn.Module, batch: Batch, counts: Counts) -> Tensor:
        """The squared distance of the hidden states from the reference's, per answer token."""
        assert self.reference is not None
        answers = batch["retain"]
        with torch.no_grad():
            target = hidden_states(self.reference, self.options.layer, answers)
        hidden = hidden_states(model, self.options.layer, answers)
        distance = losses.squared_distance(hidden, target, answers["labels"])
        return distance.sum() / counts.retain_tokens


def decoder_layers(model: nn.Module) -> Sequence[nn.Module]:
    """The decoder layers of a causal language model, also inside peft's wrapper.

    Raises:
        ValueError: when the model's decoder does not have a list of layers.
    """
    base: Any = model
    if hasattr(base, "get_base_model"):  # peft's wrapper
        base = base.get_base_model()
    decoder = base.get_decoder()
    for name in _LAYERS:
        layers = getattr(decoder, name, None)
        if isinstance(layers, nn.ModuleList):
            return list(layers)
    parts = ", ".join(name for name, _ in decoder.named_children())
    raise ValueError(
        f"{type(base).__name__} does not have a list of decoder layers: RMU cannot steer it (its "
        f"decoder has {parts}; known lists are {', '.join(_LAYERS)})"
    )


def _down_projections(layer: nn.Module) -> list[nn.Parameter]:
    """The weights that map the MLP of a decoder layer back to the width of the model.

    Raises:
        ValueError: when the layer does not have one under a known name.
    """
    named = dict(layer.named_parameters())
    found = [p for name, p in named.items() if _DOWN.search(name) and not _ATTENTION.search(name)]
    if not found:
        modules = sorted({name.rpartition(".")[0] or name for name in named})
        raise ValueError(
            f"{type(layer).__name__} does not have a down projection under a known name; it has "
            f"{', '.join(modules)}: set trainable='all'"
        )
    return found


def hidden_states(model: nn.Module, layer: int, answers: Answers) -> Tensor:
    """Output of one decoder layer: [answers, length, width].

    Args:
        model: The model, or its wrapper for data parallelism.
        layer: Index of the decoder layer, from 0.
        answers: Collated answers.
    """
    inner = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
    caught: list[Tensor] = []

    def catch(module: nn.Module, inputs: Any, output: Any) -> None:
        caught.append(output if isinstance(output, Tensor) else output[0])

    hook = decoder_layers(inner)[layer].register_forward_hook(catch)
    try:
        answer_logits(model, answers)
    finally:
        hook.remove()
    return caught[0]
