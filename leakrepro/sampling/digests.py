"""A digest of every sample, kept beside the results that rest on it."""

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


class ChangedSample(NamedTuple):
    """A sample that is not what it was.

    Attributes:
        shard: Path of its shard.
        prompt_id: Its prompt.
        sample: Its index there.
    """

    shard: Path
    prompt_id: str
    sample: int


def digest_file(folder: Path, store: SampleStore) -> Path:
    """Where a results folder keeps the digests of a store: uint64 [samples], in its order."""
    return folder / "digests" / f"{store.identity.key[:16]}.npy"


def keep_digests(store: SampleStore, file: Path, drawn: Collection[int]) -> None:
    """Keeps a store's digests; of samples that have one already, the first stays.

    Args:
        store: A complete store.
        file: From ``digest_file``.
        drawn: Shards that were drawn in this run: theirs are kept anew.

    Raises:
        StoreError: when the store is damaged.
    """
    known = _load(file) if file.exists() else None
    if known is not None and known.size != len(store.prompts) * len(store.each):
        known = None
    if known is not None and not drawn:
        return
    parts, start = [], 0
    for index, table in enumerate(store.read_shards()):
        stop = start + table.num_rows
        fresh = known is None or index in drawn
        parts.append(row_digests(table) if fresh or known is None else known[start:stop])
        start = stop
    buffer = io.BytesIO()
    np.save(buffer, np.concatenate(parts))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, buffer.getvalue())


def changed_samples(store: SampleStore, file: Path) -> Iterator[ChangedSample]:
    """The samples of a store that differ from those whose digests were kept.

    Raises:
        StoreError: when the store or the digests are damaged, or the digests are of other samples.
    """
    known = _load(file)
    if known.size != len(store.prompts) * len(store.each):
        raise StoreError(f"{file} holds digests of other samples than {store.path}")
    start = 0
    for index, table in enumerate(store.read_shards()):
        now = row_digests(table)
        for row in np.flatnonzero(now != known[start : start + now.size]).tolist():
            prompt, sample = (table[name][row].as_py() for name in ("prompt_id", "sample"))
            yield ChangedSample(store.shard_path(index), prompt, sample)
        start += now.size


def row_digests(table: pa.Table) -> NDArray[np.uint64]:
    """One digest a row, of all columns."""
    rows = zip(*(table[name].to_pylist() for name in SCHEMA.names), strict=True)
    digests = (hashlib.blake2b(repr(row).encode(), digest_size=8).digest() for row in rows)
    return np.frombuffer(b"".join(digests), dtype="<u8")


def _load(file: Path) -> NDArray[np.uint64]:
    try:
        digests: NDArray[np.uint64] = np.load(file)
    except (OSError, ValueError, EOFError) as error:
        raise StoreError(f"{file} holds no digests ({error})") from error
    return digests
