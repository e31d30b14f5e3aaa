"""Runs the notebooks of a profile and keeps everything that they show."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import papermill
from tqdm import tqdm

from leakrepro.errors import NotebookError, StoreError
from leakrepro.profiles.schema import load_profile
from leakrepro.reproduction.notebook import Run, execute, literal, pick
from leakrepro.reproduction.page import files_of, write_index
from leakrepro.reproduction.up_to_date import Basis, basis_of, stamp, what_changed, with_notebook
from leakrepro.sampling.digests import digest_file, keep_digests
from leakrepro.sampling.store import open_store
from leakrepro.storage import paths
from leakrepro.storage.atomic import write_atomically
from leakrepro.storage.keys import digest

_RECORDS = "runs.json"


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
    The executed notebook, an HTML copy and a report are written beside the tables and figures that
    it writes itself. Digests of the samples that the results rest on are kept for ``verify``.

    A second call runs a notebook only when something has changed since its last success: its file,
    parameters, profile, package or environment, or the size or time of a file that it read or
    wrote. Samples, models and scores are kept apart, and a notebook that runs again reuses them:
    what was deleted is made again, and nothing else. The hub's files are taken for what they were.

    Results go to ``runs/<profile>/``. With parameters they go to a folder of their own,
    ``runs/<profile>+<parameters>-<digest>/``, so that the plain results are never replaced by
    others; notebooks learn its name from their parameter ``run``.

    A notebook that fails does not stop the others; what it did is kept as
    ``<notebook>.failed.ipynb``, and the executed notebook of an earlier success stays.

    Args:
        profile: Name of a profile, or path of a profile file.
        only: Notebooks to run instead of the profile's, by stem or number (``"01"``).
        jobs: Notebooks at the same time; None for as many as the profile says.
        parameters: Other notebook parameters, plain values.
        notebooks: Folder with the ``NN_topic.ipynb`` files; None is ``./notebooks``.
        again: Run the notebooks whose results are unchanged too.

    Returns:
        The folder of the results; ``index.html`` there is the report.

    Raises:
        ValueError: before anything runs, for an unknown profile, notebook or parameter, or a
            parameter that does not fit the profile.
        NotebookError: when all have run and some have failed; gives each one's cell and error.
    """
    parameters = dict(parameters or {})
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be at least 1, not {jobs}")
    settings = load_profile(profile, **overrides(parameters))
    jobs = jobs or settings.jobs
    folder = Path("notebooks") if notebooks is None else Path(notebooks)
    chosen = _choose(folder, only or settings.notebooks)
    run = run_name(settings.name, parameters)
    given = {"profile": str(profile), **parameters}
    passed = {path: _accept(path, given, run) for path in chosen}

    output = paths.results(run)
    output.mkdir(parents=True, exist_ok=True)
    records, failures = read_records(output), []
    common = basis_of(settings)
    bases = {path: with_notebook(common, path, passed[path]) for path in chosen}
    due = [path for path in chosen if again or _is_due(path.stem, records, bases[path])]
    # A process each: event loops, working folders and Ctrl-C belong to processes.
    run_one = partial(execute, output=output, threads=settings.threads, quiet=jobs > 1)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        results = pool.map(run_one, due, [passed[path] for path in due])
        for path, result in zip(due, results, strict=True):
            # After each: a run that is killed keeps the records of the notebooks before.
            records[result.stem] = _record(result, output, bases[path])
            write_atomically(output / _RECORDS, json.dumps(records, indent=1).encode())
            if result.error:
                failures.append(result.error)
    write_index(output, records)
    if failures:
        raise NotebookError("\n".join(failures))
    return output


def overrides(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that change the profile, so that what does not fit it is found at once."""
    known = inspect.signature(load_profile).parameters.keys() - {"name"}
    return {name: value for name, value in parameters.items() if name in known}


def run_name(profile: str, parameters: Mapping[str, Any]) -> str:
    """Name of the results' folder."""
    if not parameters:
        return profile
    ordered = sorted(parameters.items())
    readable = ",".join(f"{k}={re.sub('[^A-Za-z0-9.]+', '_', str(v))}" for k, v in ordered)
    return f"{profile}+{readable[:60]}-{digest(dict(ordered))[:6]}"


def _choose(folder: Path, wanted: Sequence[str]) -> list[Path]:
    found = {path.stem: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}
    if not found:
        raise ValueError(
            f"no notebooks (NN_topic.ipynb) in {folder.absolute()}; "
            "run in the repository's root or name their folder with --notebooks"
        )
    return [found[stem] for stem in pick(found, wanted, str(folder))]


def _is_due(stem: str, records: Mapping[str, Any], basis: Basis) -> bool:
    """Whether a notebook has to run; says so of one that has run before."""
    if stem not in records:
        return True
    reason = what_changed(records[stem], basis, paths.home())
    state = f"runs again: {reason}" if reason else f"unchanged since {records[stem]['started']}"
    tqdm.write(f"{stem}: {state}", file=sys.stderr)
    return reason is not None


def _accept(path: Path, given: Mapping[str, Any], run: str) -> dict[str, Any]:
    """The parameters for one notebook; papermill itself would only warn of unknown ones."""
    known = papermill.inspect_notebook(literal(path))
    for name in given:
        if name not in known:
            raise ValueError(
                f"{path.name} has no parameter {name!r}; it has: {', '.join(known) or 'none'}"
            )
    if "run" in given:
        raise ValueError("the parameter 'run' is not free: it names the folder of the results")
    if "run" in known:
        return {**given, "run": run}
    if len(given) > 1:
        raise ValueError(
            f"{path.name} has no parameter 'run', so that with changed parameters it would "
            "replace the profile's own results; add `run = None` to its parameters cell"
        )
    return dict(given)


def read_records(output: Path) -> dict[str, Any]:
    """What a results folder says about its notebooks' last runs, by stem.

    That is, of each notebook, what ``notebook.Run`` holds, the models that it had trained
    (``trained``), and ``stores``: each store's path, seen from ``LEAKREPRO_HOME``, with its samples
    and tokens and how many of them that run drew; ``basis`` and ``files`` are for
    ``unchanged.what_changed``. Records of other versions are left out.

    Raises:
        StoreError: for a file that is not JSON.
    """
    path = output / _RECORDS
    if not path.exists():
        return {}
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(f"{path} is not JSON; delete it: the next run writes it anew") from error
    return {stem: record for stem, record in records.items() if "basis" in record}


def _record(run: Run, output: Path, basis: Basis) -> dict[str, Any]:
    """A run as the results keep it, with the digests of its samples beside it."""
    record = asdict(run)
    notes = record.pop("notes")
    drawn: dict[str, set[int]] = {}
    for note in notes:
        if "store" in note:
            drawn.setdefault(note["store"], set()).update(note["drawn"])
    record["trained"] = [note["trained"] for note in notes if "trained" in note]
    # Other notebooks add to files of scores and of digests: these need only be there.
    shared = {Path(note["scores"]) for note in notes if "scores" in note}
    own = {output / name for name in files_of(output, run.stem)}
    own |= {Path(note[kind]) for note in notes for kind in ("store", "read") if kind in note}
    record["stores"] = {}
    for path, shards in drawn.items() if run.status == "ok" else ():
        store = open_store(path)
        digests = digest_file(output, store)
        keep_digests(store, digests, shards)
        shared.add(digests)
        tokens = [np.nansum(t["n_tokens"].to_numpy()) for t in store.read_shards(["n_tokens"])]
        rows = [sum(request.stop - request.start for request in plan) for plan in store.plan]
        record["stores"][_from_home(Path(path))] = {
            "samples": sum(rows),
            "tokens": int(sum(tokens)),
            "drawn": sum(rows[i] for i in shards),
            "drawn tokens": int(sum(tokens[i] for i in shards)),
        }
    record["basis"] = basis
    stamps = dict.fromkeys(sorted(shared), "") | {path: stamp(path) for path in sorted(own)}
    # What is gone by now was temporary.
    record["files"] = {_from_home(path): s for path, s in stamps.items() if path.exists()}
    return record


def _from_home(path: Path) -> str:
    home, path = paths.home().absolute(), path.absolute()
    return str(path.relative_to(home) if path.is_relative_to(home) else path)
