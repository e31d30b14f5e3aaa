"""``verify``: score every stored sample again and derive every table again, without sampling."""

from __future__ import annotations

import csv
import math
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from leakrepro.errors import StoreError
from leakrepro.profiles.schema import load_profile
from leakrepro.reproduction.notebook import execute, pick
from leakrepro.reproduction.page import INDEX, files_of, render_page
from leakrepro.reproduction.record import RunRecord, read_records
from leakrepro.reproduction.runner import overrides, run_name
from leakrepro.sampling.digests import changed_samples, digest_file
from leakrepro.sampling.store import open_store
from leakrepro.storage import paths
from leakrepro.storage.provenance import Kind, Note

TOLERANCE = 1e-12
# The names of columns of wall time contain this word; a second run does not reproduce them.
_WALL_TIME = re.compile(r"\bseconds\b")
_RESTORE = "`leakrepro reproduce` restores it"
_NAMED = 20  # differences of one file that are listed; the others are counted


@dataclass(frozen=True)
class Verification:
    """What ``verify`` found.

    Attributes:
        results: Folder of the results that were verified.
        notebooks: Stems of the notebooks whose tables were derived again.
        stores: Number of sample stores that were checked.
        samples: Number of samples in these stores; each is compared with its digest and scored
            again.
        cells: Number of table cells that were compared.
        differences: One sentence per difference; empty when everything agrees.
    """

    results: Path
    notebooks: tuple[str, ...]
    stores: int
    samples: int
    cells: int
    differences: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether there is no difference."""
        return not self.differences

    def __str__(self) -> str:
        found = f"{len(self.differences)} differences" if self.differences else "all agree"
        return (
            f"{self.results}: {len(self.notebooks)} notebooks, {self.samples:,} samples in "
            f"{self.stores} stores, {self.cells:,} cells of tables: {found}"
        )


def verify(
    profile: str | Path = "embedded",
    *,
    only: Sequence[str] = (),
    jobs: int | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Verification:
    """Verifies the results of a profile from the stored samples.

    1. Every stored sample is compared with the digest that ``reproduce`` kept when the sample was
       drawn or first used. A changed sample is named by shard, prompt and index.
    2. The executed notebooks are executed again, each in a new process, into an empty folder. They
       may neither sample nor train. Every score is computed again and compared with the kept one.
       The rounding of a model-based metric depends on the batch, so a difference of up to 1e-5 is
       accepted and the kept score is used. Answers of an LLM judge are samples and are only read.
    3. Every cell of every table must be the same text, or the same number to 1e-12. Columns of wall
       time (with ``seconds`` in their name) are left out.
    4. If all this agrees, the report must be the page that these results give.

    Results, samples and models are not changed.

    Args:
        profile: Name or path of the profile, as for ``leakrepro reproduce``.
        only: Notebooks to verify, by stem or number; by default all that have results.
        jobs: Number of notebooks that run at the same time; None: as the profile says.
        parameters: Notebook parameters that the results were made with.

    Raises:
        ValueError: for an unknown profile or notebook, and when there are no results.
        StoreError: when the records of the results cannot be read.
    """
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be at least 1, not {jobs}")
    parameters = dict(parameters or {})
    settings = load_profile(profile, **overrides(parameters))
    jobs = jobs or settings.jobs
    results = paths.results(run_name(settings.name, parameters))
    everything = read_records(results)
    if not everything:
        raise ValueError(f"{results} has no results to verify: run leakrepro reproduce first")
    records = {
        stem: everything[stem]
        for stem in pick(sorted(everything), only or [*everything], str(results))
    }

    differences: list[str] = []
    stores = {path for record in records.values() for path in record.stores}
    broken = {}
    for path in sorted(stores):
        try:
            differences += _check_samples(results, paths.home() / path)
        except StoreError as error:
            broken[path] = str(error)
            differences.append(f"samples: {error}; {_RESTORE}")

    derivable: dict[Path, Mapping[str, Any]] = {}
    for stem, record in records.items():
        notebook = results / f"{stem}.ipynb"
        if record.status != "ok":
            differences.append(f"{stem}: its last run failed, so it does not have results")
        elif not notebook.exists():
            differences.append(f"{stem}: {notebook} is missing; {_RESTORE}")
        elif "run" not in record.parameters:
            differences.append(f"{stem}: without a parameter `run` it cannot write elsewhere")
        elif not broken.keys() & record.stores.keys():
            derivable[notebook] = record.parameters

    cells = 0
    with tempfile.TemporaryDirectory(prefix="leakrepro-verify-") as scratch:
        folder = Path(scratch).resolve() / results.name
        folder.mkdir()
        run_one = partial(
            execute, output=folder, threads=settings.threads, quiet=jobs > 1, stored_only=True
        )
        given = [{**parameters, "run": str(folder)} for parameters in derivable.values()]
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            runs = list(pool.map(run_one, derivable, given))
        for run, notes in runs:
            differences += _check_run(run, notes, records[run.stem])
            if not run.error:
                compared, found = _compare_tables(results, folder, run.stem)
                cells += compared
                differences += found
    page = results / INDEX
    if not differences and (
        not page.exists() or page.read_text(encoding="utf-8") != render_page(results, everything)
    ):
        differences.append(f"{page} is not the report of these results; {_RESTORE}")
    uses = {path: use for record in records.values() for path, use in record.stores.items()}
    return Verification(
        results=results,
        notebooks=tuple(run.stem for run, _ in runs),
        stores=len(stores) - len(broken),
        samples=sum(use.samples for path, use in uses.items() if path not in broken),
        cells=cells,
        differences=tuple(dict.fromkeys(differences)),
    )


def _check_samples(results: Path, path: Path) -> list[str]:
    """Differences between a store and its digests."""
    store = open_store(path)
    file = digest_file(results, store)
    if not file.exists():
        raise StoreError(f"the digests of {path} are missing: {file} does not exist")
    changed = list(changed_samples(store, file))
    named = [
        f"{each.shard}: sample {each.sample} of prompt {each.prompt_id!r} was changed"
        for each in changed[:_NAMED]
    ]
    if len(changed) > _NAMED:
        named.append(f"{path}: {len(changed) - _NAMED} more samples were changed")
    return named


def _check_run(run: RunRecord, notes: Sequence[Note], record: RunRecord) -> list[str]:
    """Differences that an execution itself shows: its failure, other stores, other scores."""
    if run.error:
        # The second line names the failed copy, which has been deleted.
        return [f"{run.stem}: it could not be derived again: {run.error.splitlines()[0]}"]
    home = paths.home().absolute()
    known = {home / path for path in record.stores}
    used = {note.path for note in notes if note.kind == Kind.STORE and note.path.exists()}
    found = [
        f"{run.stem}: it uses samples without digests, {path}" for path in sorted(used - known)
    ]
    scores = [note for note in notes if note.kind == Kind.CHANGED_SCORE]
    found += [
        f"{note.path}: the score of {note.key} is {note.kept}, and {note.computed} when computed "
        "again"
        for note in scores[:_NAMED]
    ]
    if len(scores) > _NAMED:
        found.append(f"{run.stem}: {len(scores) - _NAMED} more scores differ from the kept ones")
    return found


def _compare_tables(results: Path, derived: Path, stem: str) -> tuple[int, list[str]]:
    """Number of compared cells, and the differences of a notebook's tables."""
    kept, new = (
        {name for name in files_of(folder, stem) if name.endswith(".csv")}
        for folder in (results, derived)
    )
    found = [f"{results / name} is missing; {_RESTORE}" for name in sorted(new - kept)]
    found += [f"{results / name} is not written when derived again" for name in sorted(kept - new)]
    cells = 0
    for name in sorted(kept & new):
        ours, theirs = _read(results / name), _read(derived / name)
        if ours[:1] != theirs[:1] or len(ours) != len(theirs):
            found.append(f"{results / name} has other rows or columns when derived again")
            continue
        cells += sum(map(len, ours[1:]))
        differing = list(_differing(ours, theirs))
        found += [f"{results / name}, {each}" for each in differing[:_NAMED]]
        if len(differing) > _NAMED:
            found.append(f"{results / name}: {len(differing) - _NAMED} more cells differ")
    return cells, found


def _differing(kept: list[list[str]], derived: list[list[str]]) -> Iterator[str]:
    header = kept[0]
    for number, (ours, theirs) in enumerate(zip(kept[1:], derived[1:], strict=True), 1):
        for column, a, b in zip(header, ours, theirs, strict=True):
            if not _WALL_TIME.search(column) and not _same(a, b):
                yield f"row {number}, column {column!r}: {a}, and {b} when derived again"


def _same(a: str, b: str) -> bool:
    if a == b:
        return True
    try:
        x, y = float(a), float(b)
    except ValueError:
        return False
    return math.isclose(x, y, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _read(file: Path) -> list[list[str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.reader(lines))
