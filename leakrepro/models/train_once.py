"""Trained models, made once: the folder's name is a hash of the recipe."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from leakrepro.execution.distributed import processes
from leakrepro.models import load
from leakrepro.models.train import Checkpoints, Log
from leakrepro.storage import keys, paths, provenance
from leakrepro.storage.atomic import is_sealed, locked
from leakrepro.storage.documents import unreadable

if TYPE_CHECKING:
    from accelerate import PartialState

RECIPE, LOG = "recipe.json", "log.json"


class Made(NamedTuple):
    """A trained model and what is saved with it.

    Attributes:
        model: The model.
        tokenizer: Its tokenizer.
        log: The training log.
        files: Further text files, name -> content.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    log: Log
    files: Mapping[str, str] = {}


def find(name: str, recipe: Mapping[str, Any]) -> Path | None:
    """Return the folder under ``LEAKREPRO_HOME/models`` of a finished model, or None."""
    key = keys.digest(recipe)
    path = _folder(name, key)
    return path if _holds(path, key) else None


def make_once(
    name: str,
    recipe: Mapping[str, Any],
    make: Callable[[Checkpoints], Made],
    *,
    output_dir: str | Path | None = None,
    resume: bool = True,
    checkpoint_every: int = 50,
) -> Path:
    """Return the folder of the model of ``recipe``; make it if it does not exist.

    A second run of the same recipe waits for the first. The processes of one ``accelerate launch``
    train together, and the first of them saves.

    Args:
        name: First part of the folder's name under ``LEAKREPRO_HOME/models``.
        recipe: Everything that the weights depend on, as JSON.
        make: Trains the model; it continues from the given checkpoints.
        output_dir: Folder of the model; None for ``LEAKREPRO_HOME/models``.
        resume: Whether to reuse a finished model of the same recipe, or the checkpoints of an
            unfinished one. False trains from the start.
        checkpoint_every: Steps between two checkpoints.

    Raises:
        ValueError: If ``output_dir`` holds the model of another recipe, or other files.
        StoreError: If the model does not exist and the run may only read what is stored, or if the
            folder could not be opened.
    """
    key = keys.digest(recipe)
    path = _folder(name, key) if output_dir is None else Path(output_dir)
    if resume and _holds(path, key):
        provenance.note_model(path)
        return path
    provenance.require_stored(f"the model {path}")
    if path.exists() and _key(path) != key and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(
            f"{path} does not hold the model of this recipe; name another folder or remove it"
        )
    everyone = processes()
    work = path.with_name(f".{path.name}-{key[:12]}.checkpoints")
    with _alone(work, everyone):
        if everyone.is_main_process:
            for leftover in work.iterdir():
                if not resume or not leftover.name.startswith("checkpoint-"):
                    shutil.rmtree(leftover, ignore_errors=True)
        everyone.wait_for_everyone()
        if not (resume and _holds(path, key)):  # another run may have made it while this one waited
            made = make(Checkpoints(work, checkpoint_every))
            if everyone.is_main_process:
                content = {"key": key, "name": name, **recipe}
                files = {
                    **made.files,
                    RECIPE: json.dumps(content, default=keys.fields, indent=1),
                    LOG: json.dumps(made.log, indent=1),
                }
                load.save_model(made.model, made.tokenizer, path, extra=files, replace=True)
                shutil.rmtree(work, ignore_errors=True)
                provenance.note_model(path, trained=True)
        everyone.wait_for_everyone()
    return path


@contextlib.contextmanager
def _alone(folder: Path, everyone: PartialState) -> Iterator[None]:
    """Lock out other runs of the same recipe; the processes of this run enter together."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder) if everyone.is_main_process else contextlib.nullcontext():
        everyone.wait_for_everyone()
        folder.mkdir(parents=True, exist_ok=True)  # the previous holder may have removed it
        yield


def _folder(name: str, key: str) -> Path:
    return paths.models() / f"{name}-{key[:12]}"


def _holds(path: Path, key: str) -> bool:
    return _key(path) == key and is_sealed(path)


def _key(path: Path) -> str | None:
    try:
        found = json.loads((path / RECIPE).read_bytes())["key"]
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError, RecursionError):
        return None
    except OSError as error:
        raise unreadable(path / RECIPE, error, "remove the folder") from error
    return str(found)
