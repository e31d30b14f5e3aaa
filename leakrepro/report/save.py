"""Save the tables, figures and LaTeX of a notebook under one name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from leakrepro.evaluation.frames import save_table
from leakrepro.report.figures import save_figure
from leakrepro.storage import paths
from leakrepro.storage.records import keep_written

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
    Parts that are None are skipped. Files of an earlier ``leakrepro reproduce`` get new digests in
    its record.

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

    saved = []
    for part, table in tables.items():
        if table is not None:
            saved.append(folder / f"{name(part)}.csv")
            save_table(table, saved[-1])
    parts = [latex] if isinstance(latex, str) else list(latex)
    if parts:
        saved.append(folder / f"{stem}.tex")
        saved[-1].write_text("\n".join(parts), encoding="utf-8")
    for part, content in (files or {}).items():
        saved.append(folder / name(part))
        saved[-1].write_text(content, encoding="utf-8")
    written = []
    for part, figure in figures.items():
        if figure is not None:
            png, pdf = save_figure(figure, folder / name(part))
            saved += [png, pdf]
            if png.stat().st_size < _MIN_BYTES:
                raise ValueError(f"the figure {png} is empty")
            written.append(png)
    if not written:
        raise ValueError(f"{stem} does not have a figure to save")
    keep_written(folder, [path.name for path in saved])
    return written[0]
