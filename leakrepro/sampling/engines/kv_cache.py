"""A key-value cache that appends in place and moves only rows that have to move."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer


class Room:
    """Memory for keys and values, which one cache after the other may use.

    Memory that is new costs as much as a fifth of the sampling on CPU: the system hands it out page
    by page.

    Args:
        rows: Sequences at the same time at most.
        length: Tokens of the longest one at most.
    """

    def __init__(self, rows: int, length: int) -> None:
        self.rows, self.length = rows, length
        self._buffers: dict[int, tuple[Tensor, Tensor]] = {}

    def of_layer(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Buffers for states like these, [rows, heads, length, width]; the two may differ."""
        if layer not in self._buffers:
            self._buffers[layer] = (
                keys.new_empty((self.rows, keys.shape[1], self.length, keys.shape[-1])),
                values.new_empty((self.rows, values.shape[1], self.length, values.shape[-1])),
            )
        return self._buffers[layer]


class _RoomyLayer(DynamicLayer):
    """Full attention over buffers with room to spare; ``keys`` and ``values`` are views."""

    _buffers: tuple[Tensor, Tensor]
    _views: tuple[Tensor, Tensor]
    _filled = 0  # positions

    def __init__(self, room: Room, index: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._room, self._index = room, index

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.dtype, self.device = key_states.dtype, key_states.device
            self._buffers = self._room.of_layer(self._index, key_states, value_states)
            self.is_initialized = True
        start, self._filled = self._filled, self._filled + key_states.shape[-2]
        keys, values = self._show(len(key_states))
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


def make_cache(config: PreTrainedConfig, room: Room) -> DynamicCache:
    """The model's dynamic cache, its full-attention layers replaced by ones that append in place.

    A sliding window that all of ``room`` fits into is full attention. Other layers (narrower
    windows, recurrent ones) stay as transformers makes them.
    """
    cache = DynamicCache(config=config)
    for index, layer in enumerate(cache.layers):
        fits = type(layer) is DynamicSlidingWindowLayer and layer.sliding_window >= room.length
        if fits or type(layer) is DynamicLayer:
            cache.layers[index] = _RoomyLayer(room, index)
    return cache
