"""The record of a notebook's last run, kept in ``runs.json`` of the results folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from leakrepro.errors import StoreError
from leakrepro.storage.atomic import write_atomically
from leakrepro.storage.documents import unreadable

RECORDS = "runs.json"


@dataclass(frozen=True)
class StoreUse:
    """What a run read of one sample store, and how much of it was drawn in that run.

    Attributes:
        samples: Samples in the store.
        tokens: Tokens of these samples.
        drawn: Samples that the run drew.
        drawn_tokens: Tokens of the samples that the run drew.
    """

    samples: int
    tokens: int
    drawn: int
    drawn_tokens: int

    def to_json(self) -> dict[str, int]:
        """The content as ``runs.json`` holds it."""
        return {
            "samples": self.samples,
            "tokens": self.tokens,
            "drawn": self.drawn,
            "drawn tokens": self.drawn_tokens,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, int]) -> StoreUse:
        """The inverse of ``to_json``."""
        return cls(content["samples"], content["tokens"], content["drawn"], content["drawn tokens"])


@dataclass(frozen=True)
class RunRecord:
    """One run of one notebook. Paths are relative to ``LEAKREPRO_HOME`` where they are below it.

    Attributes:
        stem: The notebook's file name without its suffix.
        status: ``"ok"`` or ``"failed"``.
        started: Start time, UTC, ISO 8601.
        seconds: Wall time in seconds.
        error: Notebook, cell and error of a failure; empty otherwise.
        parameters: Notebook parameters.
        environment: Versions and machine, as ``leakrepro info`` prints them.
        commit: Git commit of the notebook's folder; None outside a repository.
        trained: Folder names of the models that the run trained.
        stores: Path of each sample store that the run used -> its use; empty after a failure.
        basis: Digests of the package, environment, profile, notebook and parameters, by name.
        files: Path of each file or folder that the run read or wrote -> its stamp, as
            ``up_to_date.stamp`` gives it. An empty stamp: the file must exist, its content may
            change.
    """

    stem: str
    status: Literal["ok", "failed"]
    started: str
    seconds: float
    error: str
    parameters: Mapping[str, Any]
    environment: Mapping[str, str]
    commit: str | None
    trained: tuple[str, ...] = ()
    stores: Mapping[str, StoreUse] = field(default_factory=dict)
    basis: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str | None] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The content as ``runs.json`` holds it."""
        content = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        stores = {path: use.to_json() for path, use in self.stores.items()}
        return content | {"trained": list(self.trained), "stores": stores}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> RunRecord:
        """The inverse of ``to_json``.

        Raises:
            KeyError: for a field that is missing.
        """
        fields = {f.name: content[f.name] for f in dataclasses.fields(cls)}
        stores = {path: StoreUse.from_json(use) for path, use in fields["stores"].items()}
        return cls(**fields | {"trained": tuple(fields["trained"]), "stores": stores})


def read_records(folder: Path) -> dict[str, RunRecord]:
    """The record of each notebook in a results folder, by stem; empty without ``runs.json``.

    Records that another version of the package wrote in another format are left out.

    Raises:
        StoreError: for a file that is not JSON or could not be opened.
    """
    path = folder / RECORDS
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise unreadable(path, error, "delete it") from error
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} is not JSON; delete it, the next run writes it again") from error
    known = {f.name for f in dataclasses.fields(RunRecord)}
    return {
        stem: RunRecord.from_json(record)
        for stem, record in content.items()
        if known <= record.keys()
    }


def write_records(folder: Path, records: Mapping[str, RunRecord]) -> None:
    """Writes ``runs.json`` of a results folder.

    Raises:
        OSError: when the folder cannot be written.
    """
    content = {stem: record.to_json() for stem, record in records.items()}
    write_atomically(folder / RECORDS, json.dumps(content, indent=1).encode())
