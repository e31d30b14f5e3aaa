"""The generation configuration: end tokens, and settings that transformers refuses to save."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from transformers import AutoConfig, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from leakrepro.errors import ModelError
from leakrepro.models.reading import reading

_FILE = "generation_config.json"


def load_generation_config(path: Path) -> GenerationConfig:
    """Return the generation configuration of a local model.

    Without a file it is made from the model's configuration, as transformers does.

    Raises:
        ModelError: If the files cannot be read.
    """
    if (path / _FILE).exists():
        with reading(path, _FILE):
            config = GenerationConfig.from_pretrained(
                path, local_files_only=True, trust_remote_code=False
            )
    else:
        with reading(path, "configuration"):
            config = GenerationConfig.from_model_config(
                AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
            )
    return config


def end_ids(
    name: str | Path, config: GenerationConfig, tokenizer: PreTrainedTokenizerBase
) -> tuple[int, ...]:
    """Return the sorted ids of all end tokens, from the generation config and the tokenizer.

    Args:
        name: The model, for the message.
        config: Its generation configuration.
        tokenizer: Its tokenizer.

    Raises:
        ModelError: If an id is not a whole number from 0.
    """
    declared: Any = config.eos_token_id
    ids = list(declared) if isinstance(declared, Iterable) else [declared]
    found: list[Any] = [each for each in (*ids, tokenizer.eos_token_id) if each is not None]
    for each in found:
        if isinstance(each, bool) or not isinstance(each, int) or each < 0:
            raise ModelError(f"{name}: eos_token_id must hold token ids, not {each!r}")
    return tuple(sorted(set(found)))


def make_savable(model: PreTrainedModel) -> None:
    """Remove generation settings that contradict each other, in place.

    transformers refuses to save them, for example a temperature without sampling. Sampling in this
    package does not use them. The token ids stay.
    """
    config: Any = getattr(model, "generation_config", None)
    if config is None or _is_valid(config):
        return
    kept = GenerationConfig()
    settings = {
        name: value
        for name, value in config.to_dict().items()
        if value != getattr(kept, name, None)
    }
    # Sampling and beams come first: other settings are valid or not by these.
    first = ("do_sample", "num_beams")
    for name in sorted(settings, key=lambda name: (name not in first, name)):
        before = getattr(kept, name, None)
        setattr(kept, name, settings[name])
        if not _is_valid(kept):
            setattr(kept, name, before)
    model.generation_config = kept


@contextlib.contextmanager
def savable(model: PreTrainedModel) -> Iterator[None]:
    """Let transformers save a model whose generation settings contradict each other.

    Args:
        model: The model; it has its own settings again afterwards.
    """
    before: Any = getattr(model, "generation_config", None)
    make_savable(model)
    try:
        yield
    finally:
        if before is not None:
            model.generation_config = before


def _is_valid(config: GenerationConfig) -> bool:
    try:
        config.validate(strict=True)
    except Exception:  # wrong types raise other errors than ValueError
        return False
    return True
