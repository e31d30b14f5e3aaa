"""The reproduction report: one page of what a profile's notebooks gave, and of what it rests on."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from leakrepro.evaluation.frames import readable
from leakrepro.reproduction.verdict import Verdict, compare_results, verdict
from leakrepro.storage.atomic import write_atomically

INDEX = "index.html"
_OPEN_ROWS = 40  # longer tables are folded
_MOST_ROWS = 1000  # and those beyond are linked alone
_COST = ("samples", "tokens", "drawn", "drawn tokens")


def write_index(folder: Path, runs: Mapping[str, Mapping[str, Any]]) -> Path:
    """Writes ``index.html``, the page of ``render_index``, and returns its path.

    Raises:
        OSError: when the folder cannot be read or written.
    """
    path = folder / INDEX
    write_atomically(path, render_index(folder, runs).encode())
    return path


def render_index(folder: Path, runs: Mapping[str, Mapping[str, Any]]) -> str:
    """The report: a table of contents with verdicts, and a section a notebook.

    A section has the notebook's figures, its tables, ours against the published values, its cost
    and its files. The figures are in the page, which needs no other file and no script.

    A notebook's files are those in ``folder`` whose names begin with its stem, or with its stem
    without the number; those of a failed one are left out, since they are of an earlier run.

    Args:
        folder: Results of a profile.
        runs: Notebook stem -> its record, as ``reproduction.runner.read_records`` gives it.

    Raises:
        OSError: when the folder cannot be read.
    """
    last = max(runs.values(), key=lambda run: str(run["started"]))
    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = (resources.files("leakrepro") / "reproduction" / "page.html.jinja").read_text("utf-8")
    return template.from_string(text).render(
        name=folder.name,
        pages=[_section(folder, stem, run) for stem, run in sorted(runs.items())],
        environment=last["environment"],
        zip=zip,
    )


def files_of(folder: Path, stem: str) -> list[str]:
    """Names of a notebook's files in the folder of its results."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    prefixes = (stem, stem.partition("_")[2] or stem)
    return [name for name in names if name.startswith(prefixes)]


def _section(folder: Path, stem: str, run: Mapping[str, Any]) -> dict[str, Any]:
    failed = run["status"] != "ok"
    files = files_of(folder, stem)
    if failed:
        files = [name for name in files if name == f"{stem}.failed.ipynb"]
    values = None if failed else compare_results(folder, stem)
    paper = Path(str(run["parameters"].get("profile"))).stem == "paper"
    found = verdict(values, paper=paper, failed=failed)
    # The plain name is the main figure.
    figures = sorted((n for n in files if n.endswith(".png")), key=lambda n: Path(n).stem)
    return {
        "stem": stem,
        "run": run,
        "title": _title(folder / f"{stem}{'.failed' if failed else ''}.ipynb", stem),
        "verdict": found,
        "cost": {name: sum(each[name] for each in run["stores"].values()) for name in _COST},
        "files": files,
        "figures": {n: base64.b64encode((folder / n).read_bytes()).decode() for n in figures},
        "tables": [*_tables(folder, files), *_compared(found)],
    }


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
    """A table as the page shows it: strings, folded away or open; ``words`` are left-aligned."""

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
        """Class of a column's cells."""
        return "words" if column in self.words else "number"


def _tables(folder: Path, files: Sequence[str]) -> Iterator[_Table]:
    tables = (name for name in files if name.endswith(".csv"))
    for name in sorted(tables, key=lambda name: (".summary." not in name, name)):
        frame = _wide(pd.read_csv(folder / name))
        if len(frame) <= _MOST_ROWS:
            yield _Table.of(name, frame, digits=2, unfolded=len(frame) <= _OPEN_ROWS)


def _wide(frame: pd.DataFrame) -> pd.DataFrame:
    """Curves in long form with a column a k, and without what is the same in all rows."""
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
    """Ours and the published values: those that differ, open, and all, re-runs too."""
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
        title = f"Beside the published values: {len(outside)} of {own.sum()} differ"
        yield _Table.of(title, outside, digits=4, unfolded=True)
    yield _Table.of("All values beside the published ones", table, digits=4, unfolded=False)
