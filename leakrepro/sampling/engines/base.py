"""Interfaces of samplers and logits processors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import pyarrow as pa
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from leakrepro.sampling.store import Request
from leakrepro.types import Decoding


class LogitsProcessor(Protocol):
    """Changes scores before decoding, as in transformers.

    Attributes:
        id: A string that changes with the processor's behaviour. It is part of the store's key.
    """

    id: str

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Returns the changed scores.

        Args:
            input_ids: Token ids so far, [rows, length].
            scores: Scores of the next token, [rows, vocabulary].

        Returns:
            Scores of the same shape.
        """
        ...


class Sampler(Protocol):
    """Draws samples from one loaded model.

    Attributes:
        tokenizer: The model's tokenizer.
    """

    tokenizer: PreTrainedTokenizerBase

    def draw(
        self,
        requests: Sequence[Request],
        decoding: Decoding,
        logits_processors: Sequence[LogitsProcessor] = (),
        progress: Callable[[int], None] | None = None,
    ) -> pa.Table:
        """Draws the requested samples: one row of ``store.SCHEMA`` per sample, in order."""
        ...

    def close(self) -> None:
        """Frees the model's memory."""
        ...
