"""Sample stores on disk: a folder with ``manifest.json`` and atomically written shards."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
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
from leakrepro.storage import provenance
from leakrepro.storage.atomic import locked, write_atomically
from leakrepro.storage.keys import digest, fields
from leakrepro.types import Decoding, Prompt, check_prompts

SCHEMA_VERSION = 2
SHARD_ROWS = 2000
_READERS = 4  # threads that prefetch shards
MANIFEST = "manifest.json"
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


@dataclass(frozen=True)
class Identity:
    """All inputs that determine the samples. Their hash is the store's key.

    Args:
        weights: Fingerprint of the model's weights.
        tokenizer: Fingerprint of the tokenizer and its chat template.
        prompts: ``prompts_hash`` of the prompts.
        decoding: The decoding settings.
        engine: Name of the sampling engine.
        engine_version: Version of the engine. It increases whenever the same request would produce
            different samples.
        dtype: Type of the weights while sampling.
        eos: Token ids that end an answer.
        logits_processors: Ids of the logits processors, in order.
        first: Index of each prompt's first sample; the last is ``decoding.n - 1``. It is above 0 in
            the later rounds of an adaptive plan.
    """

    weights: str
    tokenizer: str
    prompts: str
    decoding: Decoding
    engine: str
    engine_version: int
    dtype: str
    eos: tuple[int, ...] = ()
    logits_processors: tuple[str, ...] = ()
    first: int = 0

    @property
    def key(self) -> str:
        return digest(self.to_json())

    def to_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA_VERSION, **_plain(self)}


def prompts_hash(prompts: Sequence[Prompt]) -> str:
    """Returns a hash of the prompts' ids and messages, in order.

    References and facts are excluded, because they do not affect the samples.
    """
    return digest([[prompt.id, [dict(m) for m in prompt.messages]] for prompt in prompts])


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
        there = set(os.listdir(self.path)) if self.path.is_dir() else set()
        return [i for i in range(len(self.plan)) if _shard_name(i) not in there]

    def is_complete(self) -> bool:
        """Returns whether the manifest and all shards exist. ``read`` checks their content."""
        return (self.path / MANIFEST).exists() and not self.missing()

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
            if (self.path / MANIFEST).exists():
                _ = self._manifest_matches
            else:
                write_atomically(self.path / MANIFEST, self._manifest())
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
                yield from pool.map(lambda index: self._read_shard(index, columns), ahead)

    def _read_shard(self, index: int, columns: Sequence[str] | None) -> pa.Table:
        path, requests = self.shard_path(index), self.plan[index]
        advice = "delete it and sample again"
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                table = file.read(columns=columns and [n for n in SCHEMA.names if n in columns])
                rows, schema = file.metadata.num_rows, file.schema_arrow
        except (pa.ArrowException, OSError, ValueError) as error:
            raise StoreError(f"{path} is damaged ({error}): {advice}") from error
        stamp = schema.metadata or {}
        for name, value in self._stamp(index).items():
            if stamp.get(name.encode()) != value.encode():
                raise StoreError(f"{path} is not a shard of this store (its {name} differs)")
        if not (
            schema.equals(SCHEMA)
            and rows == table.num_rows == sum(r.stop - r.start for r in requests)
            and _rows_are(requests, table)
        ):
            raise StoreError(f"{path} does not contain the planned rows: {advice}")
        return table.replace_schema_metadata(None)

    def _stamp(self, index: int) -> dict[str, str]:
        return {
            "leakrepro.key": self.identity.key,
            "leakrepro.prompts": self.identity.prompts,
            "leakrepro.shard": str(index),
        }

    def _manifest(self) -> bytes:
        content = {
            "key": self.identity.key,
            "asked": self.identity.to_json(),
            "made_with": _plain(dict(self.made_with)),
            "prompts": [_plain(dataclasses.asdict(prompt)) for prompt in self.prompts],
        }
        return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()

    @functools.cached_property
    def _manifest_matches(self) -> bool:
        """True if the manifest has this store's identity; otherwise raises StoreError.

        The result is cached, because a manifest with thousands of prompts is slow to parse.
        """
        manifest = _read_manifest(self.path)
        path = self.path / MANIFEST
        asked = self.identity.to_json()
        if manifest["asked"] != asked:
            other = [name for name in asked if manifest["asked"].get(name) != asked[name]]
            raise StoreError(
                f"{path} belongs to other samples (differs in: {', '.join(other) or 'schema'}); "
                "choose another folder"
            )
        before, now = manifest["made_with"], _plain(dict(self.made_with))
        changed = [name for name in now if before.get(name) != now[name]]
        if changed and self.missing():
            facts = ", ".join(f"{name} {before.get(name)} -> {now[name]}" for name in changed)
            warnings.warn(
                f"{self.path} was created with other versions and continues with: {facts}",
                OtherVersions,
                stacklevel=4,
            )
        return True

    def _check_names(self) -> None:
        """Rejects files that are not part of this store. Hidden files are ignored."""
        there = set(os.listdir(self.path))  # much faster than creating Path objects
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

    Raises:
        StoreError: If the manifest is missing, truncated or has another schema version.
    """
    path = Path(path)
    manifest = _read_manifest(path)
    asked = dict(manifest["asked"])
    asked.pop("schema")
    asked["decoding"] = Decoding(**asked["decoding"])
    for name in ("eos", "logits_processors"):
        asked[name] = tuple(asked[name])
    identity = Identity(**asked)
    prompts = check_prompts([Prompt(**prompt) for prompt in manifest["prompts"]])
    if prompts_hash(prompts) != identity.prompts:
        raise StoreError(f"{path / MANIFEST} is damaged: its prompts do not match their hash")
    store = SampleStore(path, identity, prompts, manifest["made_with"])
    vars(store)["_manifest_matches"] = True
    return store


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise StoreError(f"{folder} is not a sample store (no {MANIFEST})")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        asked = manifest["asked"]
        schema = asked["schema"]
        intact = manifest["key"] == digest(asked) and {"made_with", "prompts"} <= manifest.keys()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is truncated or not a store's manifest ({error})") from error
    if schema != SCHEMA_VERSION:
        raise StoreError(f"{path} has schema {schema}; this version reads {SCHEMA_VERSION}")
    if not intact:
        raise StoreError(f"{path} is damaged: its key does not match its content")
    return dict(manifest)


def _plain(content: Any) -> Any:
    """Returns the value after a round trip through JSON."""
    return json.loads(json.dumps(content, default=fields))
