"""Run the notebooks of a profile and write the report of their results."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import papermill
from tqdm import tqdm

from leakrepro.errors import NotebookError
from leakrepro.execution import local
from leakrepro.profiles.schema import Profile, load_profile
from leakrepro.reproduction.notebook import (
    execute_task,
    find_notebooks,
    literal,
    pick,
    remove_drafts,
)
from leakrepro.reproduction.page import files_of, write_page
from leakrepro.reproduction.record import RunRecord, StoreUse, read_records, write_record
from leakrepro.reproduction.up_to_date import Basis, basis_of, stamp, what_changed, with_notebook
from leakrepro.sampling.digests import digest_file, keep_digests
from leakrepro.sampling.store import SampleStore, open_store
from leakrepro.storage import paths, provenance
from leakrepro.storage.keys import digest, file_digest
from leakrepro.storage.owner import owned
from leakrepro.storage.provenance import Kind


def reproduce(
    profile: str | Path = "embedded",
    *,
    only: Sequence[str] = (),
    jobs: int | None = None,
    parameters: Mapping[str, Any] | None = None,
    notebooks: str | Path | None = None,
    again: bool = False,
) -> Path:
    """Runs the notebooks of a profile.

    Each notebook is executed in a kernel of this interpreter with ``profile`` and the parameters.
    The executed notebook, an HTML copy and the report go to the same folder as the tables and
    figures that the notebook writes. Digests of the samples are kept for ``verify``.

    A second call runs a notebook only when something has changed since its last success: the
    notebook's file, its parameters, the profile, the package, the environment, or the size or
    modification time of a file that it read or wrote. Samples, models and scores are stored
    separately, and a notebook that runs again reuses them: only what was deleted is made again.
    Files of the hub's cache are not compared with the hub.

    Results go to ``runs/<profile>/``. With parameters they go to
    ``runs/<profile>+<parameters>-<digest>/``, so that they never replace the profile's own results;
    the notebooks receive the folder's name as their parameter ``run``.

    A notebook that fails does not stop the others. It is kept as ``<notebook>.failed.ipynb``, and
    the executed notebook of an earlier success stays.

    Args:
        profile: Name of a profile, or path of a profile file.
        only: Notebooks to run instead of the profile's, by stem or number (``"01"``).
        jobs: Number of notebooks that run at the same time; None: as the profile says.
        parameters: Other notebook parameters, plain values.
        notebooks: Folder with the ``NN_topic.ipynb`` files; None is ``./notebooks``.
        again: Also run the notebooks that are up to date.

    A call that is stopped or killed takes its kernels and workers with it, and the next call
    continues. Only one call at a time may write into a folder of results.

    Returns:
        The folder of the results; ``index.html`` there is the report.

    Raises:
        ValueError: before anything runs, for an unknown profile, notebook or parameter, or a
            parameter that does not fit the profile.
        BusyError: before anything runs, when another call writes into the folder.
        StoreError: before anything runs, when the folder's ``runs.json`` is damaged.
        WorkerError: when a process for a notebook cannot be started, or dies.
        NotebookError: after all notebooks have run, when some have failed; names the cell and the
            error of each.
    """
    parameters = dict(parameters or {})
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be at least 1, not {jobs}")
    settings = load_profile(profile, **overrides(parameters))
    jobs = jobs or settings.jobs
    folder = Path("notebooks") if notebooks is None else Path(notebooks)
    found = find_notebooks(folder)
    chosen = [found[stem] for stem in pick(found, only or settings.notebooks, str(folder))]
    run = run_name(settings.name, parameters)
    given = {"profile": str(profile), **parameters}
    passed = {path: _accept(path, given, run) for path in chosen}

    output = paths.results(run)
    output.mkdir(parents=True, exist_ok=True)
    with owned(output):
        remove_drafts(output)
        try:
            failures = _run(chosen, passed, output, settings, jobs, again)
        finally:
            remove_drafts(output)
    if failures:
        raise NotebookError("\n".join(failures))
    return output


def _run(
    chosen: Sequence[Path],
    passed: Mapping[Path, Mapping[str, Any]],
    output: Path,
    settings: Profile,
    jobs: int,
    again: bool,
) -> list[str]:
    """Runs the notebooks that are due and writes the report; returns the errors."""
    records, failures = read_records(output), {}
    common = basis_of(settings)
    bases = {path: with_notebook(common, path, passed[path]) for path in chosen}
    due = [path for path in chosen if again or _is_due(path.stem, records, bases[path])]
    # One process per notebook: event loops, working folders and Ctrl-C belong to processes.
    tasks = [(path, passed[path], output, settings.threads, jobs > 1, False) for path in due]
    with closing(local.apart(execute_task, tasks, workers=jobs)) as finished:
        for index, (record, notes) in finished:
            # After each notebook: a run that is killed keeps the records of the earlier ones.
            records[record.stem] = _record(record, notes, output, bases[due[index]])
            write_record(output, records[record.stem])
            if record.error:
                failures[index] = record.error
    write_page(output, records)
    return [failures[index] for index in sorted(failures)]


def overrides(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that change the profile; one that does not fit it is refused at once."""
    known = inspect.signature(load_profile).parameters.keys() - {"name"}
    return {name: value for name, value in parameters.items() if name in known}


def run_name(profile: str, parameters: Mapping[str, Any]) -> str:
    """Name of the results' folder."""
    if not parameters:
        return profile
    ordered = sorted(parameters.items())
    readable = ",".join(f"{k}={re.sub('[^A-Za-z0-9.]+', '_', str(v))}" for k, v in ordered)
    return f"{profile}+{readable[:60]}-{digest(dict(ordered))[:6]}"


def _is_due(stem: str, records: Mapping[str, RunRecord], basis: Basis) -> bool:
    """Whether a notebook has to run; prints the reason for one that has run before."""
    if stem not in records:
        return True
    reason = what_changed(records[stem], basis, paths.home())
    state = f"runs again: {reason}" if reason else f"unchanged since {records[stem].started}"
    tqdm.write(f"{stem}: {state}", file=sys.stderr)
    return reason is not None


def _accept(path: Path, given: Mapping[str, Any], run: str) -> dict[str, Any]:
    """The parameters of one notebook; unknown ones are refused (papermill would only warn)."""
    known = papermill.inspect_notebook(literal(path))
    for name in given:
        if name not in known:
            raise ValueError(
                f"{path.name} has no parameter {name!r}; it has: {', '.join(known) or 'none'}"
            )
    if "run" in given:
        raise ValueError("the parameter 'run' cannot be set: it names the folder of the results")
    if "run" in known:
        return {**given, "run": run}
    if len(given) > 1:
        raise ValueError(
            f"{path.name} has no parameter 'run': with changed parameters it would replace "
            "the profile's own results; add `run = None` to its parameters cell"
        )
    return dict(given)


def _record(
    record: RunRecord, notes: Sequence[provenance.Note], output: Path, basis: Basis
) -> RunRecord:
    """Completes a record and keeps the digests of its samples in the results folder."""
    drawn: dict[Path, set[int]] = {}
    for note in notes:
        # The store of a loaded model is removed when its process ends.
        if note.kind == Kind.STORE and note.path.exists():
            drawn.setdefault(note.path, set()).update(note.drawn)
    # Other notebooks add to score files and digest files, so only their existence is checked.
    shared = {note.path for note in notes if note.kind == Kind.SCORES}
    own = {output / name for name in files_of(output, record.stem)}
    own |= {note.path for note in notes if note.kind in (Kind.STORE, Kind.MODEL, Kind.FILE)}
    stores: dict[str, StoreUse] = {}
    kept: set[Path] = set()
    for path, shards in drawn.items() if record.status == "ok" else ():
        store = open_store(path)
        digests = digest_file(output, store)
        keep_digests(store, digests, shards)
        kept.add(digests)
        stores[_from_home(path)] = _use(store, shards)
    stamps = dict.fromkeys(sorted(shared | kept), "") | {path: stamp(path) for path in sorted(own)}
    # A path that does not exist any more was temporary.
    files = {_from_home(p): s for p, s in stamps.items() if s is not None and p.exists()}
    mine = {output / name for name in files_of(output, record.stem)} | kept
    written = {str(path.relative_to(output)): file_digest(path) for path in sorted(mine)}
    return dataclasses.replace(record, stores=stores, basis=basis, files=files, written=written)


def _use(store: SampleStore, drawn: Collection[int]) -> StoreUse:
    tokens = [int(np.nansum(t["n_tokens"].to_numpy())) for t in store.read_shards(["n_tokens"])]
    rows = [sum(request.stop - request.start for request in plan) for plan in store.plan]
    return StoreUse(
        samples=sum(rows),
        tokens=sum(tokens),
        drawn=sum(rows[i] for i in drawn),
        drawn_tokens=sum(tokens[i] for i in drawn),
    )


def _from_home(path: Path) -> str:
    home, path = paths.home().absolute(), path.absolute()
    return str(path.relative_to(home) if path.is_relative_to(home) else path)
