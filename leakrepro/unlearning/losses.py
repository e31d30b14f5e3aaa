"""The unlearning losses as pure functions of logits and labels.

x is the prompt, y its answer of T tokens, p the model, r the frozen reference (the model before
unlearning). Labels are -100 outside the answer and shifted by one against the logits here, once.
Every function returns one value a sequence, so that the caller alone decides what to divide by.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from leakrepro.models.chat import IGNORED


def sequence_nll(logits: Tensor, labels: Tensor) -> Tensor:
    """``-log p(y | x)``: the negative log-likelihood of each answer, summed over its tokens.

    Args:
        logits: [batch, length, vocabulary].
        labels: [batch, length], -100 outside the answer.

    Returns:
        [batch], float32, in nats.
    """
    targets = labels[:, 1:]
    losses = F.cross_entropy(
        logits[:, :-1].float().transpose(1, 2),
        targets,
        ignore_index=IGNORED,
        reduction="none",
    )
    return losses.sum(dim=1)


def answer_tokens(labels: Tensor) -> Tensor:
    """How many tokens of each row carry a loss: [batch]."""
    return labels[:, 1:].ne(IGNORED).sum(dim=1)


def grad_ascent(nll: Tensor) -> Tensor:
    """``log p(y | x)``, to be minimised: gradient ascent on the forget set.

    GradDiff is this plus a retain loss (TOFU, arXiv 2401.06121, section 4.1). Divided by the
    answer tokens of the batch it is minus the mean token loss.

    Args:
        nll: [batch], from :func:`sequence_nll`.
    """
    return -nll


def npo(nll: Tensor, reference_nll: Tensor, beta: float) -> Tensor:
    """``-(2 / beta) log sigmoid(-beta log(p(y|x) / r(y|x)))`` of each answer.

    Negative preference optimisation (arXiv 2404.05868, equation 3). Its mean is over sequences.
    As beta goes to 0 its gradient becomes that of gradient ascent.

    Args:
        nll: [batch], ``-log p(y | x)``.
        reference_nll: [batch], ``-log r(y | x)``, no gradient.
        beta: Inverse temperature, above 0.

    Raises:
        ValueError: when beta is not above 0.
    """
    if beta <= 0:
        raise ValueError(f"beta must be above 0, not {beta}")
    log_ratio = reference_nll - nll
    return -(2 / beta) * F.logsigmoid(-beta * log_ratio)
