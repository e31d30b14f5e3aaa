"""A model in any form as a local folder, or as a loaded model with its tokenizer."""

from __future__ import annotations

import functools
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from leakrepro.models import load, named
from leakrepro.storage import paths
from leakrepro.storage.atomic import is_sealed

if TYPE_CHECKING:
    from leakrepro.benchmarks.base import Benchmark


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model in memory with its tokenizer.

    Nothing tells which samples belong to an object whose weights or code may change at any time.
    Its samples are therefore kept in a temporary folder, until the process ends, and are not
    reused. An attribute ``fingerprint`` on the model, a string that changes with everything that
    changes its output, puts them into the content-keyed store. For a model whose forward pass is
    that of its class, ``model.fingerprint = leakrepro.models.fingerprint(model)`` is right.

    Attributes:
        model: The model. It is put into evaluation mode when it is sampled.
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
        """The model's fingerprint; without one, a string that no other call gives."""
        if self.is_named:
            return f"loaded/{self.model.fingerprint}"
        return f"loaded/{uuid.uuid4().hex}"

    def save(self) -> Path:
        """The folder of a copy of the weights under ``LEAKREPRO_HOME/models``, named by content.

        For what has to read the model from a folder: training, and workers.
        """
        tokenizer = load.tokenizer_fingerprint(self.tokenizer)
        path = paths.models() / f"loaded-{load.fingerprint(self.model)[:12]}-{tokenizer[:6]}"
        return path if is_sealed(path) else load.save_model(self.model, self.tokenizer, path)


Model = str | Path | PreTrainedModel | LoadedModel


def resolve(
    model: Model,
    benchmark: Benchmark | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> Path | LoadedModel:
    """The local folder of a model, or the loaded model with its tokenizer.

    Args:
        model: A folder, a hub id (``"org/name@revision"`` pins it), a name of the profile that
            makes the benchmark's models, or a ``PreTrainedModel``.
        benchmark: Gives the names; None for none.
        tokenizer: Of a ``PreTrainedModel``, and only of one.

    Raises:
        FileNotFoundError: when there is no such model; the message lists the names.
        TypeError: for a ``PreTrainedModel`` without tokenizer, and a tokenizer with another form.
        ValueError: for a folder whose saving or copying did not finish.
    """
    if isinstance(model, LoadedModel):
        return model
    if isinstance(model, PreTrainedModel):
        if tokenizer is None:
            raise TypeError("a loaded model needs its tokenizer: pass tokenizer=")
        return LoadedModel(model, tokenizer)
    if tokenizer is not None:
        raise TypeError(f"tokenizer= goes with a loaded model; {model!r} brings its own")
    names = [] if benchmark is None else named.provider().known_names(benchmark)
    if benchmark is not None and isinstance(model, str) and model in names:
        return named.provider().make_named(model, benchmark)
    try:
        return load.locate(model)
    except FileNotFoundError as error:
        if benchmark is None or not names:
            raise
        known = f"{benchmark.name} knows the names {', '.join(names)}"
        raise FileNotFoundError(f"{error}; {known}") from error


def resolve_folder(
    model: Model,
    benchmark: Benchmark | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> Path:
    """As ``resolve``, with a loaded model saved to a folder first.

    Raises:
        FileNotFoundError: when there is no such model.
        TypeError: for a ``PreTrainedModel`` without tokenizer, and a tokenizer with another form.
        ValueError: for a folder whose saving or copying did not finish.
    """
    found = resolve(model, benchmark, tokenizer)
    return found.save() if isinstance(found, LoadedModel) else found
