"""The record of a notebook's last run, kept in ``runs.json`` of the results folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from leakrepro.storage import records


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
        written: Path in the results folder of each file that belongs to the run -> its digest.
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
    written: Mapping[str, str] = field(default_factory=dict)

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
        fields = {name: content[name] for name in _FIELDS}
        stores = {path: StoreUse.from_json(use) for path, use in fields["stores"].items()}
        written = content.get("written", {})  # records of earlier versions do not have it
        changes = {"trained": tuple(fields["trained"]), "stores": stores, "written": written}
        return cls(**fields | changes)


_FIELDS = {field.name for field in dataclasses.fields(RunRecord)} - {"written"}


def read_records(folder: Path) -> dict[str, RunRecord]:
    """The record of each notebook in a results folder, by stem; empty without ``runs.json``.

    Records that another version of the package wrote in another format are left out.

    Raises:
        StoreError: for a file that is damaged or cannot be opened.
    """
    found = {}
    for stem, content in records.read_entries(folder).items():
        if content.keys() >= _FIELDS:
            try:
                found[stem] = RunRecord.from_json(content)
            except (TypeError, ValueError, KeyError, AttributeError) as error:
                raise records.damaged_record(folder, stem, error) from error
    return found


def write_record(folder: Path, record: RunRecord) -> None:
    """Adds a record to ``runs.json``, or replaces the one of an earlier run.

    Raises:
        StoreError: for a file that is damaged.
        OSError: when the folder cannot be written.
    """
    records.put_entry(folder, record.stem, record.to_json())
