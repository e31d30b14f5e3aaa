"""Append-only log of the stores, models, score files and input files that a run uses.

``reproduce`` names the log's file in the environment of a notebook's kernel, and every process
below it appends to the same file. ``verify`` also sets the switch under which a run may only read
what is stored.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from leakrepro.errors import StoreError
from leakrepro.storage.documents import unreadable

LOG = "LEAKREPRO_PROVENANCE"  # names the file; nothing is noted when it is not set
STORED_ONLY = "LEAKREPRO_STORED_ONLY"  # "1": no sampling, no training, all scores computed again


class Kind(StrEnum):
    """What a note is about."""

    STORE = "store"
    MODEL = "model"
    SCORES = "scores"
    CHANGED_SCORE = "changed score"
    FILE = "file"


@dataclass(frozen=True)
class Note:
    """One use of a file or folder.

    Attributes:
        kind: What ``path`` is.
        path: Absolute path of the sample store, model folder, score file or input file.
        drawn: Indices of the shards that were drawn, for a store.
        trained: Whether the model was trained by this use.
        key: Key of a score that differs when it is computed again; empty for other notes.
        kept: The score in the file.
        computed: The score that was computed again.
    """

    kind: Kind
    path: Path
    drawn: tuple[int, ...] = ()
    trained: bool = False
    key: str = ""
    kept: float = 0.0
    computed: float = 0.0


def note_store(path: Path, drawn: Iterable[int] = ()) -> None:
    """Notes that a complete sample store was opened, and the shards that were drawn for it."""
    _append(Note(Kind.STORE, path, drawn=tuple(drawn)))


def note_model(path: Path, *, trained: bool = False) -> None:
    """Notes that a model folder was opened, or that its model was trained now."""
    _append(Note(Kind.MODEL, path, trained=trained))


def note_scores(path: Path) -> None:
    """Notes that a score file was opened; it need not exist yet."""
    _append(Note(Kind.SCORES, path))


def note_changed_score(path: Path, key: str, kept: float, computed: float) -> None:
    """Notes that a score of a file is another one when it is computed again."""
    _append(Note(Kind.CHANGED_SCORE, path, key=key, kept=kept, computed=computed))


def note_file(path: Path) -> None:
    """Notes that an input file was read."""
    _append(Note(Kind.FILE, path))


def read_notes(log: Path) -> list[Note]:
    """All notes of a log without repetitions, in order; empty when the file does not exist.

    Raises:
        StoreError: when the file is damaged or could not be opened.
    """
    try:
        lines = dict.fromkeys(log.read_text(encoding="utf-8").splitlines())
        return [_from_json(line) for line in lines]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise unreadable(log, error, "run the notebook again") from error


def stored_only() -> bool:
    """Whether this process may only read what is stored."""
    return os.environ.get(STORED_ONLY) == "1"


def require_stored(what: str) -> None:
    """Refuses to make something in a run that may only read what is stored.

    Args:
        what: What would be made, for the message.

    Raises:
        StoreError: in such a run.
    """
    if stored_only():
        raise StoreError(
            f"missing: {what}. This run only reads what is stored; `leakrepro reproduce` restores "
            "what is missing"
        )


def _append(note: Note) -> None:
    log = os.environ.get(LOG)
    if log:
        content = dataclasses.asdict(note) | {"path": str(note.path.absolute())}
        # One write, so that the lines of several processes stay whole.
        with open(log, "ab", buffering=0) as file:
            file.write(json.dumps(content).encode() + b"\n")


def _from_json(line: str) -> Note:
    content = json.loads(line)
    content |= {
        "kind": Kind(content["kind"]),
        "path": Path(content["path"]),
        "drawn": tuple(content["drawn"]),
    }
    return Note(**content)
