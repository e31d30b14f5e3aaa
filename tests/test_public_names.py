"""The public names of the package."""

import pkgutil
import subprocess
import sys

import pytest

import leakrepro as lr


@pytest.mark.parametrize("name", lr.__all__)
def test_every_public_name_loads(name: str) -> None:
    assert getattr(lr, name) is not None
    assert name in dir(lr)


def test_no_function_is_named_as_a_module() -> None:
    # Importing leakrepro.x puts the module in the place of a function lr.x.
    modules = {module.name for module in pkgutil.iter_modules(lr.__path__)}
    assert modules & set(lr.__all__) == {"models", "paths", "report"}


def test_importing_the_package_imports_no_library() -> None:
    code = "import sys, leakrepro; print(sorted({'torch', 'scipy', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="leak_at_n"):
        _ = lr.leak_at_n
