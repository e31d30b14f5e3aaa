"""Stop strings, which end an answer. An example is the next question in a few-shot prompt."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase


def cut(text: str, stop: Sequence[str]) -> str:
    """Returns the text before the first stop string.

    >>> cut("Paris\\n\\nQuestion: And", ("Question:", "\\n\\n"))
    'Paris'
    """
    return text[: min((i for s in stop if (i := text.find(s)) >= 0), default=len(text))]


class Stops:
    """Detects which unfinished answers contain a stop string.

    Args:
        tokenizer: The tokenizer of the answers.
        stop: The stop strings.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop: tuple[str, ...]) -> None:
        self._tokenizer, self._stop = tokenizer, stop
        self._closing = torch.tensor(_closing_tokens(tokenizer, stop))

    def reached(self, token: Tensor, tokens: Tensor) -> Tensor:
        """Returns whether each answer contains a stop string, [rows].

        Args:
            token: The last token of each answer, [rows].
            tokens: All tokens of each answer so far, [rows, length].
        """
        self._closing = self._closing.to(token.device)
        # Padded models have more logits than their tokenizers have tokens.
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
    """Returns whether each token can contain the last character of a stop string.

    An answer is decoded only after such a token. Tokens that are part of a character always
    count. Blank tokens count if a stop string ends in a space, because some tokenizers strip them.
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
