"""Hashes of models and tokenizers, for content keys."""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from leakrepro.models.files import all_files, model_files, tokenizer_files
from leakrepro.storage import provenance
from leakrepro.storage.keys import digest, file_digest

# Entries of a configuration that do not change what a model computes.
_NOT_THE_MODEL = ("_name_or_path", "transformers_version")
# A file system may give two writes within this time the same time stamp.
_SETTLED_NS = 2_000_000_000


class Fingerprints(NamedTuple):
    """Hashes of a model's folder.

    Attributes:
        weights: ``fingerprint`` of the folder.
        tokenizer: ``tokenizer_fingerprint`` of the folder.
    """

    weights: str
    tokenizer: str

    @classmethod
    def of(cls, folder: Path) -> Fingerprints:
        """Return the hashes of a folder."""
        return cls(fingerprint(folder), tokenizer_fingerprint(folder))


def fingerprint(model: str | Path | PreTrainedModel) -> str:
    """Return a hash of a model, which does not depend on its name or place.

    For a folder it is the hash of the configurations and the weights that transformers loads from
    it. For a model in memory it is the hash of its configuration and its named tensors. The two
    differ for the same weights.

    Raises:
        FileNotFoundError: If one of these files is missing.
        ValueError: If the folder contains an adapter, or names weights outside of it.
    """
    if isinstance(model, PreTrainedModel):
        return _tensor_digest(model)
    path = Path(model)
    provenance.note_model(path)
    return _digest(path, model_files(path))


def tokenizer_fingerprint(tokenizer: str | Path | PreTrainedTokenizerBase) -> str:
    """Return a hash of a tokenizer with its chat template, from its files or from memory.

    Raises:
        FileNotFoundError: If the folder does not have a tokenizer.
    """
    if isinstance(tokenizer, PreTrainedTokenizerBase):
        backend = getattr(tokenizer, "backend_tokenizer", None)
        vocabulary = sorted(tokenizer.get_vocab().items()) if backend is None else backend.to_str()
        return digest([vocabulary, tokenizer.chat_template, tokenizer.all_special_tokens])
    path = Path(tokenizer)
    return _digest(path, tokenizer_files(path))


def tree_fingerprint(folder: Path) -> str:
    """Return a hash of all files of a sentence-transformers model.

    Raises:
        ValueError: If the folder contains what cannot be hashed; see ``all_files``.
    """
    provenance.note_model(folder)
    return _digest(folder, all_files(folder))


def require_unchanged(folder: Path, before: object, now: object) -> None:
    """Compare the hash of a folder after loading with the one that a key holds.

    Without this check, what is computed with other weights would be stored under the key.

    Args:
        folder: The folder, for the message.
        before: The hash that is part of a key.
        now: The hash after loading.

    Raises:
        ValueError: If the two differ.
    """
    if before != now:
        raise ValueError(
            f"the files in {folder} changed between their identification and the end of loading: "
            "call again when they do not change any more"
        )


def _digest(folder: Path, files: Iterable[Path]) -> str:
    total = hashlib.blake2b(digest_size=16)
    for file in files:
        total.update(
            f"{file.relative_to(folder).as_posix()}\0{_cached_digest(file)}\n".encode(
                errors="surrogateescape"
            )
        )
    return total.hexdigest()


def _tensor_digest(model: PreTrainedModel) -> str:
    config = {k: v for k, v in model.config.to_dict().items() if k not in _NOT_THE_MODEL}
    total = hashlib.blake2b(
        json.dumps(config, sort_keys=True, default=str).encode(), digest_size=16
    )
    for name, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        total.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        total.update(flat.view(torch.uint8).numpy())
    return total.hexdigest()


def _cached_digest(file: Path) -> str:
    """Return the hash of a file; it is cached until the file's status changes."""
    stat = file.stat()
    # The time of the last status change cannot be set back, unlike that of the last modification.
    status = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev)
    if time.time_ns() - stat.st_ctime_ns < _SETTLED_NS:
        return file_digest(file)
    return _kept_digest(file.resolve(), status)


@functools.lru_cache(maxsize=4096)
def _kept_digest(file: Path, status: tuple[int, ...]) -> str:
    del status  # part of the cache's key
    return file_digest(file)
