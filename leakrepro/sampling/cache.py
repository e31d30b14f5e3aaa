"""A key-value cache that appends in place instead of copying all keys at every token."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

_STEP = 32  # positions by which a full layer grows


class _GrowingLayer(DynamicLayer):
    """Full attention over buffers with spare positions; ``keys`` and ``values`` are views."""

    _buffers: tuple[Tensor, Tensor]
    _length = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        start, end = self._length, self._length + key_states.shape[-2]
        if not self.is_initialized:
            self.dtype, self.device = key_states.dtype, key_states.device
            self._buffers = (_room(key_states, end), _room(value_states, end))
            self.is_initialized = True
        elif end > self._buffers[0].shape[-2]:
            wider = _room(self._buffers[0], end), _room(self._buffers[1], end)
            for new, old in zip(wider, self._buffers, strict=True):
                new[:, :, :start] = old[:, :, :start]
            self._buffers = wider
        self._buffers[0][:, :, start:end] = key_states
        self._buffers[1][:, :, start:end] = value_states
        return self._show(end)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keeps (or repeats) the given rows."""
        if self.is_initialized:
            # Twice as fast on CPU as indexing with brackets.
            keys, values = self._buffers
            self._buffers = keys.index_select(0, indices), values.index_select(0, indices)
            self._show(self._length)

    def _show(self, length: int) -> tuple[Tensor, Tensor]:
        keys, values = (buffer[:, :, :length] for buffer in self._buffers)
        self._length, self.keys, self.values = length, keys, values
        return keys, values


def make_cache(config: PreTrainedConfig) -> DynamicCache:
    """The model's dynamic cache, its full-attention layers replaced by ones that append in place.

    Layers of other kinds (sliding window, recurrent) stay as transformers makes them.
    """
    cache = DynamicCache(config=config)
    cache.layers = [
        _GrowingLayer() if type(layer) is DynamicLayer else layer  # type: ignore[no-untyped-call]
        for layer in cache.layers
    ]
    return cache


def _room(like: Tensor, length: int) -> Tensor:
    """An empty buffer of ``like``'s rows and heads, with room for ``length`` positions and more."""
    rows, heads, _, width = like.shape
    room = (length // _STEP + 1) * _STEP
    return torch.empty((rows, heads, room, width), dtype=like.dtype, device=like.device)
