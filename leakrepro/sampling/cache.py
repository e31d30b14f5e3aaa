"""A key-value cache that appends in place and moves only rows that have to move."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer


class _RoomyLayer(DynamicLayer):
    """Full attention over buffers with room to spare; ``keys`` and ``values`` are views."""

    _buffers: tuple[Tensor, Tensor]
    _views: tuple[Tensor, Tensor]
    _filled = 0  # positions

    def __init__(self, rows: int, length: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._room = rows, length

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        rows, heads, more, _ = key_states.shape
        if not self.is_initialized:
            self.dtype, self.device = key_states.dtype, key_states.device
            most, length = self._room
            # The two may differ in width.
            self._buffers = (
                key_states.new_empty((most, heads, length, key_states.shape[-1])),
                value_states.new_empty((most, heads, length, value_states.shape[-1])),
            )
            self.is_initialized = True
        start, self._filled = self._filled, self._filled + more
        keys, values = self._show(rows)
        keys[:, :, start:] = key_states
        values[:, :, start:] = value_states
        return keys, values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keeps, repeats and reorders rows; one that stays in its place is not copied."""
        if not self.is_initialized:
            return
        stay = torch.arange(len(indices), device=indices.device)
        moved = (indices != stay).nonzero().squeeze(-1)
        # index_select is twice as fast on CPU as indexing with brackets.
        copies = [each.index_select(0, indices[moved]) for each in self._views]
        for view, copy in zip(self._show(len(indices)), copies, strict=True):
            view.index_copy_(0, moved, copy)

    def _show(self, rows: int) -> tuple[Tensor, Tensor]:
        keys, values = (buffer[:rows, :, : self._filled] for buffer in self._buffers)
        self.keys, self.values = self._views = keys, values
        return self._views


def make_cache(config: PreTrainedConfig, rows: int, length: int) -> DynamicCache:
    """The model's dynamic cache, its full-attention layers replaced by ones that append in place.

    Layers of other kinds (sliding window, recurrent) stay as transformers makes them.

    Args:
        config: The model's.
        rows: Sequences at the same time at most.
        length: Tokens of the longest one at most.
    """
    cache = DynamicCache(config=config)
    cache.layers = [
        _RoomyLayer(rows, length) if type(layer) is DynamicLayer else layer
        for layer in cache.layers
    ]
    return cache
