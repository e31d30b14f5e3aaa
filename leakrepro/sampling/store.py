"""Samples on disk: a folder with ``manifest.json`` and Parquet shards that survive a kill."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from leakrepro.errors import StoreError
from leakrepro.files import locked, write_atomically
from leakrepro.keys import digest
from leakrepro.types import Decoding, Prompt, check_prompts

SCHEMA_VERSION = 1
SHARD_ROWS = 2000
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

    @property
    def key(self) -> str:
        return digest(self.to_json())

    def to_json(self) -> dict[str, Any]:
        return {"schema": SCHEMA_VERSION, **_plain(dataclasses.asdict(self))}


def prompts_hash(prompts: Sequence[Prompt]) -> str:
    """Hash of ids and messages in order. References and facts do not change what is sampled."""
    return digest([[prompt.id, [dict(m) for m in prompt.messages]] for prompt in prompts])


def plan_shards(prompts: Sequence[Prompt], decoding: Decoding) -> list[list[Request]]:
    """Which samples go into which shard: ``SHARD_ROWS`` consecutive rows each.

    It depends on nothing else, so that the same store has the same shards on every machine.
    """
    n = decoding.n
    total = len(prompts) * n
    shards = []
    for first in range(0, total, SHARD_ROWS):
        last = min(total, first + SHARD_ROWS)
        shards.append(
            [
                Request(prompts[i], max(first - i * n, 0), min(last - i * n, n))
                for i in range(first // n, (last - 1) // n + 1)
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

    @property
    def plan(self) -> list[list[Request]]:
        """The requests of every shard."""
        return plan_shards(self.prompts, self.identity.decoding)

    def shard_path(self, index: int) -> Path:
        return self.path / f"shard-{index:05d}.parquet"

    def missing(self) -> list[int]:
        """Indices of the shards that are not there yet, in order."""
        return [i for i in range(len(self.plan)) if not self.shard_path(i).exists()]

    def is_complete(self) -> bool:
        """Whether the manifest and all shards are there; ``read`` checks them."""
        return (self.path / MANIFEST).exists() and not self.missing()

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
                self._check_manifest()
            else:
                write_atomically(self.path / MANIFEST, self._manifest())
            for leftover in self.path.glob(".*.tmp"):
                leftover.unlink(missing_ok=True)
            lock = stack.pop_all()
        with lock:
            yield

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

    def read(self) -> pa.Table:
        """All samples, by prompt and then by sample.

        Raises:
            StoreError: naming the file that is missing, torn, or of another store.
        """
        self._check_manifest()
        self._check_names()
        tables = [self._read_shard(i, requests) for i, requests in enumerate(self.plan)]
        return pa.concat_tables(tables).replace_schema_metadata(None).combine_chunks()

    def _read_shard(self, index: int, requests: Sequence[Request]) -> pa.Table:
        path = self.shard_path(index)
        advice = "delete it and sample again to draw it anew"
        if not path.exists():
            raise StoreError(f"{path} is missing: the store is unfinished, sample again to go on")
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                table = file.read()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise StoreError(f"{path} is damaged ({error}): {advice}") from error
        stamp = table.schema.metadata or {}
        for name, value in self._stamp(index).items():
            if stamp.get(name.encode()) != value.encode():
                raise StoreError(f"{path} is not a shard of this store (its {name} differs)")
        ids = [r.prompt.id for r in requests for _ in range(r.start, r.stop)]
        samples = [i for r in requests for i in range(r.start, r.stop)]
        if (
            not table.schema.equals(SCHEMA)
            or table["prompt_id"].to_pylist() != ids
            or table["sample"].to_pylist() != samples
        ):
            raise StoreError(f"{path} does not hold the rows of the plan: {advice}")
        return table

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

    def _check_manifest(self) -> None:
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

    def _check_names(self) -> None:
        """Refuses files that no store of this plan has; hidden ones are the system's business."""
        known = {MANIFEST, *(self.shard_path(i).name for i in range(len(self.plan)))}
        for file in sorted(self.path.iterdir()):
            if file.name not in known and not file.name.startswith("."):
                raise StoreError(f"{file} does not belong to a sample store of this plan")
        if not (self.path / MANIFEST).exists() and len(self.missing()) < len(self.plan):
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
    return SampleStore(path, identity, prompts, manifest["made_with"])


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
    return json.loads(json.dumps(content))
