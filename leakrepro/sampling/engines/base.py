"""What every sampling engine provides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import pyarrow as pa
from torch import Tensor

from leakrepro.sampling.store import Request
from leakrepro.types import Decoding


class LogitsProcessor(Protocol):
    """Changes scores before decoding, as in transformers; ``id`` enters the store's key."""

    id: str

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Maps token ids so far [rows, length] and scores [rows, vocabulary] to scores."""
        ...


class Sampler(Protocol):
    """Draws samples of one model that it holds."""

    def draw(
        self,
        requests: Sequence[Request],
        decoding: Decoding,
        logits_processors: Sequence[LogitsProcessor] = (),
        progress: Callable[[int], None] | None = None,
    ) -> pa.Table:
        """One row of ``leakrepro.sampling.store.SCHEMA`` for each sample, in order."""
        ...

    def close(self) -> None:
        """Frees the model's memory."""
        ...
