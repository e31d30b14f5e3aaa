"""The manifest of a sample store: what determines its samples, its prompts, and how it was made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from leakrepro.errors import StoreError
from leakrepro.storage.documents import dump_document, plain, read_document, unreadable
from leakrepro.storage.keys import digest
from leakrepro.types import Decoding, Prompt, check_prompts

MANIFEST = "manifest.json"
# 2: neither the rendered prompts nor references and facts were part of the key, and manifests did
# not have a checksum. Such stores can be read by path.
SCHEMA_VERSION = 3
_READABLE = (2, SCHEMA_VERSION)
_REMEDY = "restore it from a copy, or delete the store and sample again"


@dataclass(frozen=True)
class Identity:
    """All inputs that determine the samples and their scores. Their hash is the store's key.

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
        rendered: ``rendered_hash`` of the prompts' token ids; empty for imported samples.
        schema: Version of the key and the manifest. A new store has the newest.
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
    rendered: str = ""
    schema: int = SCHEMA_VERSION

    @property
    def key(self) -> str:
        return digest(self.to_json())

    def to_json(self) -> dict[str, Any]:
        content: dict[str, Any] = plain(self)
        if self.schema < 3:
            del content["rendered"]
        return content


@dataclass(frozen=True)
class Manifest:
    """The content of a store's manifest.

    Args:
        identity: The inputs that determine the samples.
        prompts: The prompts, in order.
        made_with: Versions and host facts.
    """

    identity: Identity
    prompts: tuple[Prompt, ...]
    made_with: Mapping[str, Any] = field(default_factory=dict)

    def dump(self) -> bytes:
        """Returns the content of the file."""
        return dump_document(
            {
                "key": self.identity.key,
                "asked": self.identity.to_json(),
                "made_with": dict(self.made_with),
                "prompts": [dataclasses.asdict(prompt) for prompt in self.prompts],
            }
        )


def prompts_hash(prompts: Sequence[Prompt], schema: int = SCHEMA_VERSION) -> str:
    """Returns a hash of the prompts with everything that scores depend on, in order.

    Args:
        prompts: The prompts.
        schema: Version of the key. Version 2 excluded references, facts and choices, so that a
            corrected answer did not make another store.
    """
    if schema < 3:
        return digest([[p.id, [dict(m) for m in p.messages]] for p in prompts])
    return digest([{**vars(p), "messages": [dict(m) for m in p.messages]} for p in prompts])


def rendered_hash(rendered: Mapping[str, Sequence[int]]) -> str:
    """Returns a hash of the token ids of prompts, by prompt id in order."""
    return digest([[prompt_id, list(ids)] for prompt_id, ids in rendered.items()])


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of a store and checks it completely.

    Raises:
        StoreError: If the folder is not a store, or if the manifest is damaged, could not be
            opened, or has an unknown schema version.
    """
    path = folder / MANIFEST
    try:
        document = read_document(path, _REMEDY)
    except FileNotFoundError as error:
        raise StoreError(f"{folder} is not a sample store (no {MANIFEST})") from error
    schema = _schema(document.content)
    if isinstance(schema, int) and schema not in _READABLE:
        raise StoreError(
            f"{path} has schema {schema}; this version reads {' and '.join(map(str, _READABLE))}"
        )
    try:
        found = _File.model_validate(document.content)
        if schema == SCHEMA_VERSION and not document.has_checksum:
            raise ValueError("its checksum is missing")
        return found.manifest()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise unreadable(path, ValueError(f"{where}: {first['msg']}"), _REMEDY) from error
    except ValueError as error:
        raise unreadable(path, error, _REMEDY) from error


def _schema(content: Mapping[str, Any]) -> Any:
    asked = content.get("asked")
    return asked.get("schema") if isinstance(asked, dict) else None


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Decoding(_Strict):
    temperature: float
    top_p: float
    top_k: int | None
    max_new_tokens: int
    n: int
    seed: int
    stop: list[str] = []


class _Asked(_Strict):
    weights: str
    tokenizer: str
    prompts: str
    decoding: _Decoding
    engine: str
    engine_version: int
    dtype: str
    eos: list[int]
    logits_processors: list[str]
    first: int = Field(ge=0)
    rendered: str = ""
    version: int = Field(alias="schema")


class _Prompt(_Strict):
    id: str
    messages: list[dict[str, str]]
    reference: str
    cluster: str
    side: str
    facts: list[str]
    choices: list[str]


class _File(_Strict):
    """The types of the manifest's fields."""

    key: str
    asked: _Asked
    made_with: dict[str, Any]
    prompts: list[_Prompt]

    def manifest(self) -> Manifest:
        """Returns the manifest; raises ValueError if its parts do not fit together."""
        asked = self.asked
        decoding = asked.decoding.model_dump()
        identity = Identity(
            weights=asked.weights,
            tokenizer=asked.tokenizer,
            prompts=asked.prompts,
            decoding=Decoding(**decoding | {"stop": tuple(asked.decoding.stop)}),
            engine=asked.engine,
            engine_version=asked.engine_version,
            dtype=asked.dtype,
            eos=tuple(asked.eos),
            logits_processors=tuple(asked.logits_processors),
            first=asked.first,
            rendered=asked.rendered,
            schema=asked.version,
        )
        if identity.key != self.key:
            raise ValueError("its key does not match its content")
        if identity.first >= identity.decoding.n:
            raise ValueError("its first sample is not below its number of samples")
        if not all({"role", "content"} <= m.keys() for p in self.prompts for m in p.messages):
            raise ValueError("a message of a prompt does not have a role and a content")
        prompts = check_prompts([Prompt(**dict(prompt)) for prompt in self.prompts])
        if prompts_hash(prompts, identity.schema) != identity.prompts:
            raise ValueError("its prompts do not match their hash")
        return Manifest(identity, prompts, self.made_with)
