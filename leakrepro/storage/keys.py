"""Content keys: what is made from the same things has the same name."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from typing import Any

from leakrepro.types import Prompt


def digest(value: Any) -> str:
    """32 hexadecimal digits of blake2b-128 over the canonical JSON of ``value``.

    Dataclasses count as their fields and tuples as lists.

    Raises:
        TypeError: for what JSON cannot hold; a key must not depend on a memory address.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=fields)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def pairs_digest(prompts: Iterable[Prompt]) -> str:
    """Digest of questions with their answers, in order: what a training set is."""
    return digest([[list(map(dict, p.messages)), p.reference] for p in prompts])


def fields(value: Any) -> Any:
    """``json.dumps(default=...)`` that takes dataclasses.

    A field declared as float holds one: ``temperature=1`` and ``temperature=1.0`` are equal, and
    JSON would tell them apart. A field that came later and says ``keyed: unless default`` in its
    metadata is left out at its default, so that keys stay what they were.
    """
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        raise TypeError(f"{type(value).__name__} cannot be part of a key")
    content = {}
    for field in dataclasses.fields(value):
        held = getattr(value, field.name)
        if "keyed" in field.metadata and held == field.default:
            continue
        content[field.name] = held
        # Types are text under `from __future__ import annotations`.
        if field.type in (float, "float") and isinstance(content[field.name], int):
            content[field.name] = float(content[field.name])
    return content
