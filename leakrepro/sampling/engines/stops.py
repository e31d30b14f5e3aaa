"""Strings that end an answer, such as the next question of a block of examples."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase


def cut(text: str, stop: Sequence[str]) -> str:
    """The text in front of the first stop string.

    >>> cut("Paris\\n\\nQuestion: And", ("Question:", "\\n\\n"))
    'Paris'
    """
    return text[: min((i for s in stop if (i := text.find(s)) >= 0), default=len(text))]


class Stops:
    """Tells which growing answers have reached a stop string.

    Args:
        tokenizer: Of the answers.
        stop: The strings.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: tuple[str, ...]) -> None:
        self._tokenizer, self._stop = tokenizer, stop
        self._closing = torch.tensor(_closing_tokens(tokenizer, stop))

    def reached(self, token: Tensor, tokens: Tensor) -> Tensor:
        """Whether each answer holds a stop string now, [rows].

        Args:
            token: The newest token of each answer, [rows].
            tokens: All of them so far, [rows, length].
        """
        self._closing = self._closing.to(token.device)
        # Models have more logits than their tokenizers have tokens, for padding.
        found = self._closing[token.clamp(max=len(self._closing) - 1)]
        rows = found.nonzero().squeeze(-1)
        if len(rows):
            texts = self._tokenizer.batch_decode(
                tokens[rows], skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
            found[rows] = torch.tensor(
                [any(s in text for s in self._stop) for text in texts], device=token.device
            )
        return found


@functools.lru_cache(maxsize=8)
def _closing_tokens(tokenizer: PreTrainedTokenizerBase, stop: tuple[str, ...]) -> list[bool]:
    """Whether each token can hold the last character of a stop string.

    Only then is an answer's text looked at. A token that is part of a character, or blank (which
    some tokenizers strip), may hold anything.
    """
    texts = tokenizer.batch_decode(
        [[i] for i in range(len(tokenizer))], clean_up_tokenization_spaces=False
    )
    last = {s[-1] for s in stop}
    blank = " " in last
    return [
        "\ufffd" in text or any(c in text for c in last) or (blank and not text.strip())
        for text in texts
    ]
