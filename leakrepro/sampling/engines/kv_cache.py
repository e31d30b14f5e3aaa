"""A key-value cache that appends in place and copies only rows that change their position."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer


class KVBuffers:
    """Preallocated key and value buffers, reused across batches.

    Allocating new memory takes up to a fifth of the sampling time on CPU, because the system
    provides it page by page.

    Args:
        rows: Maximum number of sequences in a batch.
        length: Maximum number of tokens in a sequence.
    """

    def __init__(self, rows: int, length: int) -> None:
        self.rows, self.length = rows, length
        self._buffers: dict[int, tuple[Tensor, Tensor]] = {}

    def of_layer(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Returns a layer's buffers for keys and values, which may differ in heads and width.

        Args:
            layer: Index of the layer.
            keys: Keys of the expected shape and type, [rows, heads, length, width].
            values: Values of the expected shape and type, [rows, heads, length, width].

        Returns:
            The two buffers. They are allocated on the first call.
        """
        if layer not in self._buffers:
            self._buffers[layer] = (
                keys.new_empty((self.rows, keys.shape[1], self.length, keys.shape[-1])),
                values.new_empty((self.rows, values.shape[1], self.length, values.shape[-1])),
            )
        return self._buffers[layer]


class _PreallocatedLayer(DynamicLayer):
    """Full attention over preallocated buffers. ``keys`` and ``values`` are views of them."""

    _buffers: tuple[Tensor, Tensor]
    _views: tuple[Tensor, Tensor]
    _filled = 0  # number of cached positions

    def __init__(self, buffers: KVBuffers, index: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._shared, self._index = buffers, index

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.dtype, self.device = key_states.dtype, key_states.device
            self._buffers = self._shared.of_layer(self._index, key_states, value_states)
            self.is_initialized = True
        start, self._filled = self._filled, self._filled + key_states.shape[-2]
        keys, values = self._resize_views(len(key_states))
        keys[:, :, start:] = key_states
        values[:, :, start:] = value_states
        return keys, values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keeps, repeats and reorders rows. Rows that keep their position are not copied."""
        if not self.is_initialized:
            return
        stay = torch.arange(len(indices), device=indices.device)
        moved = (indices != stay).nonzero().squeeze(-1)
        # index_select is twice as fast on CPU as indexing with brackets.
        copies = [each.index_select(0, indices[moved]) for each in self._views]
        for view, copy in zip(self._resize_views(len(indices)), copies, strict=True):
            view.index_copy_(0, moved, copy)

    def _resize_views(self, rows: int) -> tuple[Tensor, Tensor]:
        keys, values = (buffer[:rows, :, : self._filled] for buffer in self._buffers)
        self.keys, self.values = self._views = keys, values
        return self._views


def make_cache(config: PreTrainedConfig, buffers: KVBuffers) -> DynamicCache:
    """Returns the model's dynamic cache with full-attention layers that append in place.

    A sliding window of at least ``buffers.length`` tokens counts as full attention. Other layers
    (narrower windows, recurrent layers) are those of transformers.

    Args:
        config: The model's configuration.
        buffers: The buffers to use.
    """
    cache = DynamicCache(config=config)
    for index, layer in enumerate(cache.layers):
        fits = type(layer) is DynamicSlidingWindowLayer and layer.sliding_window >= buffers.length
        if fits or type(layer) is DynamicLayer:
            cache.layers[index] = _PreallocatedLayer(buffers, index)
    return cache
