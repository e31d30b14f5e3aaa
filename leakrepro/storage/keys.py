"""Content keys: a hash of all inputs that determine an artifact."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from leakrepro.types import Prompt


def digest(value: Any) -> str:
    """32 hexadecimal digits of blake2b-128 over the canonical JSON of ``value``.

    Args:
        value: A value that JSON can hold. Dataclasses are hashed as their fields, tuples as lists.

    Raises:
        TypeError: for any other value, because its text might contain a memory address.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=fields)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    """32 hexadecimal digits of blake2b-128 over a file's bytes.

    Raises:
        OSError: when the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def pairs_digest(prompts: Iterable[Prompt]) -> str:
    """Digest of a training set: questions with their answers, in order."""
    return digest([[list(map(dict, p.messages)), p.reference] for p in prompts])


def fields(value: Any) -> Any:
    """The fields of a dataclass, for ``json.dumps(default=...)``.

    An int in a field declared as float becomes a float: ``temperature=1`` and ``temperature=1.0``
    are equal, but their JSON differs. A field that was added later has ``keyed: unless default`` in
    its metadata and is left out at its default, so that existing keys do not change.

    Raises:
        TypeError: for a value that is not a dataclass instance.
    """
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        raise TypeError(f"{type(value).__name__} cannot be part of a key")
    content = {}
    for field in dataclasses.fields(value):
        held = getattr(value, field.name)
        if "keyed" in field.metadata and held == field.default:
            continue
        content[field.name] = held
        # `from __future__ import annotations` makes types strings.
        if field.type in (float, "float") and isinstance(content[field.name], int):
            content[field.name] = float(content[field.name])
    return content
