"""A seeded generator of damaged model folders."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from leakrepro.storage.atomic import MARKER

_DEEP: Any = json.loads("[" * 300 + "]" * 300)
_VALUES: list[Any] = [
    *(None, True, False, -1, 0, 1, 3, 10**9, 2**70, 1.5, -0.5, float("nan"), float("inf")),
    *("", "x", "\ud800", "é" * 40, "a/b", "{{ 1/0 }}", [], [None], [1, 2], {}, {"a": 1}, _DEEP),
]
_TEMPLATES = [
    "{{ messages[5].content }}",
    "{% for m in messages %}",
    "{{ raise_exception('no') }}",
    "{{ 1 / 0 }}",
    "{{ messages.undefined.attribute }}",
    "{% include 'x' %}",
    "{{ ''.__class__.__mro__ }}",
    "{% for m in messages %}{{ m.content | int + none }}{% endfor %}",
    "",
]


def damage(path: Path, seed: int) -> str:
    """Damages a complete copy of a model in one of many ways.

    Args:
        path: The folder, which is changed in place.
        seed: Decides everything.

    Returns:
        What was done, for the report of a failure.
    """
    rng = np.random.default_rng(seed)
    (path / MARKER).unlink(missing_ok=True)  # it would find every changed size
    files = sorted(file for file in path.iterdir() if file.is_file())
    if rng.random() < 0.45:
        return _json(path, rng)
    if rng.random() < 0.3:
        return _weights(path, rng)
    file = files[int(rng.integers(len(files)))]
    kinds: list[Callable[[Path, np.random.Generator], str]] = [
        *(_truncate, _flip, _delete, _empty, _directory, _garbage, _template, _index),
    ]
    kind = kinds[int(rng.integers(len(kinds)))]
    return f"{file.name}: {kind(file, rng)}"


def _truncate(file: Path, rng: np.random.Generator) -> str:
    content = file.read_bytes()
    file.write_bytes(content[: int(rng.integers(len(content)))])
    return f"truncated to {file.stat().st_size}"


def _flip(file: Path, rng: np.random.Generator) -> str:
    content = bytearray(file.read_bytes())
    end = len(content) if rng.random() < 0.5 else min(len(content), 400)
    places = rng.integers(0, end, size=int(rng.integers(1, 6)))
    for place in places:
        content[place] ^= 1 << int(rng.integers(8))
    file.write_bytes(content)
    return f"flipped bits of {places.tolist()}"


def _delete(file: Path, rng: np.random.Generator) -> str:
    file.unlink()
    return "deleted"


def _empty(file: Path, rng: np.random.Generator) -> str:
    file.write_bytes(b"")
    return "emptied"


def _directory(file: Path, rng: np.random.Generator) -> str:
    file.unlink()
    file.mkdir()
    return "a directory"


def _garbage(file: Path, rng: np.random.Generator) -> str:
    file.write_bytes(rng.bytes(200))
    return "random bytes"


def _template(file: Path, rng: np.random.Generator) -> str:
    text = _TEMPLATES[int(rng.integers(len(_TEMPLATES)))]
    (file.parent / "chat_template.jinja").write_text(text)
    return f"template {text!r}"


def _index(file: Path, rng: np.random.Generator) -> str:
    """Replaces the weights by shards with a broken index."""
    weights = file.parent / "model.safetensors"
    tensors = load_file(weights)
    names = sorted(tensors)
    half = names[: len(names) // 2]
    save_file({n: tensors[n] for n in half}, file.parent / "a.safetensors", {"format": "pt"})
    rest = {n: tensors[n] for n in names if n not in half}
    save_file(rest, file.parent / "b.safetensors", {"format": "pt"})
    weights.unlink()
    where: Any = {n: "a.safetensors" if n in half else "b.safetensors" for n in names}
    kind = int(rng.integers(6))
    if kind == 0:
        where[names[0]] = "b.safetensors"
    elif kind == 1:
        where[names[0]] = "missing.safetensors"
    elif kind == 2:
        where = [1]
    elif kind == 3:
        where[names[0]] = 7
    elif kind == 4:
        where["other"] = "a.safetensors"
    index: Any = {"metadata": {}, "weight_map": where}
    (file.parent / "model.safetensors.index.json").write_text(
        json.dumps(index if kind != 5 else {"metadata": {}})
    )
    return f"index of kind {kind}"


def _weights(path: Path, rng: np.random.Generator) -> str:
    file = path / "model.safetensors"
    tensors = load_file(file)
    name = sorted(tensors)[int(rng.integers(len(tensors)))]
    kind = int(rng.integers(7))
    tensor = tensors[name]
    if kind < 2:
        tensor.reshape(-1)[0] = (np.nan, -np.inf)[kind]
    elif kind == 2:
        del tensors[name]
    elif kind == 3:
        tensors[name] = tensor[:-1].copy()
    elif kind == 4:
        tensors[name] = tensor.reshape(-1).copy()
    elif kind == 5:
        tensors[f"{name}.more"] = tensor.copy()
    else:
        tensors[name] = tensor.astype(np.int64)
    save_file(tensors, file, {"format": "pt"})
    return f"weights of kind {kind} at {name}"


def _places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all entries of a JSON document, the deep ones of long lists left out."""
    if path:
        yield path
    if isinstance(tree, dict):
        for key in list(tree)[:40]:
            yield from _places(tree[key], (*path, key))
    elif isinstance(tree, list):
        for key in range(min(len(tree), 3)):
            yield from _places(tree[key], (*path, key))


def _json(path: Path, rng: np.random.Generator) -> str:
    names = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
    weight = [0.35, 0.15, 0.25, 0.25]
    name = str(rng.choice(names, p=weight))
    document = json.loads((path / name).read_text(encoding="utf-8"))
    places = list(_places(document))
    value = _VALUES[int(rng.integers(len(_VALUES)))]
    if rng.random() < 0.05:
        (path / name).write_text(json.dumps(value))
        return f"{name} is {str(value)[:40]}"
    place = places[int(rng.integers(len(places)))]
    parent = document
    for key in place[:-1]:
        parent = parent[key]
    if rng.random() < 0.2:
        del parent[place[-1]]
        what = "deleted"
    else:
        parent[place[-1]] = value
        what = f"= {str(value)[:40]!r}"
    (path / name).write_text(json.dumps(document))
    return f"{name}: {'/'.join(map(str, place))} {what}"


def damaged_copy(source: Path, folder: Path, seed: int) -> tuple[Path, str]:
    """Copies a model to a folder that is named by the seed, and damages the copy."""
    path = folder / f"damaged-{seed}"
    shutil.copytree(source, path)
    return path, damage(path, seed)
