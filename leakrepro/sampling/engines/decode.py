"""One decoding step, as pure functions: logits to decoding distribution to token."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from leakrepro.types import Decoding

# Number of logits per block of the float64 arithmetic. Blocks fit into a core's cache and bound the
# memory of a large vocabulary. They do not change the result, because rows are independent.
_BLOCK = {"cpu": 1 << 16, "cuda": 1 << 25}


class Choice(NamedTuple):
    """The tokens chosen in one step, one entry per row."""

    token: Tensor  # int64
    logprob: Tensor  # float64, log p under the model (T = 1)
    logq: Tensor  # float64, log p under the decoding distribution


def choose(logits: Tensor, processed: Tensor, uniform: Tensor, decoding: Decoding) -> Choice:
    """Draws one token per row by inverse transform sampling in the order of token ids.

    Args:
        logits: The model's logits, [rows, vocabulary].
        processed: The logits after the logits processors, [rows, vocabulary]. Pass ``logits``
            itself if there are no processors.
        uniform: One number in [0, 1) per row, float64, [rows]. Greedy decoding ignores it.
        decoding: The decoding settings. Temperature is applied first, then top-k, then top-p.
            Temperature 0 takes the largest logit.

    Returns:
        The tokens and their log-probabilities, [rows] each.
    """
    height = max(1, _BLOCK.get(logits.device.type, 1 << 20) // logits.shape[-1])
    if logits.shape[0] <= height:
        return _choose(logits, processed, uniform, decoding)
    same = processed is logits
    parts = []
    for start in range(0, logits.shape[0], height):
        rows = slice(start, start + height)
        block = logits[rows]
        parts.append(_choose(block, block if same else processed[rows], uniform[rows], decoding))
    return Choice(*(torch.cat(column) for column in zip(*parts, strict=True)))


def decoding_logits(logits: Tensor, decoding: Decoding) -> Tensor:
    """Returns the logits of the decoding distribution, float64, [rows, vocabulary].

    Excluded tokens have the logit -inf. Temperature is applied first, then top-k, then top-p, in
    the order of transformers and vLLM. Tokens that tie with the k-th largest logit are kept. Top-p
    keeps the smallest set of most likely tokens whose probabilities sum to at least ``top_p``.
    """
    scores = logits.double() / decoding.temperature
    if decoding.top_k is not None and decoding.top_k < scores.shape[-1]:
        smallest = scores.topk(decoding.top_k).values[:, -1:]
        scores = scores.masked_fill(scores < smallest, -torch.inf)
    if decoding.top_p < 1:
        ascending, order = scores.sort()
        # Drop a token if it and all less likely tokens together have at most 1 - top_p.
        drop = ascending.softmax(-1).cumsum(-1) <= 1 - decoding.top_p
        drop[:, -1] = False
        scores = scores.masked_fill(drop.scatter(-1, order, drop), -torch.inf)
    return scores


def _choose(logits: Tensor, processed: Tensor, uniform: Tensor, decoding: Decoding) -> Choice:
    if decoding.is_greedy:
        token = processed.argmax(-1)
        picked = logits.gather(-1, token[:, None]).squeeze(-1).double()
        logprob = picked - logits.double().logsumexp(-1)
        return Choice(token, logprob, torch.zeros_like(logprob))
    plain = (
        processed is logits
        and decoding.temperature == 1
        and decoding.top_p == 1
        and (decoding.top_k is None or decoding.top_k >= logits.shape[-1])
    )
    scores = logits.double() if plain else decoding_logits(processed, decoding)
    largest, likeliest = scores.max(-1)
    weights = (scores - largest[:, None]).exp_()
    # Not running[:, -1], because a GPU's rounding of the running sum varies from run to run.
    total = weights.sum(-1)
    running = weights.cumsum(-1)
    token = torch.searchsorted(running, (uniform * total)[:, None], right=True).squeeze(-1)
    token = token.clamp_(max=scores.shape[-1] - 1)
    # Rounding at the upper bound may select a token of probability zero. Take the likeliest then.
    token = torch.where(weights.gather(-1, token[:, None]).squeeze(-1) > 0, token, likeliest)
    index = token[:, None]
    logq = scores.gather(-1, index).squeeze(-1) - largest - total.log()
    if plain:
        return Choice(token, logq, logq)
    raw = logits.double()
    return Choice(token, raw.gather(-1, index).squeeze(-1) - raw.logsumexp(-1), logq)
