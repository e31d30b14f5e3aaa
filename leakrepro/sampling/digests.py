"""Digests of all samples, stored with the results that are computed from them."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from leakrepro.errors import StoreError
from leakrepro.sampling.store import SCHEMA, SampleStore
from leakrepro.storage.atomic import write_atomically
from leakrepro.storage.documents import unreadable


class ChangedSample(NamedTuple):
    """A sample that differs from the one whose digest was stored.

    Attributes:
        shard: Path of the shard that holds the sample.
        prompt_id: Id of the sample's prompt.
        sample: Index of the sample within its prompt.
    """

    shard: Path
    prompt_id: str
    sample: int


def digest_file(folder: Path, store: SampleStore) -> Path:
    """Returns the path of a store's digests in a results folder.

    The file is a NumPy array, uint64 [samples], in the order of the store.
    """
    return folder / "digests" / f"{store.identity.key[:16]}.npy"


def keep_digests(store: SampleStore, file: Path, drawn: Collection[int]) -> None:
    """Writes the digests of a store's samples.

    A digest that the file already holds is not replaced, unless its shard is in ``drawn``.

    Args:
        store: A complete store.
        file: Path from ``digest_file``.
        drawn: Indices of the shards that this run drew. Their digests are computed again.

    Raises:
        StoreError: If the store is damaged.
    """
    known = _load(file) if file.exists() else None
    if known is not None and known.size != len(store.prompts) * len(store.each):
        known = None
    if known is not None and not drawn:
        return
    parts, start = [], 0
    for index, table in enumerate(store.read_shards()):
        stop = start + table.num_rows
        if known is None or index in drawn:
            parts.append(row_digests(table))
        else:
            parts.append(known[start:stop])
        start = stop
    buffer = io.BytesIO()
    np.save(buffer, np.concatenate(parts))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, buffer.getvalue())


def changed_samples(store: SampleStore, file: Path) -> Iterator[ChangedSample]:
    """Yields the samples of a store that do not match their stored digests.

    Raises:
        StoreError: If the store or the digest file is damaged, or if the digests belong to
            another store.
    """
    known = _load(file)
    if known.size != len(store.prompts) * len(store.each):
        raise StoreError(f"{file} does not hold the digests of {store.path}")
    start = 0
    for index, table in enumerate(store.read_shards()):
        now = row_digests(table)
        for row in np.flatnonzero(now != known[start : start + now.size]).tolist():
            prompt, sample = (table[name][row].as_py() for name in ("prompt_id", "sample"))
            yield ChangedSample(store.shard_path(index), prompt, sample)
        start += now.size


def row_digests(table: pa.Table) -> NDArray[np.uint64]:
    """Returns one digest per row, computed from all columns."""
    rows = zip(*(table[name].to_pylist() for name in SCHEMA.names), strict=True)
    digests = (hashlib.blake2b(repr(row).encode(), digest_size=8).digest() for row in rows)
    return np.frombuffer(b"".join(digests), dtype="<u8")


def _load(file: Path) -> NDArray[np.uint64]:
    try:
        digests: NDArray[np.uint64] = np.load(file)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        remedy = "restore it from a copy, or delete it to accept the samples as they are"
        raise unreadable(file, error, remedy) from error
    if digests.dtype != np.uint64 or digests.ndim != 1:
        raise StoreError(f"{file} is not a file of digests: restore it from a copy")
    return digests
