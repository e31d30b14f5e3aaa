"""One case per method: options and the equations, written once more without ``losses``.

The equations read one answer at a time, in float64 and without padding. A new method adds an entry
to ``CASES``; the tests of the trainer and of ``unlearn`` run over all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from leakrepro.models import chat
from leakrepro.unlearning.methods.table import find_method

FORGET_WEIGHT, RETAIN_WEIGHT = 0.7, 2.0
START = 4  # position of the first answer token


@dataclass(frozen=True)
class Read:
    """An answer and what a model computes of it.

    Attributes:
        pair: Prompt with answer.
        log_p: [length, vocabulary].
        hidden: [length, width], output of the layer that RMU steers.
        reference_nll: ``-log r(y | x)`` as the item has it.
        alternate: The alternate answer of a forget answer.
        reference: A retain answer as the reference reads it, without gradient.
    """

    pair: chat.Pair
    log_p: Tensor
    hidden: Tensor
    reference_nll: float = 0.0
    alternate: Read | None = None
    reference: Read | None = None

    @property
    def nll(self) -> Tensor:
        ids = self.pair.input_ids
        return -torch.stack([self.log_p[t - 1, ids[t]] for t in range(START, len(ids))]).sum()

    @property
    def tokens(self) -> int:
        return len(self.pair.input_ids) - START


def total(values: list[Tensor]) -> Tensor:
    return torch.stack(values).sum()


def token_mean(values: list[Tensor], answers: list[Read]) -> Tensor:
    return total(values) / sum(answer.tokens for answer in answers)


def preference(beta: float, advantages: list[Tensor]) -> Tensor:
    """Mean over answers of ``-(2 / beta) log sigmoid(beta * advantage)``."""
    return torch.stack([2 / beta * torch.log1p((-beta * a).exp()) for a in advantages]).mean()


def ascent(options: Any, answers: list[Read]) -> Tensor:
    return -token_mean([a.nll for a in answers], answers)


def npo(options: Any, answers: list[Read]) -> Tensor:
    return preference(options.beta, [a.nll - a.reference_nll for a in answers])


def npo_ent(options: Any, answers: list[Read]) -> Tensor:
    # Positions 3 .. length - 2 predict tokens 4 .. length - 1.
    predicting = [a.log_p[START - 1 : -1] for a in answers]
    entropies = [-(log_p.exp() * log_p).sum() for log_p in predicting]
    return npo(options, answers) + options.entropy_weight * token_mean(entropies, answers)


def simnpo(options: Any, answers: list[Read]) -> Tensor:
    return preference(options.beta, [a.nll / a.tokens - options.delta for a in answers])


def dpo(options: Any, answers: list[Read]) -> Tensor:
    advantages = []
    for a in answers:
        assert a.alternate is not None
        advantages.append((a.nll - a.reference_nll) - (a.alternate.nll - a.alternate.reference_nll))
    return preference(options.beta, advantages)


def steering(options: Any, answers: list[Read]) -> Tensor:
    width = answers[0].hidden.shape[-1]
    direction = torch.rand(width, generator=torch.Generator().manual_seed(options.seed))
    target = options.steering * (direction / math.sqrt(float(direction @ direction))).double()
    distances = [(a.hidden[START:] - target).square().mean(-1).sum() for a in answers]
    return token_mean(distances, answers)


def retain_nll(answers: list[Read]) -> Tensor:
    return token_mean([a.nll for a in answers], answers)


def retain_kl(answers: list[Read]) -> Tensor:
    terms = []
    for a in answers:
        assert a.reference is not None
        log_r = a.reference.log_p
        terms.append((log_r.exp() * (log_r - a.log_p))[START - 1 : -1].sum())
    return token_mean(terms, answers)


def retain_distance(answers: list[Read]) -> Tensor:
    terms = []
    for a in answers:
        assert a.reference is not None
        terms.append((a.hidden - a.reference.hidden)[START:].square().mean(-1).sum())
    return token_mean(terms, answers)


def blur_weight(options: Any, forget: Tensor, retain: Tensor) -> float:
    return float(options.gamma - retain @ forget / (forget @ forget))


@dataclass(frozen=True)
class Case:
    """A method, its options and its equations.

    Attributes:
        method: A name of ``METHODS``.
        options: Options of the case.
        forget: Forget loss of the options and all forget answers.
        retain: Retain loss of all retain answers.
        weight: Weight of the forget gradient, from the options and the gradients of both weighted
            losses.
        trains: Whether a weight of this name is trained.
        moves: Options with which ``unlearn`` moves the small world's model.
    """

    method: str
    options: dict[str, Any]
    forget: Callable[[Any, list[Read]], Tensor]
    retain: Callable[[list[Read]], Tensor] = retain_nll
    weight: Callable[[Any, Tensor, Tensor], float] = lambda options, forget, retain: 1.0
    trains: Callable[[str], bool] = lambda name: True
    moves: dict[str, Any] = field(default_factory=dict)


RMU = {"layer": 0, "steering": 3.0}
CASES = {
    "GradAscent": Case("GradAscent", {"retain_weight": 0.0}, ascent),
    "GradDiff": Case("GradDiff", {}, ascent),
    "GradDiff, KL": Case("GradDiff", {"retain_loss": "kl"}, ascent, retain_kl),
    "NPO": Case("NPO", {"beta": 0.3}, npo),
    "SimNPO": Case("SimNPO", {"beta": 2.0, "delta": 0.4}, simnpo, moves={"forget_weight": 1.0}),
    "RMU": Case("RMU", RMU, steering, retain_distance, moves={"layer": 0, "steering": 20.0}),
    "RMU, down projections": Case(
        "RMU",
        RMU | {"trainable": "down_proj"},
        steering,
        retain_distance,
        trains=lambda name: name.endswith("mlp.down_proj.weight"),
    ),
    "IdkDPO": Case("IdkDPO", {"beta": 0.3}, dpo, moves={"beta": 1.0}),
    "BLUR-NPO": Case("BLUR-NPO", {"beta": 0.3, "gamma": 0.8}, npo, weight=blur_weight),
    "NPO+ENT": Case("NPO+ENT", {"beta": 0.3, "entropy_weight": 0.6}, npo_ent),
}


def options_of(case: str, **changes: Any) -> Any:
    weights = {"forget_weight": FORGET_WEIGHT, "retain_weight": RETAIN_WEIGHT}
    method = find_method(CASES[case].method)
    return method.options(**(weights | CASES[case].options | changes))
