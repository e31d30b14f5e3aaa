"""The methods once more, from their equations: one answer at a time, in float64, no padding."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
import two_steps
from torch import Tensor
from transformers import PreTrainedModel

from leakrepro.models import chat, load

Passed = tuple[Tensor, Tensor, int]  # log p [length, vocabulary], hidden states, first answer token


def forward(model: PreTrainedModel, pair: chat.Pair, layer: int) -> Passed:
    output = model(input_ids=torch.tensor([pair.input_ids]), output_hidden_states=True)
    assert output.hidden_states is not None
    # The last of the hidden states has passed the final norm: a layer below it is asked for.
    return torch.log_softmax(output.logits[0], -1), output.hidden_states[layer + 1][0], 4


def nll(passed: Passed, pair: chat.Pair) -> Tensor:
    log_p, _, start = passed
    terms = [log_p[t - 1, pair.input_ids[t]] for t in range(start, len(pair.input_ids))]
    return -torch.stack(terms).sum()


def log_sigmoid(x: Tensor) -> Tensor:
    return -torch.log1p((-x).exp())


def losses_of(case: str, model_path: Path) -> tuple[Tensor, Tensor, PreTrainedModel]:
    """Forget and retain loss, unweighted, with their graph, and the model in float64."""
    model = load.load_model(model_path, device="cpu", dtype="float32").double()
    reference = two_steps.reference_of(model_path).double()
    options: Any = two_steps.options_of(case)
    items = two_steps.items(case, model.config.vocab_size)
    layer = getattr(options, "layer", 0)
    tokens = sum(two_steps.LENGTHS)
    forget = [forward(model, i.forget, layer) for i in items]
    nlls = [nll(passed, i.forget) for passed, i in zip(forget, items, strict=True)]
    retain_pairs = [pair for i in items for pair in i.retain]
    retain_tokens = sum(len(pair.input_ids) - 4 for pair in retain_pairs)
    beta = getattr(options, "beta", 0.0)

    def preference(advantages: list[Tensor]) -> Tensor:
        return torch.stack([-2 / beta * log_sigmoid(beta * a) for a in advantages]).mean()

    method = two_steps.CASES[case][0]
    ratios = [n - i.reference_nll for n, i in zip(nlls, items, strict=True)]
    if method in ("GradAscent", "GradDiff"):
        forget_loss = -torch.stack(nlls).sum() / tokens
    elif method in ("NPO", "BLUR-NPO"):
        forget_loss = preference(ratios)
    elif method == "NPO+ENT":
        entropies = [
            -(log_p[3:-1].exp() * log_p[3:-1]).sum() for log_p, _, _ in forget
        ]  # positions 3 .. length - 2 predict tokens 4 .. length - 1
        forget_loss = preference(ratios)
        forget_loss = forget_loss + options.entropy_weight * torch.stack(entropies).sum() / tokens
    elif method == "SimNPO":
        each = zip(nlls, two_steps.LENGTHS, strict=True)
        forget_loss = preference([n / t - options.delta for n, t in each])
    elif method == "IdkDPO":
        other = []
        for item in items:
            assert item.alternate is not None
            alternate = nll(forward(model, item.alternate, 0), item.alternate)
            other.append(alternate - item.alternate_reference_nll)
        forget_loss = preference([a - b for a, b in zip(ratios, other, strict=True)])
    else:
        assert method == "RMU"
        direction = torch.rand(
            model.config.hidden_size, generator=torch.Generator().manual_seed(options.seed)
        )
        target = options.steering * (direction / math.sqrt(float(direction @ direction))).double()
        distances = [(hidden[4:] - target).square().mean(-1).sum() for _, hidden, _ in forget]
        forget_loss = torch.stack(distances).sum() / tokens

    retain_loss = torch.zeros((), dtype=torch.float64)
    for pair in retain_pairs:
        passed = forward(model, pair, layer)
        if method == "RMU":
            with torch.no_grad():
                _, held, _ = forward(reference, pair, layer)
            term = (passed[1][4:] - held[4:]).square().mean(-1).sum()
        elif getattr(options, "retain_loss", "nll") == "kl":
            with torch.no_grad():
                log_r, _, _ = forward(reference, pair, 0)
            term = (log_r.exp() * (log_r - passed[0]))[3:-1].sum()
        else:
            term = nll(passed, pair)
        retain_loss = retain_loss + term / retain_tokens
    return forget_loss, retain_loss, model


def step(case: str, model_path: Path) -> tuple[dict[str, Tensor], float, float]:
    """The change of each weight in one step of gradient descent, and both losses."""
    forget, retain, model = losses_of(case, model_path)
    options: Any = two_steps.options_of(case)
    named = dict(model.named_parameters())
    if getattr(options, "trainable", "all") == "down_proj":
        named = {n: p for n, p in named.items() if n.endswith("mlp.down_proj.weight")}

    def gradient(loss: Tensor) -> list[Tensor]:
        if not loss.requires_grad:
            return [torch.zeros_like(p) for p in named.values()]
        return list(
            torch.autograd.grad(
                loss, list(named.values()), retain_graph=True, materialize_grads=True
            )
        )

    g_f = gradient(options.forget_weight * forget)
    g_r = gradient(options.retain_weight * retain)
    weight = 1.0
    if two_steps.CASES[case][0] == "BLUR-NPO":
        inner = sum(float((a * b).sum()) for a, b in zip(g_r, g_f, strict=True))
        weight = options.gamma - inner / sum(float(a.square().sum()) for a in g_f)
    moves = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for name, f, r in zip(named, g_f, g_r, strict=True):
        moves[name] = -two_steps.RATE * (r + weight * f)
    return moves, forget.item(), retain.item()
