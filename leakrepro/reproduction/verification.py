"""``verify``: score every stored sample again and derive every table again, without sampling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leakrepro.errors import StoreError
from leakrepro.execution import local
from leakrepro.profiles.schema import load_profile
from leakrepro.reproduction.integrity import (
    RESTORE,
    changed_files,
    changed_notebook,
    changed_records,
)
from leakrepro.reproduction.notebook import execute_task, find_notebooks, pick
from leakrepro.reproduction.page import INDEX, render_page
from leakrepro.reproduction.record import RunRecord, read_records
from leakrepro.reproduction.runner import overrides, run_name
from leakrepro.reproduction.tables import NAMED, compare_outputs, compare_tables
from leakrepro.sampling.digests import changed_samples, digest_file
from leakrepro.sampling.store import open_store
from leakrepro.storage import atomic, paths
from leakrepro.storage.owner import check_free
from leakrepro.storage.provenance import Kind, Note


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
    notebooks: str | Path | None = None,
) -> Verification:
    """Verifies the results of a profile from the stored samples.

    1. Every file that ``reproduce`` wrote is compared with its digest in ``runs.json``, and every
       record there with its own. Files that are changed, missing or added are named.
    2. Every stored sample is compared with the digest that ``reproduce`` kept when the sample was
       drawn or first used. A changed sample is named by shard, prompt and index.
    3. The cells and parameters of each executed notebook are compared with the notebook that it is
       based on. That notebook is executed again, in a new process, into an empty folder. It may
       neither sample nor train. Every score is computed again and compared with the kept one. The
       rounding of a model-based metric depends on the batch, so a difference of up to 1e-5 is
       accepted and the kept score is used. Answers of an LLM judge are samples and are only read.
    4. Every cell of every table, in CSV and LaTeX files and in the executed notebook, must be the
       same text, or the same number to 1e-12. Columns of wall time (with ``seconds`` in their name)
       are left out.
    5. If all this agrees, the report must be the page that these results give.

    Results, samples and models are not changed.

    Args:
        profile: Name or path of the profile, as for ``leakrepro reproduce``.
        only: Notebooks to verify, by stem or number; by default all that have results.
        jobs: Number of notebooks that run at the same time; None: as the profile says.
        parameters: Notebook parameters that the results were made with.
        notebooks: Folder with the notebooks that were run; None is ``./notebooks``.

    Raises:
        ValueError: for an unknown profile or notebook, when there are no results, and when the
            folder of notebooks has none.
        StoreError: when ``runs.json`` is damaged.
        BusyError: while ``reproduce`` writes into the results.
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
    stems = pick(sorted(everything), only or [*everything], str(results))
    records = {stem: everything[stem] for stem in stems}
    sources = find_notebooks(Path("notebooks") if notebooks is None else Path(notebooks))
    check_free(results)

    differences = [*changed_records(results, {*stems, INDEX})]
    whole = len(records) == len(everything)
    differences += changed_files(results, stems, added=whole, ignored=[INDEX])
    stores = {path for record in records.values() for path in record.stores}
    broken = {}
    for path in sorted(stores):
        try:
            differences += _check_samples(results, paths.home() / path)
        except StoreError as error:
            broken[path] = str(error)
            differences.append(f"samples: {error}; {RESTORE}")

    derivable = []
    for stem, record in records.items():
        notebook = results / f"{stem}.ipynb"
        if record.status != "ok":
            differences.append(f"{stem}: its last run failed, so it does not have results")
        elif not notebook.exists():
            differences.append(f"{notebook} is missing; {RESTORE}")
        elif stem not in sources:
            differences.append(f"{stem}: the notebook that it is based on is missing")
        elif "run" not in record.parameters:
            differences.append(f"{stem}: without a parameter `run` it cannot write elsewhere")
        else:
            differences += changed_notebook(notebook, sources[stem], record, parameters)
            if not broken.keys() & record.stores.keys():
                derivable.append(stem)

    cells = 0
    runs = []
    # Under LEAKREPRO_HOME, where a notebook finds the results of a run by its name.
    with atomic.scratch("verify", paths.home()) as scratch:
        folder = Path(scratch).resolve()
        given = {"profile": str(profile), **parameters, "run": folder.name}
        tasks = [
            (sources[stem], given, folder, settings.threads, jobs > 1, True) for stem in derivable
        ]
        with closing(local.apart(execute_task, tasks, workers=jobs)) as finished:
            runs = [result for _, result in sorted(finished, key=lambda each: each[0])]
        for run, notes in runs:
            differences += _check_run(run, notes, records[run.stem])
            if not run.error:
                compared, found = compare_tables(results, folder, run.stem)
                cells += compared
                differences += found
                name = f"{run.stem}.ipynb"
                differences += compare_outputs(results / name, folder / name)
    page = results / INDEX
    if differences:
        differences += changed_files(results, [INDEX], added=False, ignored=[])
    elif not page.exists() or page.read_bytes() != render_page(results, everything).encode():
        differences.append(f"{page} is not the report of these results; {RESTORE}")
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
        for each in changed[:NAMED]
    ]
    if len(changed) > NAMED:
        named.append(f"{path}: {len(changed) - NAMED} more samples were changed")
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
        for note in scores[:NAMED]
    ]
    if len(scores) > NAMED:
        found.append(f"{run.stem}: {len(scores) - NAMED} more scores differ from the kept ones")
    return found
