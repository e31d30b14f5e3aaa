"""Compare the tables of two executions of a notebook, cell by cell."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import nbformat

from leakrepro.reproduction.integrity import RESTORE
from leakrepro.reproduction.page import files_of
from leakrepro.storage.text_files import long_cells

TOLERANCE = 1e-12
NAMED = 20  # differences of one file that are listed; the others are counted
# The names of columns of wall time contain this word; a second run does not reproduce them.
_WALL_TIME = re.compile(r"\bseconds\b")
_NUMBER = re.compile(r"(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)")

Table = list[list[str]]


def compare_tables(results: Path, derived: Path, stem: str) -> tuple[int, list[str]]:
    """Compares a notebook's CSV and LaTeX tables with those of another execution.

    Args:
        results: The folder of the results.
        derived: The folder of the other execution.
        stem: The notebook.

    Returns:
        The number of compared CSV cells, and one sentence per difference.
    """
    kept, new = (
        {name for name in files_of(folder, stem) if name.endswith((".csv", ".tex"))}
        for folder in (results, derived)
    )
    found = [f"{results / name} is missing; {RESTORE}" for name in sorted(new - kept)]
    found += [f"{results / name} is not written when derived again" for name in sorted(kept - new)]
    cells = 0
    for name in sorted(kept & new):
        if name.endswith(".tex"):
            found += _compare_latex(results / name, derived / name)
            continue
        try:
            ours, theirs = _read(results / name), _read(derived / name)
        except (ValueError, csv.Error) as error:
            found.append(f"{results / name} cannot be read as a table: {error}")
            continue
        cells += sum(map(len, ours[1:]))
        found += _compare(str(results / name), ours, theirs)
    return cells, found


def compare_outputs(executed: Path, derived: Path) -> list[str]:
    """Compares the tables that an executed notebook shows with those of another execution.

    Returns:
        One sentence per difference. Outputs that are not tables are not compared.
    """
    try:
        ours = _shown(executed)
    except Exception as error:  # nbformat lets several libraries' errors pass
        return [f"{executed} is not a notebook ({type(error).__name__}); {RESTORE}"]
    found = []
    theirs = _shown(derived)
    for number in sorted(ours.keys() | theirs.keys()):
        place = f"{executed}, cell {number}"
        a, b = ours.get(number, []), theirs.get(number, [])
        if len(a) != len(b):
            found.append(f"{place} shows {len(a)} tables, and {len(b)} when derived again")
            continue
        for mine, other in zip(a, b, strict=True):
            found += _compare(place, mine, other)
    return found


def _compare(place: str, ours: Table, theirs: Table) -> list[str]:
    widths = [list(map(len, table)) for table in (ours, theirs)]
    if ours[:1] != theirs[:1] or widths[0] != widths[1] or len({*widths[0]}) > 1:
        return [f"{place} has other rows or columns when derived again"]
    differing = list(_differing(ours, theirs))
    found = [f"{place}, {each}" for each in differing[:NAMED]]
    if len(differing) > NAMED:
        found.append(f"{place}: {len(differing) - NAMED} more cells differ")
    return found


def _differing(kept: Table, derived: Table) -> Iterator[str]:
    header = kept[0] if kept else []
    for number, (ours, theirs) in enumerate(zip(kept[1:], derived[1:], strict=True), 1):
        if ours and _WALL_TIME.search(ours[0]) and ours[0] == theirs[0]:
            continue  # a table whose rows are what is columns elsewhere
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


def _compare_latex(kept: Path, derived: Path) -> Iterator[str]:
    try:
        ours, theirs = (p.read_text(encoding="utf-8").splitlines() for p in (kept, derived))
    except ValueError as error:
        yield f"{kept} cannot be read as text: {error}"
        return
    if any(map(_WALL_TIME.search, theirs)):
        return
    if len(ours) != len(theirs):
        yield f"{kept} has {len(ours)} lines, and {len(theirs)} when derived again"
        return
    for number, (a, b) in enumerate(zip(ours, theirs, strict=True), 1):
        parts = _NUMBER.split(a), _NUMBER.split(b)
        if len(parts[0]) != len(parts[1]) or not all(map(_same, *parts)):
            yield f"{kept}, line {number}: {a.strip()}, and {b.strip()} when derived again"


def _read(file: Path) -> Table:
    with file.open(encoding="utf-8", newline="") as lines, long_cells():  # an answer may be long
        return list(csv.reader(lines))


def _shown(notebook: Path) -> dict[int, list[Table]]:
    """The HTML tables that each cell shows, by the cell's number."""
    cells = nbformat.read(notebook, as_version=4).cells  # type: ignore[no-untyped-call]
    return {
        number: tables
        for number, cell in enumerate(cells, 1)
        if (tables := [t for out in cell.get("outputs", []) for t in _tables(out)])
    }


def _tables(output: Any) -> list[Table]:
    if output.output_type not in ("execute_result", "display_data"):
        return []
    html = output.get("data", {}).get("text/html", "")
    parser = _Tables()
    parser.feed("".join(html))
    parser.close()
    return parser.tables


class _Tables(HTMLParser):
    """Collects the text of all cells of all tables."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[Table] = []
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr" and self.tables:
            self.tables[-1].append([])
        elif tag in ("td", "th") and self.tables and self.tables[-1]:
            self.tables[-1][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.tables[-1][-1][-1] += data
