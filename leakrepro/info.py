"""Description of this machine and this installation."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import leakrepro
from leakrepro.errors import EXTRAS, installed

_LIBRARIES = ("torch", "transformers", "tokenizers", "datasets", "numpy", "pyarrow")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that can change a result."""
    found = {"leakrepro": leakrepro.__version__, "python": platform.python_version()}
    return found | {n: importlib.metadata.version(n) for n in _LIBRARIES if installed(n)}


def commit(folder: Path) -> str | None:
    """Return a folder's git commit, with ``-dirty`` if files differ from it; None without git."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def describe() -> dict[str, str]:
    """Return one line per topic: versions, CPUs, kernel implementations, CUDA, extras."""
    from leakrepro.rouge import texts as rouge

    lines = versions()
    lines["cpus"] = f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()}, {cpu_model()}"
    if installed("torch"):
        import torch

        lines["torch threads"] = str(torch.get_num_threads())
    lines["kernel implementations"] = ", ".join(
        name if state == "ok" else f"{name} ({state})"
        for name, state in rouge.implementations().items()
    )
    lines["cuda"] = _cuda()
    for extra, modules in EXTRAS.items():
        present = all(map(installed, modules))
        lines[f"extra {extra}"] = "yes" if present else f'no: pip install "leakrepro[{extra}]"'
    return lines


def cpu_model() -> str:
    """Return the name of the CPU model."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _cuda() -> str:
    if not installed("torch"):
        return "torch is not installed"
    import torch

    if not torch.cuda.is_available():
        return f"no GPU that torch {torch.__version__} can use"
    count = torch.cuda.device_count()
    return f"{count} x {torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda}"
