"""Trained models are made once: the folder's name and its recipe say from what."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from leakrepro import keys, paths
from leakrepro.models import load

RECIPE, LOG = "recipe.json", "log.json"
Made = tuple[PreTrainedModel, PreTrainedTokenizerBase, list[dict[str, float]]]


def find(name: str, recipe: Mapping[str, Any]) -> Path | None:
    """The folder under ``LEAKREPRO_HOME/models`` of a finished model, or None."""
    key = keys.digest(recipe)
    path = _folder(name, key)
    return path if _holds(path, key) else None


def make_once(
    name: str,
    recipe: Mapping[str, Any],
    make: Callable[[], Made],
    *,
    output_dir: str | Path | None = None,
    resume: bool = True,
) -> Path:
    """Returns the folder of the model that ``recipe`` describes, made now or before.

    Args:
        name: First part of the folder's name under ``LEAKREPRO_HOME/models``.
        recipe: Everything that the weights depend on, as JSON.
        make: Trains; returns the model, its tokenizer and the training log.
        output_dir: Another folder.
        resume: Reuse a finished model of the same recipe; False makes it again.

    Raises:
        ValueError: when ``output_dir`` holds a model of another recipe, or something else.
    """
    key = keys.digest(recipe)
    path = _folder(name, key) if output_dir is None else Path(output_dir)
    if resume and _holds(path, key):
        return path
    if path.exists() and _key(path) != key and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(
            f"{path} holds something else than this recipe's model; name another folder or "
            "remove it"
        )
    model, tokenizer, log = make()
    files = {
        RECIPE: json.dumps({"key": key, "name": name, **recipe}, default=keys.fields, indent=1),
        LOG: json.dumps(log, indent=1),
    }
    return load.save_model(model, tokenizer, path, extra=files, replace=True)


def _folder(name: str, key: str) -> Path:
    return paths.models() / f"{name}-{key[:12]}"


def _holds(path: Path, key: str) -> bool:
    return _key(path) == key and load.is_complete(path)


def _key(path: Path) -> str | None:
    try:
        found = json.loads((path / RECIPE).read_text(encoding="utf-8"))["key"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(found)
