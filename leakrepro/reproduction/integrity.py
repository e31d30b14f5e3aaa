"""Check that records, files and notebooks are those that ``reproduce`` wrote."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from leakrepro.reproduction.notebook import literal
from leakrepro.reproduction.record import RunRecord
from leakrepro.storage import keys, records
from leakrepro.storage.records import RECORDS, WRITTEN

RESTORE = "`leakrepro reproduce` restores it"


def changed_records(results: Path, names: Collection[str]) -> Iterator[str]:
    """Yields one sentence per record of ``runs.json`` that is not the one that was written."""
    for name, entry in records.read_entries(results).items():
        if name in names and records.is_edited(entry):
            yield f"{results / RECORDS}: the record of {name} was changed; {RESTORE}"


def changed_files(
    results: Path, names: Collection[str], *, added: bool, ignored: Collection[str]
) -> Iterator[str]:
    """Yields one sentence per file that was changed, removed or added since it was written.

    Args:
        results: A results folder.
        names: The records whose files are checked.
        added: Whether to name files that belong to no record.
        ignored: Paths in the folder that are not checked.
    """
    entries = records.read_entries(results)
    for name in names:
        if not entries.get(name, {}).get(WRITTEN):
            yield f"{name}: its record has no digests of its files; {RESTORE}"
    owned = {n: entry.get(WRITTEN) or {} for n, entry in entries.items()}
    expected = {file: digest for name in names for file, digest in owned.get(name, {}).items()}
    for file, digest in expected.items():
        path = results / file
        if file in ignored:
            continue
        try:
            if keys.file_digest(path) != digest:
                yield f"{path} was changed after `leakrepro reproduce` wrote it; {RESTORE}"
        except FileNotFoundError:
            yield f"{path} is missing; {RESTORE}"
        except OSError as error:
            yield f"{path} cannot be read ({error.strerror}); {RESTORE}"
    if added:
        known = {file for written in owned.values() for file in written} | {RECORDS, *ignored}
        for path in sorted(results.rglob("*")):
            file = path.relative_to(results)
            hidden = any(part.startswith(".") for part in file.parts)
            if not hidden and str(file) not in known and not path.is_dir():
                yield f"{path} was not written by `leakrepro reproduce`; remove it"


def changed_notebook(
    executed: Path, source: Path, record: RunRecord, parameters: Mapping[str, Any]
) -> Iterator[str]:
    """Yields one sentence per difference between an executed notebook and the one that was run.

    Args:
        executed: The executed notebook in the results folder.
        source: The notebook that it is based on.
        record: Its record.
        parameters: The notebook parameters of the run, without ``profile`` and ``run``.
    """
    stem = record.stem
    own = {name: v for name, v in record.parameters.items() if name not in ("profile", "run")}
    if keys.digest(own) != keys.digest(dict(parameters)):
        yield f"{stem}: its record names other parameters, {own}"
    if keys.digest(dict(record.parameters)) != record.basis.get("parameters"):
        yield f"{stem}: its record names other parameters than those that it was run with"
    if keys.file_digest(source) != record.basis.get("notebook"):
        yield f"{stem}: {source} has changed since its run; {RESTORE}"
    try:
        ours = _cells(nbformat.read(executed, as_version=4))  # type: ignore[no-untyped-call]
    except Exception as error:  # nbformat lets several libraries' errors pass
        yield f"{executed} is not a notebook ({type(error).__name__}); {RESTORE}"
        return
    basis = load_notebook_node(literal(source))
    given = dict(record.parameters)
    theirs = _cells(parameterize_notebook(basis, given, kernel_name="python3", language="python"))
    if len(ours) != len(theirs):
        yield f"{executed} has {len(ours)} cells, and {len(theirs)} when it is run from {source}"
        return
    for number, (a, b) in enumerate(zip(ours, theirs, strict=True), 1):
        if a != b:
            yield f"{executed}, cell {number}: its text is not that of {source}; {RESTORE}"


def _cells(notebook: Any) -> Sequence[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]
