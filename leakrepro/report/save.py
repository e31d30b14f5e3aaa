"""Writes what a notebook has made: tables, LaTeX and figures, under one name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from leakrepro.report.figures import save_figure
from leakrepro.storage import paths

_LEAST_BYTES = 10_000  # of a PNG; one without content is smaller


def save(
    stem: str,
    run: str,
    *,
    tables: Mapping[str, pd.DataFrame | None],
    figures: Mapping[str, Figure | None],
    latex: str | Sequence[str] = (),
    files: Mapping[str, str] | None = None,
) -> Path:
    """Writes a notebook's results to the folder of a run.

    A part that is None is left out. Parts are named ``<stem>.<part>.<ending>``; the part ``""`` is
    the main one, ``<stem>.<ending>``.

    Args:
        stem: Name of the notebook, such as ``"01_leak_curves"``.
        run: Name of the folder under ``LEAKREPRO_HOME``.
        tables: Part -> table, written as CSV without its index.
        figures: Part -> figure, written as PNG and PDF.
        latex: LaTeX tables, written to one ``.tex`` file; none writes no file.
        files: Further text files, part with its ending -> content.

    Returns:
        The PNG of the first figure.

    Raises:
        ValueError: without a figure, and for a figure without content.
    """
    folder = paths.results(run)
    folder.mkdir(parents=True, exist_ok=True)

    def name(part: str) -> str:
        return f"{stem}.{part}" if part else stem

    for part, table in tables.items():
        if table is not None:
            table.to_csv(folder / f"{name(part)}.csv", index=False)
    parts = [latex] if isinstance(latex, str) else list(latex)
    if parts:
        (folder / f"{stem}.tex").write_text("\n".join(parts), encoding="utf-8")
    for part, content in (files or {}).items():
        (folder / name(part)).write_text(content, encoding="utf-8")
    written = []
    for part, figure in figures.items():
        if figure is not None:
            png, _ = save_figure(figure, folder / name(part))
            if png.stat().st_size < _LEAST_BYTES:
                raise ValueError(f"the figure {png} has no content")
            written.append(png)
    if not written:
        raise ValueError(f"{stem} has no figure to save")
    return written[0]
