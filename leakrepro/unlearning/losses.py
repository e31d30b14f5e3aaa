"""The unlearning losses as pure functions of logits, hidden states and labels.

x is the prompt, y its answer of T tokens, p the model, r the frozen reference (the model before
unlearning). Labels are -100 outside the answer and shifted by one against the logits here, once.
Every function returns one value a sequence, so that the caller alone decides what to divide by.
Half-precision input is computed in float32, float64 in float64.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from leakrepro.models.chat import IGNORED


def answer_tokens(labels: Tensor) -> Tensor:
    """How many tokens of each row carry a loss: [batch]."""
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
    return _preference(nll - reference_nll, beta)


def simnpo(nll: Tensor, tokens: Tensor, beta: float, delta: float) -> Tensor:
    """``-(2 / beta) log sigmoid(beta (-log p(y|x) / T - delta))`` of each answer.

    SimNPO (arXiv 2410.07163): NPO without a reference model, normalised by length. ``delta`` is the
    paper's margin gamma divided by beta. Its mean is over sequences.

    Args:
        nll: [batch], ``-log p(y | x)``.
        tokens: [batch], T; a row of 0 tokens counts as one.
        beta: Inverse temperature, above 0.
        delta: Token loss in nats from which on a sequence counts as forgotten.

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

    Direct preference optimisation with the forget answer y as the rejected and an alternate answer
    y' (for IdkDPO a refusal) as the chosen one (TOFU, arXiv 2401.06121, section 4.1). Its mean is
    over sequences.

    Args:
        nll: [batch], ``-log p(y | x)`` of the forget answer.
        reference_nll: [batch], the same under the reference, no gradient.
        alternate_nll: [batch], ``-log p(y' | x)``.
        alternate_reference_nll: [batch], the same under the reference, no gradient.
        beta: Inverse temperature, above 0.

    Raises:
        ValueError: when beta is not above 0.
    """
    return _preference((nll - reference_nll) - (alternate_nll - alternate_reference_nll), beta)


def entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Entropy of p at the positions that predict the answer, summed: [batch], in nats.

    NPO+ENT adds its mean over tokens to NPO's loss (only in the code of arXiv 2511.04934).

    Args:
        logits: [batch, length, vocabulary].
        labels: [batch, length], -100 outside the answer.
    """
    log_p = F.log_softmax(_precise(logits[:, :-1]), dim=-1)
    return _sum_over_answer(-(log_p.exp() * log_p).sum(dim=-1), labels)


def kl(logits: Tensor, reference_logits: Tensor, labels: Tensor) -> Tensor:
    """``KL(r || p)`` at the positions that predict the answer, summed: [batch], in nats.

    The retain loss that holds the whole distribution, not the likely token alone (TOFU, arXiv
    2401.06121, section 4.1).

    Args:
        logits: [batch, length, vocabulary].
        reference_logits: The same of the reference, no gradient.
        labels: [batch, length], -100 outside the answer.
    """
    log_p = F.log_softmax(_precise(logits[:, :-1]), dim=-1)
    log_r = F.log_softmax(_precise(reference_logits[:, :-1]), dim=-1)
    return _sum_over_answer((log_r.exp() * (log_r - log_p)).sum(dim=-1), labels)


def squared_distance(hidden: Tensor, target: Tensor, labels: Tensor) -> Tensor:
    """``mean over the width of (h - target)^2`` at the answer's tokens, summed: [batch].

    Both terms of RMU (arXiv 2403.03218, section 4.1): on forget answers the target is ``c u``, a
    fixed random direction u of length c; on retain answers the reference's hidden states. As in
    open-unlearning, the hidden states are those of the answer's own tokens, not of the positions
    that predict them.

    Args:
        hidden: [batch, length, width].
        target: [batch, length, width], or [width].
        labels: [batch, length], -100 outside the answer.
    """
    squares = (_precise(hidden) - _precise(target)).square().mean(dim=-1)
    return squares[:, 1:].masked_fill(labels[:, 1:].eq(IGNORED), 0.0).sum(dim=1)


def blur_weight(inner: Tensor, forget_square: Tensor, gamma: float, *, clamp: bool) -> Tensor:
    """``xi = gamma - <g_r, g_f> / |g_f|^2``: BLUR's weight of the forget gradient.

    A step along ``g_r + xi g_f`` lowers the forget loss at the rate ``gamma |g_f|^2``, whatever
    the retain gradient wants (arXiv 2506.08164). Where the retain gradient alone lowers it more
    than that, xi is negative; ``clamp`` keeps it at 0, as barrier methods do.

    Args:
        inner: ``<g_r, g_f>`` over all parameters.
        forget_square: ``|g_f|^2``; at 0 there is nothing to weigh, and xi is 0.
        gamma: Rate.
        clamp: Never below 0.
    """
    xi = torch.where(forget_square > 0, gamma - inner / forget_square, torch.zeros_like(inner))
    return xi.clamp(min=0.0) if clamp else xi


def _preference(advantage: Tensor, beta: float) -> Tensor:
    """``-(2 / beta) log sigmoid(beta x advantage)``, what all preference losses share."""
    if beta <= 0:
        raise ValueError(f"beta must be above 0, not {beta}")
    return -(2 / beta) * F.logsigmoid(beta * advantage)


def _sum_over_answer(values: Tensor, labels: Tensor) -> Tensor:
    """Sums [batch, length - 1] over the positions that predict an answer token."""
    return values.masked_fill(labels[:, 1:].eq(IGNORED), 0.0).sum(dim=1)


def _precise(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
