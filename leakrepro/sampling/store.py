"""Samples on disk: a folder with ``manifest.json`` and Parquet shards that survive a kill."""

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
_READERS = 4  # threads that read shards ahead
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
    """An unfinished store goes on under other versions or on another host."""


class Request(NamedTuple):
    """Samples ``start`` to ``stop - 1`` of one prompt."""

    prompt: Prompt
    start: int
    stop: int


@dataclass(frozen=True)
class Identity:
    """All that changes the samples; its hash is the store's key.

    Args:
        weights: Fingerprint of the model.
        tokenizer: Fingerprint of its tokenizer and chat template.
        prompts: ``prompts_hash`` of the prompts.
        decoding: How samples are drawn.
        engine: Name of the sampling engine.
        engine_version: Grows when the same request gives other samples.
        dtype: Type of the weights while sampling.
        eos: Token ids that end an answer.
        logits_processors: Their ids, in order.
        first: Index of each prompt's first sample; the last is ``decoding.n - 1``. Above 0 in the
            later rounds of an adaptive plan.
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
    """Hash of ids and messages in order. References and facts do not change what is sampled."""
    return digest([[prompt.id, [dict(m) for m in prompt.messages]] for prompt in prompts])


def plan_shards(prompts: Sequence[Prompt], n: int, first: int = 0) -> list[list[Request]]:
    """Which samples go into which shard: ``SHARD_ROWS`` consecutive rows each.

    It depends on nothing else, so that the same store has the same shards on every machine.

    Args:
        prompts: The prompts, in order.
        n: Each prompt's samples are those before this index ...
        first: ... and from this one on.
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
    """One model's samples of one list of prompts under one decoding.

    Args:
        path: The folder; it may not exist yet.
        identity: What was asked; a folder made for anything else is refused.
        prompts: The prompts, in order.
        made_with: Versions and host facts, recorded when the store is begun, not part of the key.
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
        """Indices of the samples of every prompt."""
        return range(self.identity.first, self.identity.decoding.n)

    def shard_path(self, index: int) -> Path:
        return self.path / _shard_name(index)

    def missing(self) -> list[int]:
        """Indices of the shards that are not there yet, in order."""
        there = set(os.listdir(self.path)) if self.path.is_dir() else set()
        return [i for i in range(len(self.plan)) if _shard_name(i) not in there]

    def is_complete(self) -> bool:
        """Whether the manifest and all shards are there; ``read`` checks them."""
        return (self.path / MANIFEST).exists() and not self.missing()

    def check(self) -> None:
        """Opens the store for reading: checks manifest and names; shards are checked when read.

        Raises:
            StoreError: for a store of something else, a file that does not belong, and a shard
                that is missing.
        """
        _ = self._is_ours
        self._check_names()
        if missing := self.missing():
            raise StoreError(
                f"{self.shard_path(missing[0])} is missing: the store is unfinished, sample again "
                "to go on"
            )
        provenance.note_store(self.path)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Begins or goes on with the store and keeps other writers out until the block ends.

        A second process that asks for the same store waits here and then finds it filled.

        Raises:
            StoreError: when the folder belongs to something else or cannot be written.
        """
        with self._disk(), contextlib.ExitStack() as stack:
            self.path.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(self.path))
            self._check_names()
            if (self.path / MANIFEST).exists():
                _ = self._is_ours
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
        """Writes one shard; inside ``writing`` only.

        Raises:
            StoreError: when the disk is full or the folder not writable. The shards before it
                are safe.
        """
        table = table.cast(SCHEMA).replace_schema_metadata(self._stamp(index))
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
        with self._disk():
            write_atomically(self.shard_path(index), buffer.getvalue())

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All samples, by prompt and then by sample.

        Args:
            columns: Only these columns of ``SCHEMA``, in its order.

        Raises:
            StoreError: naming the file that is missing, torn, or of another store.
            ValueError: for a column that there is not.
        """
        tables = list(self.read_shards(columns))
        return pa.concat_tables(tables).combine_chunks()

    def read_shards(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The same shard by shard, so that a large store need not fit into memory.

        Raises:
            StoreError: as ``read``.
            ValueError: as ``read``.
        """
        if columns is not None and (unknown := set(columns) - set(SCHEMA.names)):
            raise ValueError(f"a store has no column {unknown.pop()!r}; {', '.join(SCHEMA.names)}")
        self.check()
        with ThreadPoolExecutor(_READERS) as pool:
            for start in range(0, len(self.plan), 4 * _READERS):
                ahead = range(start, min(start + 4 * _READERS, len(self.plan)))
                yield from pool.map(lambda index: self._read_shard(index, columns), ahead)

    def _read_shard(self, index: int, columns: Sequence[str] | None) -> pa.Table:
        path, requests = self.shard_path(index), self.plan[index]
        advice = "delete it and sample again to draw it anew"
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
            raise StoreError(f"{path} does not hold the rows of the plan: {advice}")
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
    def _is_ours(self) -> bool:
        """True, or StoreError; read once, since thousands of prompts take a while to parse."""
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
                f"{self.path} was begun with other versions and goes on with these: {facts}",
                OtherVersions,
                stacklevel=4,
            )
        return True

    def _check_names(self) -> None:
        """Refuses files that no store of this plan has; hidden ones are the system's business."""
        there = set(os.listdir(self.path))  # a Path object for each file takes longer than all else
        shards = {_shard_name(i) for i in range(len(self.plan))}
        for name in sorted(there - shards - {MANIFEST}):
            if not name.startswith("."):
                raise StoreError(
                    f"{self.path / name} does not belong to a sample store of this plan"
                )
        if MANIFEST not in there and there & shards:
            raise StoreError(f"{self.path} holds shards and no {MANIFEST}")

    @contextlib.contextmanager
    def _disk(self) -> Iterator[None]:
        """Turns an OSError into one that says what is safe."""
        try:
            yield
        except OSError as error:
            total = len(self.plan)
            safe = total - len(self.missing()) if self.path.is_dir() else 0
            raise StoreError(
                f"cannot write to {self.path}: {error.strerror or error}. {safe} of {total} "
                "shards are safe; once it can be written, the same call goes on from there"
            ) from error


def _shard_name(index: int) -> str:
    return f"shard-{index:05d}.parquet"


def _rows_are(requests: Sequence[Request], table: pa.Table) -> bool:
    """Whether the columns that say whose samples these are agree with the plan, where read."""
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
    """The store in a folder, as its manifest describes it.

    Raises:
        StoreError: when there is no manifest, or it is torn or of another schema.
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
        raise StoreError(f"{path / MANIFEST} is damaged: its prompts are not those asked for")
    store = SampleStore(path, identity, prompts, manifest["made_with"])
    vars(store)["_is_ours"] = True
    return store


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.is_file():
        raise StoreError(f"{folder} is no sample store: it has no {MANIFEST}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        asked = manifest["asked"]
        schema = asked["schema"]
        intact = manifest["key"] == digest(asked) and {"made_with", "prompts"} <= manifest.keys()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is not a store's manifest, or torn ({error})") from error
    if schema != SCHEMA_VERSION:
        raise StoreError(f"{path} has schema {schema}; this version reads {SCHEMA_VERSION}")
    if not intact:
        raise StoreError(f"{path} is damaged: its key does not match its content")
    return dict(manifest)


def _plain(content: Any) -> Any:
    """The value as JSON gives it back."""
    return json.loads(json.dumps(content, default=fields))
