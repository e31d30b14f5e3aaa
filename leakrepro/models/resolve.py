"""Resolution of a model in any form to a local folder, or to a model in memory."""

from __future__ import annotations

import functools
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from leakrepro.models import load, named
from leakrepro.models.fingerprints import fingerprint, tokenizer_fingerprint
from leakrepro.storage import paths
from leakrepro.storage.atomic import is_sealed

if TYPE_CHECKING:
    from leakrepro.benchmarks.base import Benchmark


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model in memory with its tokenizer.

    The weights and the code of an object can change at any time. Its samples are therefore kept in
    a temporary folder until the process ends, and are not reused. If the model has an attribute
    ``fingerprint``, a string that changes whenever its output can change, its samples are kept in
    the content-keyed store. ``model.fingerprint = leakrepro.models.fingerprint(model)`` is correct
    for a model with the forward pass of its class.

    Attributes:
        model: The model. Sampling sets it to evaluation mode.
        tokenizer: Its tokenizer.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @property
    def is_named(self) -> bool:
        """Whether the model has a fingerprint."""
        return isinstance(getattr(self.model, "fingerprint", None), str)

    @functools.cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the model, or a unique string if it does not have one."""
        if self.is_named:
            return f"loaded/{self.model.fingerprint}"
        return f"loaded/{uuid.uuid4().hex}"

    def save(self) -> Path:
        """Save a copy under ``LEAKREPRO_HOME/models``, named by content, and return its folder.

        Training reads models from a folder.
        """
        tokenizer = tokenizer_fingerprint(self.tokenizer)
        path = paths.models() / f"loaded-{fingerprint(self.model)[:12]}-{tokenizer[:6]}"
        return path if is_sealed(path) else load.save_model(self.model, self.tokenizer, path)


Model = str | Path | PreTrainedModel | LoadedModel


def resolve(
    model: Model,
    benchmark: Benchmark | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> Path | LoadedModel:
    """Return the local folder of a model, or the model in memory with its tokenizer.

    Args:
        model: A folder, a hub id (``"org/name@revision"`` pins it), a name of the profile that
            makes the benchmark's models, or a ``PreTrainedModel``.
        benchmark: The benchmark whose model names are known; None for no names.
        tokenizer: Tokenizer of a ``PreTrainedModel``; None for other forms.

    Raises:
        FileNotFoundError: If the model does not exist; the message lists the names.
        TypeError: If a ``PreTrainedModel`` comes without tokenizer, or another form with one.
        ValueError: If the folder is incomplete.
    """
    if isinstance(model, LoadedModel):
        return model
    if isinstance(model, PreTrainedModel):
        if tokenizer is None:
            raise TypeError("a loaded model needs its tokenizer: pass tokenizer=")
        return LoadedModel(model, tokenizer)
    if tokenizer is not None:
        raise TypeError(f"tokenizer= goes with a loaded model; {model!r} brings its own")
    if benchmark is None:
        return load.locate(model)
    names = named.provider().known_names
    if isinstance(model, str) and model in names(benchmark):
        return named.provider().make_named(model, benchmark)
    try:
        return load.locate(model)
    except FileNotFoundError as error:
        if not names(benchmark):
            raise
        known = f"{benchmark.name} knows the names {', '.join(names(benchmark))}"
        raise FileNotFoundError(f"{error}; {known}") from error


def resolve_folder(
    model: Model,
    benchmark: Benchmark | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> Path:
    """Return the local folder of a model; a model in memory is saved first.

    Raises:
        FileNotFoundError: If the model does not exist.
        TypeError: If a ``PreTrainedModel`` comes without tokenizer, or another form with one.
        ValueError: If the folder is incomplete.
    """
    found = resolve(model, benchmark, tokenizer)
    return found.save() if isinstance(found, LoadedModel) else found
