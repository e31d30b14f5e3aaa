"""Buffers of Arrow string arrays, which the kernel reads without copying the texts."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]


def is_arrow(values: object) -> bool:
    """Return whether this is an Arrow array; pyarrow is imported if there is one."""
    arrow = sys.modules.get("pyarrow")
    return arrow is not None and isinstance(values, (arrow.Array, arrow.ChunkedArray))


def strings(array: Any, what: str) -> tuple[Bytes, Offsets]:
    """Return the UTF-8 bytes of an array of strings, and the offsets of the strings.

    Args:
        array: Arrow array.
        what: Singular noun for one string, for error messages.

    Raises:
        TypeError: If the array is not an array of strings, or contains a null.
    """
    array = _whole(array)
    if array.null_count:
        first = array.is_null().to_numpy(zero_copy_only=False).argmax()
        raise TypeError(f"{what} {first} must be a string, not NoneType")
    return _buffers(array, f"{what}s")


def lists(array: Any) -> tuple[Bytes, Offsets, Offsets]:
    """Return bytes and offsets for an array of lists of strings, and the offsets of the lists.

    Raises:
        TypeError: If the array is not an array of lists of strings, or contains a null.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    array = _whole(array)
    try:
        lengths = pc.list_value_length(array)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        raise TypeError(
            f"candidates must be an Arrow array of lists of strings, not {array.type}"
        ) from None
    if array.null_count:
        first = array.is_null().to_numpy(zero_copy_only=False).argmax()
        raise TypeError(f"candidates of reference {first} must be a list, not NoneType")
    groups = np.zeros(len(array) + 1, dtype=np.int64)
    np.cumsum(lengths.to_numpy(zero_copy_only=False), out=groups[1:])
    texts = array.flatten()
    if texts.null_count:
        first = int(texts.is_null().to_numpy(zero_copy_only=False).argmax())
        row = int(np.searchsorted(groups, first, side="right")) - 1
        raise TypeError(
            f"candidate {first - groups[row]} of reference {row} must be a string, not NoneType"
        )
    return *_buffers(texts, "candidates"), groups


def _whole(array: Any) -> Any:
    import pyarrow as pa

    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _buffers(array: Any, what: str) -> tuple[Bytes, Offsets]:
    import pyarrow as pa
    import pyarrow.types as kinds

    kind = array.type.value_type if kinds.is_dictionary(array.type) else array.type
    if not (kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind)):
        raise TypeError(f"{what} must be an Arrow array of strings, not {array.type}")
    array = array.cast(pa.large_string())
    _, offsets, data = array.buffers()
    if len(array) == 0:  # an empty array may not have buffers
        return np.zeros(0, np.uint8), np.zeros(1, np.int64)
    return (
        np.frombuffer(data or b"", np.uint8),
        np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1],
    )
