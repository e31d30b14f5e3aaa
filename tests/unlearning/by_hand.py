"""One step of gradient descent from the equations in ``cases``, in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import two_steps
from cases import CASES, Read, options_of
from torch import Tensor
from transformers import PreTrainedModel

from leakrepro.models import chat, load


def read(model: PreTrainedModel, pair: chat.Pair, layer: int, **known: Any) -> Read:
    output = model(input_ids=torch.tensor([pair.input_ids]), output_hidden_states=True)
    assert output.hidden_states is not None
    # The last of the hidden states has passed the final norm: use a layer below it.
    log_p = torch.log_softmax(output.logits[0], -1)
    return Read(pair, log_p, output.hidden_states[layer + 1][0], **known)


def losses_of(case: str, model_path: Path) -> tuple[Tensor, Tensor, PreTrainedModel]:
    """Forget and retain loss, unweighted, with their graph, and the model in float64."""
    model = load.load_model(model_path, device="cpu", dtype="float32").double()
    reference = two_steps.reference_of(model_path).double()
    options = options_of(case)
    layer = getattr(options, "layer", 0)
    forget, retain = [], []
    for item in two_steps.items(case, model.config.vocab_size):
        other = item.alternate and read(
            model, item.alternate, layer, reference_nll=item.alternate_reference_nll
        )
        known = {"reference_nll": item.reference_nll, "alternate": other}
        forget.append(read(model, item.forget, layer, **known))
        for pair in item.retain:
            with torch.no_grad():
                held = read(reference, pair, layer)
            retain.append(read(model, pair, layer, reference=held))
    nothing = torch.zeros((), dtype=torch.float64)
    retain_loss = CASES[case].retain(retain) if retain else nothing
    return CASES[case].forget(options, forget), retain_loss, model


def step(case: str, model_path: Path) -> tuple[dict[str, Tensor], float, float]:
    """The change of each weight in one step of gradient descent, and both losses."""
    forget, retain, model = losses_of(case, model_path)
    options = options_of(case)
    weights = dict(model.named_parameters())
    named = {name: p for name, p in weights.items() if CASES[case].trains(name)}

    def gradient(loss: Tensor) -> list[Tensor]:
        if not loss.requires_grad:
            return [torch.zeros_like(p) for p in named.values()]
        return list(
            torch.autograd.grad(
                loss, list(named.values()), retain_graph=True, materialize_grads=True
            )
        )

    def flat(gradients: list[Tensor]) -> Tensor:
        return torch.cat([g.flatten() for g in gradients])

    g_f = gradient(options.forget_weight * forget)
    g_r = gradient(options.retain_weight * retain)
    weight = CASES[case].weight(options, flat(g_f), flat(g_r))
    moves = {name: torch.zeros_like(p) for name, p in weights.items()}
    for name, f, r in zip(named, g_f, g_r, strict=True):
        moves[name] = -two_steps.RATE * (r + weight * f)
    return moves, forget.item(), retain.item()
