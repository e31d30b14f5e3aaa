"""A package imports only packages that come before it in the order of the layers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import leakrepro as lr

ROOT = Path(lr.__file__).parent
# CONTRIBUTING describes each of them. Packages of one row must not import each other.
LAYERS = [
    {"types", "errors"},
    {"storage"},
    {"execution"},
    {"stats"},
    {"rouge"},
    {"benchmarks"},
    {"models"},
    {"metrics"},
    {"sampling"},
    {"unlearning"},
    {"profiles"},
    {"evaluation"},
    {"report"},
    {"info"},
    {"reproduction"},
    {"bench"},
    {"cli"},
]
LEVEL = {name: level for level, layer in enumerate(LAYERS) for name in layer}
FILES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem in LEVEL)


def module_name(path: Path) -> str:
    """The dotted name below ``leakrepro`` of a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports(tree: ast.AST, module: str, *, types: bool) -> Iterator[str]:
    """Modules of leakrepro that a file imports anywhere, also inside functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} has a relative import"
            base = node.module or ""
            if base == "leakrepro" or base.startswith("leakrepro."):
                base = base.removeprefix("leakrepro").lstrip(".")
                for alias in node.names:
                    name = f"{base}.{alias.name}".lstrip(".")
                    yield name if name in MODULES else base
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name == "leakrepro":
                    yield "info"  # the whole package: only for those that may import info
                elif alias.name.startswith("leakrepro."):
                    yield alias.name.removeprefix("leakrepro.")
        elif types or not is_type_checking(node):
            yield from imports(node, module, types=types)


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_order_of_the_layers(module: str) -> None:
    """Imports for type annotations count, too."""
    package = module.partition(".")[0]
    for name in imports(ast.parse(MODULES[module].read_text("utf-8")), module, types=True):
        other = name.partition(".")[0]
        if other and other != package and name != "_native":
            assert LEVEL[other] < LEVEL[package], f"{module} imports {name}"


def test_no_modules_import_each_other() -> None:
    """Also inside one package; imports inside functions count."""
    graph = {
        module: set(imports(ast.parse(path.read_text("utf-8")), module, types=False)) - {"", module}
        for module, path in MODULES.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_four_modules_are_loose_at_the_top() -> None:
    stems = {path.stem for path in ROOT.glob("*.py")}
    loose = {name for name in stems if not name.startswith("_")}
    assert loose == {"types", "errors", "cli", "info"}


def test_every_package_has_a_layer() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert folders <= LEVEL.keys()
    assert folders | {"types", "errors", "cli", "info"} == LEVEL.keys()
