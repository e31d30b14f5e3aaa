"""Executes one notebook and keeps it: whole, or as far as it came."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError

from leakrepro import info
from leakrepro.storage import provenance
from leakrepro.storage.atomic import write_atomically

_UNFINISHED_BAR = re.compile(r"[^\r\n]*: +(?:\d?\d%\||0\w+ \[)[^\r\n]*[\r\n]*(?:\x1b\[A)?")


@dataclass(frozen=True)
class Run:
    """What happened to one notebook.

    Attributes:
        stem: The notebook's file name without its ending.
        status: ``"ok"`` or ``"failed"``.
        started: UTC, ISO 8601.
        seconds: Wall time.
        error: Notebook, cell and error of a failure, else empty.
        parameters: What it was given.
        environment: Versions and machine, as ``leakrepro info`` tells them.
        commit: Git commit of the notebook's folder, where there is one.
        notes: What it told the ledger (``leakrepro.storage.provenance``), without repetitions.
    """

    stem: str
    status: str
    started: str
    seconds: float
    error: str
    parameters: Mapping[str, Any]
    environment: Mapping[str, str]
    commit: str | None
    notes: Sequence[Mapping[str, Any]]


def execute(
    path: Path,
    parameters: Mapping[str, Any],
    *,
    output: Path,
    threads: int | None,
    quiet: bool,
    stored_only: bool = False,
) -> Run:
    """Executes a notebook in a kernel of this interpreter.

    A success leaves ``<stem>.ipynb`` and ``<stem>.html`` in ``output``, put there when they are
    whole; a failure leaves ``<stem>.failed.ipynb`` and does not touch those two.

    Args:
        path: The notebook.
        parameters: Goes into a cell after its parameters cell.
        output: An existing folder.
        threads: ``OMP_NUM_THREADS`` of the kernel; None leaves it alone.
        quiet: Whether to keep what the kernel writes to stderr (its progress bars) off this one.
        stored_only: Whether it may only read stored samples and models; scores are made anew.
    """
    draft, failed = output / f".{path.stem}.partial.ipynb", output / f"{path.stem}.failed.ipynb"
    notes = output / f".{path.stem}.ledger"
    notes.unlink(missing_ok=True)
    environment = {provenance.LEDGER: str(notes.absolute())}
    if stored_only:
        environment[provenance.STORED_ONLY] = "1"
    started, clock = datetime.now(UTC), time.monotonic()
    error = ""
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
            kernel_manager_class=_kernel(threads, environment),
        )
    except PapermillExecutionError as failure:
        error = f"cell [{failure.exec_count}]: {failure.ename}: {failure.evalue}"
    except DeadKernelError:
        error = f"cell [{_last_started(draft)}]: the kernel died (out of memory?)"
    except RuntimeError as failure:  # a kernel that did not start
        error = str(failure)
    _drop_progress(draft)
    if error:
        draft.replace(failed)
        error = f"{path.name}, {error}\n  see {failed}"
    else:
        page, _ = HTMLExporter().from_filename(str(draft))  # type: ignore[no-untyped-call]
        write_atomically(output / f"{path.stem}.html", page.encode())
        draft.replace(output / path.name)
        failed.unlink(missing_ok=True)
    noted = {json.dumps(note): note for note in provenance.read(notes)}
    notes.unlink(missing_ok=True)
    return Run(
        stem=path.stem,
        status="failed" if error else "ok",
        started=started.isoformat(timespec="seconds"),
        seconds=time.monotonic() - clock,
        error=error,
        parameters=parameters,
        environment=info.describe(),
        commit=info.commit(path.parent),
        notes=list(noted.values()),
    )


def pick(known: Iterable[str], wanted: Sequence[str], where: str) -> list[str]:
    """The stems of ``known``, in its order, that are wanted by stem or number (``"01"``).

    Raises:
        ValueError: for a wanted one that is not known; ``where`` says where it was looked for.
    """
    stems = list(known)
    for name in wanted:
        if not any(name in (stem, stem[:2]) for stem in stems):
            raise ValueError(f"no notebook {name!r} in {where}; there are: {', '.join(stems)}")
    return [stem for stem in stems if {stem, stem[:2]} & set(wanted)]


def literal(path: Path) -> str:
    """A path for papermill, which takes braces for placeholders."""
    return str(path.absolute()).replace("{", "{{").replace("}", "}}")


def _kernel(threads: int | None, given: Mapping[str, str]) -> type[AsyncKernelManager]:
    """A kernel of this interpreter, whatever kernel is registered as ``python3`` for the user.

    Args:
        threads: ``OMP_NUM_THREADS``, unless the user has set it.
        given: Variables that are set in any case.
    """
    # Threads that wait actively steal time from the workers of small models.
    environment = {"OMP_WAIT_POLICY": "passive", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    launcher = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = KernelSpec(
        # Else ipykernel 7 warns of each unencrypted connection (this one does not leave the
        # machine) and of each interrupt that hurries its own end.
        argv=[*launcher, "--log-level=CRITICAL"],
        display_name="Python 3",
        language="python",
        env={k: v for k, v in environment.items() if k not in os.environ} | dict(given),
    )

    class ThisPython(AsyncKernelManager):
        @property
        def kernel_spec(self) -> KernelSpec:
            return spec

    return ThisPython


def _drop_progress(draft: Path) -> None:
    """Keeps of each progress bar on stderr only its finished state."""
    nb = nbformat.read(draft, as_version=4)  # type: ignore[no-untyped-call]
    for output in (out for cell in nb.cells for out in cell.get("outputs", [])):
        if output.output_type == "stream" and output.name == "stderr":
            output.text = _UNFINISHED_BAR.sub("", output.text)
    write_atomically(draft, nbformat.writes(nb).encode())  # type: ignore[no-untyped-call]


def _last_started(draft: Path) -> int:
    """Number of the code cell that was running when its kernel went away."""
    cells = nbformat.read(draft, as_version=4).cells  # type: ignore[no-untyped-call]
    states = [cell.metadata.papermill.status for cell in cells if cell.cell_type == "code"]
    return sum(state != "pending" for state in states)
