"""The reproduction report: one HTML page with a profile's results, environment and cost."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from leakrepro.evaluation.frames import read_table, readable
from leakrepro.reproduction.record import RunRecord, StoreUse
from leakrepro.reproduction.verdict import Verdict, compare_results, verdict
from leakrepro.storage.atomic import write_atomically
from leakrepro.storage.records import keep_written
from leakrepro.storage.shown import plain

INDEX = "index.html"
_OPEN_ROWS = 40  # longer tables are folded
_MOST_ROWS = 1000  # longer tables are only linked


def write_page(folder: Path, records: Mapping[str, RunRecord]) -> Path:
    """Writes ``index.html``, the page of ``render_page``.

    Args:
        folder: Results of a profile.
        records: Notebook stem -> its record, at least one.

    Returns:
        The path of ``index.html``.

    Raises:
        OSError: when the folder cannot be read or written.
    """
    path = folder / INDEX
    write_atomically(path, render_page(folder, records).encode())
    keep_written(folder, [INDEX], name=INDEX)
    return path


def render_page(folder: Path, records: Mapping[str, RunRecord]) -> str:
    """The report: a table of contents with verdicts, and one section per notebook.

    A section has the notebook's figures, its tables, the comparison with published values, its cost
    and links to its files. The figures are embedded; the page needs no other file and no script.

    A notebook's files are those in ``folder`` whose names begin with its stem, or with its stem
    without the number. Files of a failed notebook are left out, because an earlier run wrote them.

    Args:
        folder: Results of a profile.
        records: Notebook stem -> its record, at least one.

    Returns:
        The page as HTML.

    Raises:
        OSError: when the folder cannot be read.
    """
    last = max(records.values(), key=lambda record: record.started)
    template = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    text = (resources.files("leakrepro") / "reproduction" / "page.html.jinja").read_text("utf-8")
    return template.from_string(text).render(
        name=folder.name,
        sections=[_section(folder, stem, record) for stem, record in sorted(records.items())],
        environment=last.environment,
        zip=zip,
    )


def _finalize(value: Any) -> Any:
    return plain(value) if type(value) is str else value


def files_of(folder: Path, stem: str) -> list[str]:
    """Names of a notebook's files in the folder of its results."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    prefixes = (stem, stem.partition("_")[2] or stem)
    return [name for name in names if name.startswith(prefixes)]


def _section(folder: Path, stem: str, record: RunRecord) -> dict[str, Any]:
    failed = record.status != "ok"
    files = files_of(folder, stem)
    if failed:
        files = [name for name in files if name == f"{stem}.failed.ipynb"]
    values = None if failed else compare_results(folder, stem)
    paper = Path(str(record.parameters.get("profile"))).stem == "paper"
    found = verdict(values, paper=paper, failed=failed)
    # The main figure, whose name is the stem, comes first.
    figures = sorted((n for n in files if n.endswith(".png")), key=lambda n: Path(n).stem)
    return {
        "stem": stem,
        "record": record,
        "title": _title(folder / f"{stem}{'.failed' if failed else ''}.ipynb", stem),
        "verdict": found,
        "cost": _total(record.stores.values()),
        "files": files,
        "figures": {n: base64.b64encode((folder / n).read_bytes()).decode() for n in figures},
        "tables": [*_tables(folder, files), *_compared(found)],
    }


def _total(stores: Iterable[StoreUse]) -> StoreUse:
    uses = list(stores)
    return StoreUse(
        samples=sum(use.samples for use in uses),
        tokens=sum(use.tokens for use in uses),
        drawn=sum(use.drawn for use in uses),
        drawn_tokens=sum(use.drawn_tokens for use in uses),
    )


def _title(notebook: Path, stem: str) -> str:
    """The notebook's first heading."""
    try:
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError):
        return stem
    lines = (line for cell in cells for line in "".join(cell["source"]).splitlines())
    return next((line[2:].strip() for line in lines if line.startswith("# ")), stem)


@dataclass(frozen=True)
class _Table:
    """A table of strings as the page shows it; columns in ``words`` are left-aligned."""

    title: str
    columns: list[str]
    words: set[str]
    rows: list[list[str]]
    open: bool

    @classmethod
    def of(cls, title: str, frame: pd.DataFrame, *, digits: int, unfolded: bool) -> _Table:
        text = readable(frame, digits)
        columns = list(map(str, text))
        words = {name for name in columns if not pd.api.types.is_numeric_dtype(frame[name])}
        return cls(title, columns, words, text.astype(str).to_numpy().tolist(), unfolded)

    def side(self, column: str) -> str:
        """CSS class of a column's cells."""
        return "words" if column in self.words else "number"


def _tables(folder: Path, files: Sequence[str]) -> Iterator[_Table]:
    tables = (name for name in files if name.endswith(".csv"))
    for name in sorted(tables, key=lambda name: (".summary." not in name, name)):
        frame = _wide(read_table(folder / name))
        if len(frame) <= _MOST_ROWS:
            yield _Table.of(name, frame, digits=2, unfolded=len(frame) <= _OPEN_ROWS)


def _wide(frame: pd.DataFrame) -> pd.DataFrame:
    """Curves in long form with one column per k, without the columns that are constant."""
    if not {"model", "k", "leak@k"} <= set(frame):
        return frame
    keys = ["benchmark", "metric", "temperature", "top_p", "top_k", "n"]
    kept = [name for name in keys if name in frame and frame[name].nunique(dropna=False) > 1]
    if frame.duplicated([*kept, "model", "k"]).any():
        return frame
    order = frame[[*kept, "model"]].drop_duplicates()
    wide = frame.pivot(index=[*kept, "model"], columns="k", values="leak@k")
    wide.columns = [f"leak@{k}" for k in wide.columns]
    wide = order.merge(wide.reset_index(), on=[*kept, "model"])
    return wide[["model", *kept, *(name for name in map(str, wide) if name.startswith("leak@"))]]


def _compared(found: Verdict) -> Iterator[_Table]:
    """Our values and the published ones: those that differ, open, then all, including re-runs."""
    if found.word not in ("agrees", "differs"):
        return
    shown = ["model", "what", "ours", "published", "difference", "tolerance", "checkpoint"]
    table = found.values[[*shown, "agrees"]].rename(columns={"checkpoint": "other weights"})
    table["agrees"] = table["agrees"].map({True: "yes", False: "no"})
    if (table["other weights"] == "").all():
        table = table.drop(columns="other weights")
    own = found.values["checkpoint"] == ""
    outside = table[own & (table["agrees"] == "no")]
    if len(outside):
        title = f"Comparison with published values: {len(outside)} of {own.sum()} differ"
        yield _Table.of(title, outside, digits=4, unfolded=True)
    yield _Table.of("Comparison with published values: all values", table, digits=4, unfolded=False)
