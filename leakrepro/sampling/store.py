"""Sample stores on disk: a folder with ``manifest.json`` and atomically written shards."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from leakrepro.errors import StoreError
from leakrepro.sampling.manifest import MANIFEST, Manifest, read_manifest
from leakrepro.sampling.manifest import SCHEMA_VERSION as SCHEMA_VERSION
from leakrepro.sampling.manifest import Identity as Identity
from leakrepro.sampling.manifest import prompts_hash as prompts_hash
from leakrepro.storage import provenance
from leakrepro.storage.atomic import locked, write_atomically
from leakrepro.storage.documents import plain, unreadable
from leakrepro.types import Prompt

SHARD_ROWS = 2000
_READERS = 4  # threads that prefetch shards
_ADVICE = "delete it and sample again"
SCHEMA = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("sample", pa.int32()),
        ("text", pa.string()),
        ("n_tokens", pa.int32()),
        ("finish_reason", pa.string()),
        ("seed", pa.int64()),
        ("logprob", pa.float64()),
        ("logq", pa.float64()),
    ]
)


class OtherVersions(UserWarning):
    """Warns that an unfinished store is continued with other versions or on another host."""


class Request(NamedTuple):
    """Samples ``start`` to ``stop - 1`` of one prompt."""

    prompt: Prompt
    start: int
    stop: int


def plan_shards(prompts: Sequence[Prompt], n: int, first: int = 0) -> list[list[Request]]:
    """Assigns samples to shards of ``SHARD_ROWS`` consecutive rows each.

    The result depends only on the arguments, so a store has the same shards on every machine.

    Args:
        prompts: The prompts, in order.
        n: Index after the last sample of each prompt.
        first: Index of the first sample of each prompt.

    Returns:
        The requests of each shard.
    """
    each = n - first
    total = len(prompts) * each
    shards = []
    for start in range(0, total, SHARD_ROWS):
        stop = min(total, start + SHARD_ROWS)
        shards.append(
            [
                Request(
                    prompts[i],
                    first + max(start - i * each, 0),
                    first + min(stop - i * each, each),
                )
                for i in range(start // each, (stop - 1) // each + 1)
            ]
        )
    return shards


@dataclass(frozen=True)
class SampleStore:
    """The samples of one model for one list of prompts and one decoding.

    Args:
        path: The folder; it may not exist yet.
        identity: The inputs that determine the samples. A folder with another identity is
            rejected.
        prompts: The prompts, in order.
        made_with: Versions and host facts. They are recorded when the store is created and are not
            part of the key.
    """

    path: Path
    identity: Identity
    prompts: tuple[Prompt, ...]
    made_with: Mapping[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def plan(self) -> list[list[Request]]:
        """The requests of every shard."""
        return plan_shards(self.prompts, self.identity.decoding.n, self.identity.first)

    @property
    def each(self) -> range:
        """Indices of each prompt's samples."""
        return range(self.identity.first, self.identity.decoding.n)

    def shard_path(self, index: int) -> Path:
        return self.path / _shard_name(index)

    def missing(self) -> list[int]:
        """Returns the indices of the shards that do not exist yet, in order."""
        there = self._there()
        return [i for i in range(len(self.plan)) if _shard_name(i) not in there]

    def is_complete(self) -> bool:
        """Returns whether the manifest and all shards exist. ``read`` checks their content."""
        return MANIFEST in self._there() and not self.missing()

    def check(self) -> None:
        """Checks the manifest and the file names. ``read`` checks the shards.

        Raises:
            StoreError: If the store belongs to another run, if it contains other files, or if a
                shard is missing.
        """
        _ = self._manifest_matches
        self._check_names()
        if missing := self.missing():
            raise StoreError(
                f"{self.shard_path(missing[0])} is missing: the store is unfinished, sample again "
                "to complete it"
            )
        provenance.note_store(self.path)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Creates or continues the store and locks it until the block ends.

        A second process that opens the same store waits here and then finds it complete.

        Raises:
            StoreError: If the folder belongs to another run, or if it cannot be written.
        """
        with self._disk(), contextlib.ExitStack() as stack:
            self.path.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(self.path))
            self._check_names()
            if MANIFEST in self._there():
                _ = self._manifest_matches
            else:
                manifest = Manifest(self.identity, self.prompts, self.made_with)
                write_atomically(self.path / MANIFEST, manifest.dump())
            for leftover in self.path.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)
            lock = stack.pop_all()
        with lock:
            missing = self.missing()
            yield
            if not self.missing():
                provenance.note_store(self.path, missing)

    def write(self, index: int, table: pa.Table) -> None:
        """Writes one shard. Call it only inside ``writing``.

        Args:
            index: Index of the shard.
            table: The shard's rows, with the columns of ``SCHEMA``.

        Raises:
            StoreError: If the disk is full or the folder is not writable. Shards that are already
                written stay intact.
        """
        table = table.cast(SCHEMA).replace_schema_metadata(self._stamp(index))
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
        with self._disk():
            write_atomically(self.shard_path(index), buffer.getvalue())

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Reads all samples, ordered by prompt and then by sample index.

        Args:
            columns: Names of the columns to read. The result is in the order of ``SCHEMA``. None
                reads all columns.

        Returns:
            A table with one row per sample.

        Raises:
            StoreError: If a file is missing, damaged or belongs to another store. The message
                names the file.
            ValueError: If a column does not exist.
        """
        tables = list(self.read_shards(columns))
        return pa.concat_tables(tables).combine_chunks()

    def read_shards(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yields the samples shard by shard, for stores that do not fit into memory.

        Args:
            columns: Names of the columns to read. The result is in the order of ``SCHEMA``. None
                reads all columns.

        Raises:
            StoreError: If a file is missing, damaged or belongs to another store. The message
                names the file.
            ValueError: If a column does not exist.
        """
        if columns is not None and (unknown := set(columns) - set(SCHEMA.names)):
            raise ValueError(
                f"unknown column {unknown.pop()!r}; a store has {', '.join(SCHEMA.names)}"
            )
        self.check()
        with ThreadPoolExecutor(_READERS) as pool:
            for start in range(0, len(self.plan), 4 * _READERS):
                ahead = range(start, min(start + 4 * _READERS, len(self.plan)))
                try:
                    tables = pool.map(lambda index: self._read_shard(index, columns), ahead)
                except RuntimeError as error:  # a thread cannot be started
                    raise unreadable(self.path, error, _ADVICE) from error
                yield from tables

    def _read_shard(self, index: int, columns: Sequence[str] | None) -> pa.Table:
        path, requests = self.shard_path(index), self.plan[index]
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                table = file.read(columns=columns and [n for n in SCHEMA.names if n in columns])
                rows, schema = file.metadata.num_rows, file.schema_arrow
        except FileNotFoundError as error:
            raise StoreError(f"{path} is missing: sample again to draw it") from error
        except (pa.ArrowException, OSError, ValueError, RuntimeError, MemoryError) as error:
            raise unreadable(path, error, _ADVICE) from error
        stamp = schema.metadata or {}
        for name, value in self._stamp(index).items():
            if stamp.get(name.encode()) != value.encode():
                raise StoreError(f"{path} is not a shard of this store (its {name} differs)")
        if not (
            schema.equals(SCHEMA)
            and rows == table.num_rows == sum(r.stop - r.start for r in requests)
            and _rows_are(requests, table)
        ):
            raise StoreError(f"{path} does not contain the planned rows: {_ADVICE}")
        return table.replace_schema_metadata(None)

    def _stamp(self, index: int) -> dict[str, str]:
        return {
            "leakrepro.key": self.identity.key,
            "leakrepro.prompts": self.identity.prompts,
            "leakrepro.shard": str(index),
        }

    @functools.cached_property
    def _manifest_matches(self) -> bool:
        """True if the manifest has this store's identity; otherwise raises StoreError.

        The result is cached, because a manifest with thousands of prompts is slow to parse.
        """
        manifest = read_manifest(self.path)
        held, asked = manifest.identity.to_json(), self.identity.to_json()
        if held != asked:
            other = [name for name in asked if held.get(name) != asked[name]]
            raise StoreError(
                f"{self.path / MANIFEST} belongs to other samples (differs in: "
                f"{', '.join(other)}); choose another folder"
            )
        before, now = manifest.made_with, plain(dict(self.made_with))
        changed = [name for name in now if before.get(name) != now[name]]
        if changed and self.missing():
            facts = ", ".join(f"{name} {before.get(name)} -> {now[name]}" for name in changed)
            warnings.warn(
                f"{self.path} was created with other versions and continues with: {facts}",
                OtherVersions,
                stacklevel=4,
            )
        return True

    def _there(self) -> set[str]:
        """Returns the names in the folder, none if it does not exist."""
        try:
            return set(os.listdir(self.path))  # much faster than creating Path objects
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise unreadable(self.path, error, _ADVICE) from error

    def _check_names(self) -> None:
        """Rejects files that are not part of this store. Hidden files are ignored."""
        there = self._there()
        shards = {_shard_name(i) for i in range(len(self.plan))}
        for name in sorted(there - shards - {MANIFEST}):
            if not name.startswith("."):
                raise StoreError(
                    f"{self.path / name} does not belong to a sample store of this plan"
                )
        if MANIFEST not in there and there & shards:
            raise StoreError(f"{self.path} contains shards but no {MANIFEST}")

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """Converts an OSError to a StoreError that reports how many shards are written."""
        try:
            yield
        except OSError as error:
            total = len(self.plan)
            safe = total - len(self.missing()) if self.path.is_dir() else 0
            raise StoreError(
                f"cannot write to {self.path}: {error.strerror or error}. {safe} of {total} "
                "shards are safe; once it can be written, the same call continues from there"
            ) from error


def _shard_name(index: int) -> str:
    return f"shard-{index:05d}.parquet"


def _rows_are(requests: Sequence[Request], table: pa.Table) -> bool:
    """Returns whether the prompt ids and sample indices match the plan, if they were read."""
    counts = [r.stop - r.start for r in requests]
    names = set(table.column_names)
    if "prompt_id" in names:
        ids = pa.array([r.prompt.id for r in requests], pa.string())
        owner = np.repeat(np.arange(len(requests)), counts)
        if not table["prompt_id"].combine_chunks().equals(ids.take(pa.array(owner))):
            return False
    if "sample" in names:
        samples = np.concatenate([np.arange(r.start, r.stop) for r in requests])
        return bool(np.array_equal(table["sample"].to_numpy(), samples))
    return True


def open_store(path: str | Path) -> SampleStore:
    """Opens the store in a folder with the identity in its manifest.

    Stores of schema version 2 can be opened as well. No request has their key.

    Raises:
        StoreError: If the manifest is missing or damaged, could not be opened, or has an unknown
            schema version.
    """
    path = Path(path)
    manifest = read_manifest(path)
    store = SampleStore(path, manifest.identity, manifest.prompts, manifest.made_with)
    vars(store)["_manifest_matches"] = True
    return store
