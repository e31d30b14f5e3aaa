"""Save the tables, figures and LaTeX of a notebook under one name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from leakrepro.evaluation.frames import save_table
from leakrepro.report.figures import save_figure
from leakrepro.storage import paths

_MIN_BYTES = 10_000  # a PNG of an empty figure is smaller


def save(
    stem: str,
    run: str,
    *,
    tables: Mapping[str, pd.DataFrame | None],
    figures: Mapping[str, Figure | None],
    latex: str | Sequence[str] = (),
    files: Mapping[str, str] | None = None,
) -> Path:
    """Save the results of a notebook in the folder of a run.

    Files are named ``<stem>.<part>.<ending>``, or ``<stem>.<ending>`` for the main part ``""``.
    Parts that are None are skipped.

    Args:
        stem: Name of the notebook, such as ``"01_leak_curves"``.
        run: Name of the folder under ``LEAKREPRO_HOME``.
        tables: Part -> table, saved as CSV without the index.
        figures: Part -> figure, saved as PNG and PDF.
        latex: LaTeX tables, saved in one ``.tex`` file; no file is written if there are none.
        files: More text files: part with its ending -> content.

    Returns:
        The path of the PNG of the first figure.

    Raises:
        ValueError: when there is no figure, or a figure is empty.
    """
    folder = paths.results(run)
    folder.mkdir(parents=True, exist_ok=True)

    def name(part: str) -> str:
        return f"{stem}.{part}" if part else stem

    for part, table in tables.items():
        if table is not None:
            save_table(table, folder / f"{name(part)}.csv")
    parts = [latex] if isinstance(latex, str) else list(latex)
    if parts:
        (folder / f"{stem}.tex").write_text("\n".join(parts), encoding="utf-8")
    for part, content in (files or {}).items():
        (folder / name(part)).write_text(content, encoding="utf-8")
    written = []
    for part, figure in figures.items():
        if figure is not None:
            png, _ = save_figure(figure, folder / name(part))
            if png.stat().st_size < _MIN_BYTES:
                raise ValueError(f"the figure {png} is empty")
            written.append(png)
    if not written:
        raise ValueError(f"{stem} does not have a figure to save")
    return written[0]
