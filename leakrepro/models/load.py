"""Find, load, identify and save causal language models."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import errors as hub_errors
from huggingface_hub import is_offline_mode, snapshot_download
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from leakrepro.models.files import model_files, refuse_adapter
from leakrepro.models.fingerprints import fingerprint as fingerprint
from leakrepro.models.fingerprints import tokenizer_fingerprint as tokenizer_fingerprint
from leakrepro.models.generation import end_ids, load_generation_config, make_savable
from leakrepro.models.reading import no_warnings, reading
from leakrepro.models.saved import check_saved, write_model
from leakrepro.models.weights import load_weights
from leakrepro.storage import provenance
from leakrepro.storage.atomic import MARKER, is_sealed, seal, sync, temporary

_DOWNLOAD = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "chat_template*"]
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def locate(model: str | Path, revision: str | None = None) -> Path:
    """Return the local folder of a model; a hub id is downloaded.

    Args:
        model: A folder with ``config.json``, or a hub id, also as ``"org/name@revision"``.
        revision: Branch, tag or commit of a hub id. Pin a commit for reproducible results.

    Raises:
        FileNotFoundError: If neither a folder nor a repository of this name exists, or the hub
            cannot be reached; the message says which.
        PermissionError: If the repository is gated and access was not granted.
        ValueError: If a local folder is given with a revision, or the folder is incomplete or
            contains an adapter.
    """
    path = Path(model)
    if path.is_dir():
        if revision is not None:
            raise ValueError(f"{path} is a local folder: it does not have a revision {revision!r}")
        refuse_adapter(path)
        if not (path / "config.json").is_file():
            raise FileNotFoundError(f"{path} is not a model: it does not have a config.json")
        if (path / MARKER).exists() and not is_sealed(path):
            raise ValueError(
                f"{path} is incomplete: files in {MARKER} are missing or have another size; make "
                "or copy the model again"
            )
        return path
    repository, _, pinned = str(model).partition("@")
    revision = revision or pinned or None
    wanted = f"{repository!r}" + (f" at revision {revision!r}" if revision else "")
    if isinstance(model, Path) or path.is_absolute() or str(model).startswith((".", "~")):
        raise FileNotFoundError(f"no model at {path}: there is no such folder")
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=_DOWNLOAD))
    except hub_errors.GatedRepoError as error:
        raise PermissionError(
            f"model {wanted} is gated: ask for access on its hub page, then run `hf auth login`"
        ) from error
    except hub_errors.RevisionNotFoundError as error:
        raise FileNotFoundError(f"the hub has no model {wanted}: no such revision") from error
    except (hub_errors.HFValidationError, hub_errors.RepositoryNotFoundError) as error:
        raise FileNotFoundError(
            f"no model {wanted}: there is neither a folder of this name (looked for "
            f"{path.absolute()}) nor such a repository on the hub"
        ) from error
    except (hub_errors.LocalEntryNotFoundError, hub_errors.HfHubHTTPError) as error:
        reason = "offline mode is on" if is_offline_mode() else "the hub could not be reached"
        raise FileNotFoundError(
            f"no model {wanted}: there is no folder {path.absolute()}, it is not in the local hub "
            f"cache, and {reason}"
        ) from error


def resolve_device(device: str = "auto") -> torch.device:
    """Return a torch device; ``"auto"`` is CUDA if available and otherwise the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def resolve_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """Return a torch dtype; ``"auto"`` is bfloat16 on CUDA and float32 on the CPU.

    Raises:
        ValueError: If the name is unknown.
    """
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if dtype not in _DTYPES:
        raise ValueError(f"dtype must be one of auto, {', '.join(_DTYPES)}, not {dtype!r}")
    return _DTYPES[dtype]


def load_model(path: str | Path, device: str = "auto", dtype: str = "auto") -> PreTrainedModel:
    """Load a local causal language model in evaluation mode.

    Custom code of the folder is never run.

    Args:
        path: A folder, as returned by ``locate``.
        device: ``"auto"`` (CUDA if available) or a torch device.
        dtype: ``"auto"`` (bfloat16 on CUDA, float32 on CPU), ``"float32"``, ``"bfloat16"`` or
            ``"float16"``.

    Raises:
        FileNotFoundError: If the folder does not have weights.
        ModelError: If the folder cannot be read, or its weights do not fit its configuration or
            are not finite.
    """
    return _load(Path(path), AutoModelForCausalLM, device, dtype)


def load_classifier(path: str | Path, device: str = "auto", dtype: str = "auto") -> PreTrainedModel:
    """Load a local sequence classifier in evaluation mode; as ``load_model``.

    Raises:
        FileNotFoundError: If the folder does not have weights.
        ModelError: If the folder cannot be read, or its weights do not fit its configuration or
            are not finite. A classifier without its head is refused.
    """
    return _load(Path(path), AutoModelForSequenceClassification, device, dtype)


def _load(path: Path, auto: Any, device: str, dtype: str) -> PreTrainedModel:
    model_files(path)
    provenance.note_model(path)
    where = resolve_device(device)
    if auto is AutoModelForCausalLM:
        # transformers ignores a file that it cannot read, and the end tokens would be lost.
        load_generation_config(path)
    model = load_weights(path, auto, resolve_dtype(dtype, where))
    make_savable(model)
    model.to(where)  # type: ignore[arg-type]
    return model


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a local model.

    Raises:
        ModelError: If it cannot be read.
    """
    with reading(path, "tokenizer"), no_warnings():
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
        # Also reads what is only read on use.
        tokenizer.get_vocab()
        tokenizer("a", verbose=False)
    return tokenizer


def load_config(path: str | Path) -> PreTrainedConfig:
    """Load the configuration of a local model.

    Raises:
        ModelError: If it cannot be read.
    """
    with reading(path, "configuration"):
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
    return config


def eos_ids(path: str | Path) -> tuple[int, ...]:
    """Return the sorted ids of all end tokens, from the generation config and the tokenizer.

    Raises:
        ModelError: If these cannot be read, or an id is not a whole number from 0.
    """
    path = Path(path)
    return end_ids(path, load_generation_config(path), load_tokenizer(path))


def loaded_eos_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Return the sorted ids of all end tokens of a model in memory; see ``eos_ids``."""
    config = model.generation_config or GenerationConfig.from_model_config(model.config)
    return end_ids(tokenizer.name_or_path, config, tokenizer)


def same_tokenizer(one: Path, other: Path) -> bool:
    """Return whether two models use the same tokens, also if the files differ by format."""
    if one == other or tokenizer_fingerprint(one) == tokenizer_fingerprint(other):
        return True
    a, b = load_tokenizer(one), load_tokenizer(other)
    return a.get_vocab() == b.get_vocab() and a.chat_template == b.chat_template


def save_model(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    path: str | Path,
    *,
    extra: Mapping[str, str] | None = None,
    replace: bool = False,
) -> Path:
    """Save a model with its tokenizer atomically: ``path`` does not exist or is complete.

    An incomplete folder of this name is replaced. The saved model is loaded again and compared with
    the one in memory.

    Args:
        model: The model, saved as safetensors.
        tokenizer: Its tokenizer, saved in the same folder.
        path: The folder.
        extra: Further text files, name -> content.
        replace: Whether to replace a complete model.

    Raises:
        FileExistsError: If the folder holds a complete model and ``replace`` is False.
        ModelError: If the saved model cannot be loaded, or does not compute what the model in
            memory computes; nothing is saved.
    """
    path = Path(path)
    if is_sealed(path) and not replace:
        raise FileExistsError(f"{path} already holds a complete model")
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = temporary(path)
    shutil.rmtree(draft, ignore_errors=True)
    try:
        write_model(model, tokenizer, draft)
        check_saved(model, draft, path)
        for name, content in (extra or {}).items():
            (draft / name).write_text(content + "\n", encoding="utf-8")
        seal(draft)
        if path.exists():
            shutil.rmtree(path)
        draft.rename(path)
        sync(path.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return path
