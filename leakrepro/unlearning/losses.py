"""The unlearning losses as pure functions of logits, hidden states and labels.

Notation: x is the prompt, y its answer of T tokens, p the model and r the frozen reference (the
model before unlearning). Labels are -100 outside the answer. The shift by one position between
logits and labels happens here and nowhere else. The losses return one value per sequence; the
caller decides what to divide by. Half-precision input is computed in float32, float64 input in
float64.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from leakrepro.models.chat import IGNORED


def answer_tokens(labels: Tensor) -> Tensor:
    """Number of answer tokens per row that have a loss: [batch]."""
    return labels[:, 1:].ne(IGNORED).sum(dim=1)


def sequence_nll(logits: Tensor, labels: Tensor) -> Tensor:
    """``-log p(y | x)``: the negative log-likelihood of each answer, summed over its tokens.

    Args:
        logits: [batch, length, vocabulary].
        labels: [batch, length], -100 outside the answer.

    Returns:
        [batch], in nats.
    """
    losses = F.cross_entropy(
        _precise(logits[:, :-1]).transpose(1, 2),
        labels[:, 1:],
        ignore_index=IGNORED,
        reduction="none",
    )
    return losses.sum(dim=1)


def grad_ascent(nll: Tensor) -> Tensor:
    """``log p(y | x)``; minimising it is gradient ascent on the forget set.

    GradDiff adds a retain loss (TOFU, arXiv 2401.06121, section 4.1).

    Args:
        nll: [batch], from :func:`sequence_nll`.

    Returns:
        [batch], in nats.
    """
    return -nll


def npo(nll: Tensor, reference_nll: Tensor, beta: float) -> Tensor:
    """``-(2 / beta) log sigmoid(-beta log(p(y|x) / r(y|x)))`` of each answer.

    Negative preference optimisation (arXiv 2404.05868, equation 3), which is averaged over
    sequences. As beta goes to 0, its gradient becomes that of gradient ascent.

    Args:
        nll: [batch], ``-log p(y | x)``.
        reference_nll: [batch], ``-log r(y | x)``, without gradient.
        beta: Inverse temperature, above 0.

    Returns:
        [batch].

    Raises:
        ValueError: when beta is not above 0.
    """
    return _preference(nll - reference_nll, beta)


def simnpo(nll: Tensor, tokens: Tensor, beta: float, delta: float) -> Tensor:
    """``-(2 / beta) log sigmoid(beta (-log p(y|x) / T - delta))`` of each answer.

    SimNPO (arXiv 2410.07163): NPO without a reference model, normalised by length and averaged
    over sequences. ``delta`` is the paper's margin gamma divided by beta.

    Args:
        nll: [batch], ``-log p(y | x)``.
        tokens: [batch], T; 0 is treated as 1.
        beta: Inverse temperature, above 0.
        delta: NLL per token, in nats, above which a sequence counts as forgotten.

    Returns:
        [batch].

    Raises:
        ValueError: when beta is not above 0.
    """
    return _preference(nll / tokens.clamp(min=1) - delta, beta)


def dpo(
    nll: Tensor,
    reference_nll: Tensor,
    alternate_nll: Tensor,
    alternate_reference_nll: Tensor,
    beta: float,
) -> Tensor:
    """``-(2 / beta) log sigmoid(beta [log (p/r)(y') - log (p/r)(y)])`` of each pair of answers.

    Direct preference optimisation, averaged over sequences (TOFU, arXiv 2401.06121, section 4.1).
    The rejected answer is the forget answer y; the chosen one is an alternate answer y', which is
    a refusal in IdkDPO.

    Args:
        nll: [batch], ``-log p(y | x)`` of the forget answer.
        reference_nll: [batch], ``-log r(y | x)``, without gradient.
        alternate_nll: [batch], ``-log p(y' | x)``.
        alternate_reference_nll: [batch], ``-log r(y' | x)``, without gradient.
        beta: Inverse temperature, above 0.

    Returns:
        [batch].

    Raises:
        ValueError: when beta is not above 0.
    """
    return _preference((nll - reference_nll) - (alternate_nll - alternate_reference_nll), beta)


def entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Entropy of p, summed over the positions that predict the answer.

    NPO+ENT adds the mean entropy per token to NPO's loss. It appears in the code of arXiv
    2511.04934, but not in the paper.

    Args:
        logits: [batch, length, vocabulary].
        labels: [batch, length], -100 outside the answer.

    Returns:
        [batch], in nats.
    """
    log_p = F.log_softmax(_precise(logits[:, :-1]), dim=-1)
    return _sum_over_answer(-(log_p.exp() * log_p).sum(dim=-1), labels)


def kl(logits: Tensor, reference_logits: Tensor, labels: Tensor) -> Tensor:
    """``KL(r || p)``, summed over the positions that predict the answer.

    As a retain loss it keeps the whole distribution of each token, and not only the probability
    of the token in the answer (TOFU, arXiv 2401.06121, section 4.1).

    Args:
        logits: [batch, length, vocabulary].
        reference_logits: [batch, length, vocabulary], logits of the reference, without gradient.
        labels: [batch, length], -100 outside the answer.

    Returns:
        [batch], in nats.
    """
    log_p = F.log_softmax(_precise(logits[:, :-1]), dim=-1)
    log_r = F.log_softmax(_precise(reference_logits[:, :-1]), dim=-1)
    return _sum_over_answer((log_r.exp() * (log_r - log_p)).sum(dim=-1), labels)


def squared_distance(hidden: Tensor, target: Tensor, labels: Tensor) -> Tensor:
    """``mean over the width of (h - target)^2``, summed over the answer tokens.

    Both losses of RMU (arXiv 2403.03218, section 4.1). On forget answers the target is ``c u``, a
    fixed random unit vector u times c. On retain answers it is the reference's hidden states. As
    in open-unlearning, the hidden states are taken at the answer tokens themselves, and not at the
    positions that predict them.

    Args:
        hidden: [batch, length, width].
        target: [batch, length, width] or [width].
        labels: [batch, length], -100 outside the answer.

    Returns:
        [batch].
    """
    squares = (_precise(hidden) - _precise(target)).square().mean(dim=-1)
    return squares[:, 1:].masked_fill(labels[:, 1:].eq(IGNORED), 0.0).sum(dim=1)


def blur_weight(inner: Tensor, forget_square: Tensor, gamma: float, *, clamp: bool) -> Tensor:
    """``xi = gamma - <g_r, g_f> / |g_f|^2``: BLUR's weight of the forget gradient.

    A step along ``-(g_r + xi g_f)`` decreases the forget loss at the rate ``gamma |g_f|^2`` for
    any retain gradient (arXiv 2506.08164). When the retain gradient decreases the forget loss
    faster than this, xi is negative. ``clamp`` replaces negative values by 0, as barrier methods
    do.

    Args:
        inner: ``<g_r, g_f>`` over all parameters, a scalar.
        forget_square: ``|g_f|^2``, a scalar. At 0, xi is 0.
        gamma: Rate, above 0.
        clamp: Whether xi is kept at 0 or above.

    Returns:
        xi, a scalar.
    """
    xi = torch.where(forget_square > 0, gamma - inner / forget_square, torch.zeros_like(inner))
    return xi.clamp(min=0.0) if clamp else xi


def _preference(advantage: Tensor, beta: float) -> Tensor:
    """``-(2 / beta) log sigmoid(beta * advantage)``: the form of all preference losses."""
    if beta <= 0:
        raise ValueError(f"beta must be above 0, not {beta}")
    return -(2 / beta) * F.logsigmoid(beta * advantage)


def _sum_over_answer(values: Tensor, labels: Tensor) -> Tensor:
    """Sums [batch, length - 1] over the positions that predict an answer token."""
    return values.masked_fill(labels[:, 1:].eq(IGNORED), 0.0).sum(dim=1)


def _precise(values: Tensor) -> Tensor:
    """The values in float32, or in float64 when they are float64."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
