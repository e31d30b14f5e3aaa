"""Execute one notebook and keep it, complete or up to the cell that failed."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import papermill
import zmq
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError

from leakrepro import info
from leakrepro.execution.lifetime import Lifeline
from leakrepro.execution.local import Progress
from leakrepro.reproduction.record import RunRecord
from leakrepro.storage import atomic, provenance
from leakrepro.storage.atomic import write_atomically

_UNFINISHED_BAR = re.compile(r"[^\r\n]*: +(?:\d?\d%\||0\w+ \[)[^\r\n]*[\r\n]*(?:\x1b\[A)?")


def execute(
    path: Path,
    parameters: Mapping[str, Any],
    *,
    output: Path,
    threads: int | None,
    quiet: bool,
    stored_only: bool = False,
) -> tuple[RunRecord, list[provenance.Note]]:
    """Executes a notebook in a kernel of this interpreter.

    A success writes ``<stem>.ipynb`` and ``<stem>.html`` to ``output``, each when it is complete. A
    failure writes ``<stem>.failed.ipynb`` and does not touch the other two.

    Args:
        path: The notebook.
        parameters: Notebook parameters, inserted in a cell after the parameters cell.
        output: An existing folder.
        threads: ``OMP_NUM_THREADS`` of the kernel; None does not set it.
        quiet: Do not copy the kernel's stderr (its progress bars) to this process's stderr.
        stored_only: The notebook may only read stored samples and models; all scores are computed
            again.

    Returns:
        The record without ``stores``, ``basis`` and ``files``, and what the run used.
    """
    draft, failed = output / f".{path.stem}.partial.ipynb", output / f"{path.stem}.failed.ipynb"
    log = output / f".{path.stem}.provenance"
    log.unlink(missing_ok=True)
    environment = {provenance.LOG: str(log.absolute())}
    if stored_only:
        environment[provenance.STORED_ONLY] = "1"
    started, clock = datetime.now(UTC), time.monotonic()
    error = ""
    lifeline = Lifeline()
    try:
        papermill.execute_notebook(
            literal(path),
            literal(draft),
            dict(parameters),
            kernel_name="python3",
            language="python",
            progress_bar={"desc": path.stem},
            stderr_file=None if quiet else sys.stderr,
            start_timeout=300,
            coalesce_streams=True,
            kernel_manager_class=_kernel(threads, environment, lifeline),
        )
    except PapermillExecutionError as failure:
        error = f"cell [{failure.exec_count}]: {failure.ename}: {failure.evalue}"
    except DeadKernelError:
        error = f"cell [{_last_started(draft)}]: the kernel died (out of memory?)"
    except (RuntimeError, OSError, zmq.ZMQError) as failure:
        error = f"the kernel did not start, or its results could not be written: {failure}"
    finally:
        lifeline.cut()
    _drop_progress(draft)
    if error:
        draft.replace(failed)
        error = f"{path.name}, {error}\n  see {failed}"
    else:
        page, _ = HTMLExporter(sanitize_html=True).from_filename(str(draft))  # type: ignore[no-untyped-call]
        write_atomically(output / f"{path.stem}.html", page.encode())
        draft.replace(output / path.name)
        failed.unlink(missing_ok=True)
    notes = provenance.read_notes(log)
    log.unlink(missing_ok=True)
    record = RunRecord(
        stem=path.stem,
        status="failed" if error else "ok",
        started=started.isoformat(timespec="seconds"),
        seconds=time.monotonic() - clock,
        error=error,
        parameters=parameters,
        environment=info.describe(),
        commit=info.commit(path.parent),
        trained=tuple(note.path.name for note in notes if note.trained),
    )
    return record, notes


def execute_task(
    path: Path,
    parameters: Mapping[str, Any],
    output: Path,
    threads: int | None,
    quiet: bool,
    stored_only: bool,
    progress: Progress,
) -> tuple[RunRecord, list[provenance.Note]]:
    """``execute`` as a task of a worker."""
    return execute(
        path, parameters, output=output, threads=threads, quiet=quiet, stored_only=stored_only
    )


def remove_drafts(output: Path) -> None:
    """Removes what notebooks that were killed have left in the folder of the results."""
    for pattern in (".*.partial.ipynb", ".*.provenance"):
        for path in output.glob(pattern):
            path.unlink(missing_ok=True)
    for folder in (output, output / "digests"):
        atomic.remove_drafts(folder)


def pick(known: Iterable[str], wanted: Sequence[str], where: str) -> list[str]:
    """Selects notebooks by stem or number (``"01"``).

    Args:
        known: Stems of all notebooks.
        wanted: Stems or numbers.
        where: Where the known ones are, for the message.

    Returns:
        The wanted stems, in the order of ``known``.

    Raises:
        ValueError: for a wanted notebook that is not known.
    """
    stems = list(known)
    for name in wanted:
        if not any(name in (stem, stem[:2]) for stem in stems):
            raise ValueError(f"no notebook {name!r} in {where}; there are: {', '.join(stems)}")
    return [stem for stem in stems if {stem, stem[:2]} & set(wanted)]


def find_notebooks(folder: Path) -> dict[str, Path]:
    """The notebooks (``NN_topic.ipynb``) of a folder by stem.

    Raises:
        ValueError: for a folder without notebooks.
    """
    found = {path.stem: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}
    if not found:
        raise ValueError(
            f"no notebooks (NN_topic.ipynb) in {folder.absolute()}; "
            "run in the repository's root, or name their folder with --notebooks"
        )
    return found


def literal(path: Path) -> str:
    """A path with its braces escaped, which papermill reads as placeholders."""
    return str(path.absolute()).replace("{", "{{").replace("}", "}}")


def _kernel(
    threads: int | None, given: Mapping[str, str], lifeline: Lifeline
) -> type[AsyncKernelManager]:
    """A kernel of this interpreter, independent of the user's kernel ``python3``.

    Args:
        threads: ``OMP_NUM_THREADS``, unless the user has set it.
        given: Environment variables that are always set.
        lifeline: The kernel ends with this process.
    """
    # Threads that spin while they wait slow down the worker processes of small models.
    environment = {"OMP_WAIT_POLICY": "passive", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    # The first argument is the end of the kernel's lifeline.
    code = (
        "import sys; from leakrepro.execution.lifetime import follow; follow(int(sys.argv.pop(1)));"
        " from runpy import run_module; run_module('ipykernel_launcher', run_name='__main__')"
    )
    launcher = [sys.executable, "-c", code, str(lifeline.child_end), "-f", "{connection_file}"]
    spec = KernelSpec(
        # ipykernel 7 would warn of each unencrypted connection (this one does not leave the
        # machine) and of each interrupt during shutdown.
        argv=[*launcher, "--log-level=CRITICAL"],
        display_name="Python 3",
        language="python",
        env={k: v for k, v in environment.items() if k not in os.environ} | dict(given),
    )

    class ThisPython(AsyncKernelManager):
        async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
            try:
                await super().start_kernel(**options, pass_fds=[lifeline.child_end])
            finally:
                lifeline.started()

        @property
        def kernel_spec(self) -> KernelSpec:
            return spec

    return ThisPython


def _drop_progress(draft: Path) -> None:
    """Removes all states of progress bars on stderr but the last one of each bar."""
    nb = nbformat.read(draft, as_version=4)  # type: ignore[no-untyped-call]
    for output in (out for cell in nb.cells for out in cell.get("outputs", [])):
        if output.output_type == "stream" and output.name == "stderr":
            output.text = _UNFINISHED_BAR.sub("", output.text)
    write_atomically(draft, nbformat.writes(nb).encode())  # type: ignore[no-untyped-call]


def _last_started(draft: Path) -> int:
    """Number of the code cell that was running when its kernel died."""
    cells = nbformat.read(draft, as_version=4).cells  # type: ignore[no-untyped-call]
    states = [cell.metadata.papermill.status for cell in cells if cell.cell_type == "code"]
    return sum(state != "pending" for state in states)
