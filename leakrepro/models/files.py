"""The files that libraries read when they load a model from a folder.

A content key must cover them all. What cannot be covered is refused: adapters, whose base model may
be elsewhere, files outside the folder, and links to folders.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

CONFIG = "config.json"
ADAPTER = "adapter_config.json"
_MODULES = "modules.json"
# transformers takes the first of these that exists; an index names the files with the weights.
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_TOKENIZER = (
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "*vocab*",
    "merges*.txt",
    "dict.txt",
    "*.model",
    "*.spm",
    "*.codes",
    "*.tiktoken",
    "*.tokenizer",
    "byte_maps.json",
    "emoji.json",
    "normalizer.json",
    "tekken.json",
    "word_*.json",
    "chat_template*",
    "additional_chat_templates/*.jinja",
)


def model_files(folder: Path) -> list[Path]:
    """Return the files that transformers reads for a model without its tokenizer.

    They are the configurations and the weights, with the index if there is one.

    Args:
        folder: The model's folder.

    Raises:
        FileNotFoundError: If the configuration or weights are missing.
        ValueError: If the folder contains an adapter, an index is damaged, or weights are outside
            the folder.
    """
    refuse_adapter(folder)
    config = folder / CONFIG
    if not config.is_file():
        raise FileNotFoundError(f"{folder} is not a model: it does not have a {CONFIG}")
    generation = folder / "generation_config.json"
    return [config, *([generation] if generation.is_file() else []), *_weights(folder, config)]


def tokenizer_files(folder: Path) -> list[Path]:
    """Return the files of a tokenizer and its chat templates.

    Raises:
        FileNotFoundError: If there are none.
    """
    found = _matching(folder, _TOKENIZER)
    if not found:
        raise FileNotFoundError(f"{folder} does not have tokenizer files")
    return found


def all_files(folder: Path) -> list[Path]:
    """Return all files of a sentence-transformers model, whose modules have folders of their own.

    Hidden files and Markdown pages are left out.

    Raises:
        ValueError: If the folder contains an adapter or a link to a folder, or if a module is
            outside the folder or not one of sentence-transformers.
    """
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if (Path(place) / name).is_symlink():
                raise ValueError(f"{Path(place) / name} is a link to a folder: copy the folder")
        refuse_adapter(Path(place))
        found += [
            Path(place) / name
            for name in names
            if not name.startswith(".") and not name.endswith(".md")
        ]
    _check_modules(folder)
    return sorted(found)


def refuse_adapter(folder: Path) -> None:
    """Raise ValueError if a folder contains a PEFT adapter.

    transformers would add it to the model, or load its base model from another place.
    """
    if (folder / ADAPTER).is_file():
        raise ValueError(
            f"{folder} contains an adapter ({ADAPTER}), which is loaded on top of a base model: "
            "merge it with PEFT's `merge_and_unload()`, save the model and its tokenizer to "
            f"another folder and use that; or remove {ADAPTER} if the weights are merged already"
        )


def refuse_unread_weights(folder: Path) -> None:
    """Raise ValueError if vLLM would read other weights than transformers.

    vLLM reads all files ``*.safetensors``, or those of the index if there is one. Without any it
    reads all files ``*.bin``.
    """
    ours = {file for file in _weights(folder, folder / CONFIG) if file.suffix != ".json"}
    theirs = set(_matching(folder, ("*.safetensors",)))
    index = folder / "model.safetensors.index.json"
    if theirs and index.is_file():
        theirs &= set(_indexed(folder, index))
    if not theirs:
        theirs = set(_matching(folder, ("*.bin",)))
        theirs -= {folder / "training_args.bin", folder / "optimizer.bin"}
    if other := sorted(ours ^ theirs):
        raise ValueError(
            f"transformers and vLLM read different weights from {folder}, which differ in "
            f"{other[0].name}: move the weights that are not the model's to another folder"
        )


def _weights(folder: Path, config: Path) -> list[Path]:
    named = _object(config).get("transformers_weights")
    wanted = (str(named),) if named else _WEIGHTS
    for name in wanted:
        file = _inside(folder, name, config)
        if not file.is_file():
            continue
        return [file, *_indexed(folder, file)] if file.suffix == ".json" else [file]
    raise FileNotFoundError(f"{folder} does not have weights ({' or '.join(wanted)})")


def _indexed(folder: Path, index: Path) -> list[Path]:
    names = _object(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(n, str) for n in names.values()):
        raise ValueError(f"{index} is damaged: it does not map names of weights to files")
    files = [_inside(folder, name, index) for name in sorted(set(names.values()))]
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing, which {index} names: copy the model again")
    return files


def _inside(folder: Path, name: str, source: Path) -> Path:
    """Return a file that ``source`` names, which must be below the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise ValueError(
            f"{source} names {name!r}, which is outside the folder: copy the file into the folder "
            "and name it there"
        )
    return folder / path


def _check_modules(folder: Path) -> None:
    path = folder / _MODULES
    if not path.is_file():
        return
    modules = _json(path)
    try:
        places = [(str(module["path"]), str(module["type"])) for module in modules]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: it is not a list of modules") from error
    for place, kind in places:
        _inside(folder, place, path)
        if not kind.startswith("sentence_transformers."):
            raise ValueError(
                f"{path} names {kind!r}, which is not a module of sentence-transformers: its code "
                "cannot be identified"
            )


def _object(path: Path) -> dict[str, Any]:
    content = _json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it is not a JSON object")
    return content


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: it is not JSON ({error})") from error


def _matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()})
