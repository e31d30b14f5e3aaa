"""BLUR-NPO (arXiv 2506.08164)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from leakrepro.unlearning import losses
from leakrepro.unlearning.methods.npo import NPOOptions, NPOTrainer
from leakrepro.unlearning.methods.options import check_numbers


@dataclass(frozen=True)
class BLURNPOOptions(NPOOptions):
    """NPO and a retain loss, combined by their gradients instead of weights (arXiv 2506.08164).

    The step is ``g_r + xi g_f`` with ``xi = gamma - <g_r, g_f> / |g_f|^2``, where g_f and g_r are
    the gradients of the weighted forget and retain losses over the whole accumulated batch.

    Attributes:
        gamma: Rate at which the forget loss falls, in units of ``|g_f|^2``.
        clamp: Keep xi at 0 or above. The authors' code allows negative values.
    """

    gamma: float = 1.0
    clamp: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self, above=("gamma",))
        if not self.retain_weight:
            raise ValueError("BLUR-NPO combines two gradients: retain_weight must be above 0")


class BLURNPOTrainer(NPOTrainer):
    """Combines the gradients of NPO's loss and of the retain loss once per optimiser step.

    Both gradients are accumulated separately until the last micro-batch. For this, the trainer
    overrides ``training_step``.
    """

    options: BLURNPOOptions

    def __init__(self, options: BLURNPOOptions, *args: Any, **kwargs: Any) -> None:
        super().__init__(options, *args, **kwargs)
        if self.is_deepspeed_enabled or self.is_fsdp_enabled:
            raise ValueError(
                "BLUR-NPO combines two whole gradients, but DeepSpeed and FSDP split them over "
                "devices; run it on one device or with plain data parallelism"
            )
        self._gradients: list[list[Tensor]] = []  # forget and retain, accumulated in this step

    def training_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        # The unwrapped model: hooks of DDP expect one backward pass over one loss.
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
