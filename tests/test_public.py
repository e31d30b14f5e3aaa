"""The public names: all load, and functions without a model do not import torch."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

import leakrepro as lr
from leakrepro import benchmarks, metrics, sampling

STUB = ast.parse(Path(lr.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))


def test_the_stub_lists_what_it_imports() -> None:
    imported = {
        alias.asname or alias.name
        for node in STUB.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == set(lr.__all__)
    assert len(lr.__all__) == len(set(lr.__all__))


@pytest.mark.parametrize("name", lr.__all__)
def test_every_public_name_loads(name: str) -> None:
    assert getattr(lr, name) is not None
    assert name in dir(lr)


@pytest.mark.parametrize(
    "package",
    [lr, lr.models, lr.report, lr.unlearning, benchmarks, metrics, sampling],
    ids=lambda package: package.__name__,
)
def test_every_public_class_and_function_has_a_docstring(package: ModuleType) -> None:
    public = {name: getattr(package, name) for name in package.__all__}
    for name, each in public.items():
        if isinstance(each, type | FunctionType):
            # A dataclass without a docstring gets its signature.
            assert each.__doc__, name
            assert not each.__doc__.startswith(f"{name}("), name


def test_no_function_has_the_name_of_a_module() -> None:
    # Importing leakrepro.x would replace a function lr.x by the module.
    modules = {module.name for module in pkgutil.iter_modules(lr.__path__)}
    assert modules & set(lr.__all__) == {"models", "report", "unlearning"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="leak_at_n"):
        _ = lr.leak_at_n


@pytest.mark.parametrize(
    "code",
    [
        "lr.leak_at_k([[0, 1], [0, 0]])",
        "lr.rouge_l(['a b'], [['a']])",
        "lr.load_benchmark('fictional')",
        "lr.load_profile('embedded')",
    ],
)
def test_functions_without_a_model_do_not_import_torch(code: str) -> None:
    heavy = {"torch", "transformers", "pandas", "matplotlib"}
    script = f"import sys; import leakrepro as lr; {code}; print({heavy} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_a_result_loads_no_matplotlib() -> None:
    script = "import sys; import leakrepro as lr; lr.evaluate; print('matplotlib' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
