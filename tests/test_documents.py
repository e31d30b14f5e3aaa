"""README, docs/, CONTRIBUTING, CHANGELOG and CITATION describe what is there."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest
import yaml

import leakrepro as lr
from leakrepro.benchmarks import _BENCHMARKS
from leakrepro.cli import app
from leakrepro.profiles.schema import profile_names
from leakrepro.unlearning import METHODS

ROOT = Path(__file__).parents[1]


PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))]
DOCUMENTS = [*PAGES, "CONTRIBUTING.md", "CHANGELOG.md"]
NOTEBOOKS = [path.stem for path in sorted(ROOT.glob("notebooks/*.ipynb"))]
COMMANDS = {str(c.name or getattr(c.callback, "__name__", "")) for c in app.registered_commands}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def first_cells(page: str, section: str) -> set[str]:
    """Code in the first column of the tables of a section."""
    text = read(page).partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return {code for cell in rows for code in re.findall(r"`([^`]+)`", cell)}


@pytest.mark.parametrize(
    ("page", "section", "names"),
    [
        ("README.md", "Notebooks", NOTEBOOKS),
        ("docs/sampling.md", "Prompts", _BENCHMARKS),
        ("docs/unlearning.md", "Methods", METHODS),
        ("docs/reproduction.md", "Profiles", profile_names()),
    ],
)
def test_a_table_lists_them_all(page: str, section: str, names: list[str]) -> None:
    assert names
    assert set(names) <= first_cells(page, section)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_is_named_is_there(name: str) -> None:
    text = read(name)
    ours = ("leakrepro", "tests", "notebooks", "csrc", "metrics", "docs")
    for code in re.findall(r"`([\w./<>-]+/[\w./<>-]*)`", text):
        if code.partition("/")[0] in ours and "<" not in code and "NN_" not in code:
            assert any((root / code).exists() for root in (ROOT, ROOT / "leakrepro")), code
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    assert set(re.findall(r"\bmake\s+([a-z-]+)`", text)) <= targets
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert "://" in link or (ROOT / name).parent.joinpath(link).is_file(), link


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_are_there(page: str) -> None:
    shell = "|".join(re.findall(r"```sh\n(.*?)```", read(page), re.DOTALL))
    text = re.sub(r"```.*?```", "", read(page), flags=re.DOTALL)
    code = "|".join([shell, *re.findall(r"`([^`]+)`", text)])
    assert set(re.findall(r"\bleakrepro\s+([a-z]+)\b", code)) <= COMMANDS


def test_the_site_has_every_page() -> None:
    """`make docs` is not part of the tests; pages that the navigation lacks make it fail."""
    navigation = read("mkdocs.yml").partition("\nnav:\n")[2]
    files = set(re.findall(r"[\w/]+\.(?:md|ipynb)", navigation))
    pages = {str(path.relative_to(ROOT / "docs")) for path in ROOT.glob("docs/**/*.md")}
    notebooks = {f"notebooks/{name}.ipynb" for name in NOTEBOOKS}
    assert files == pages | notebooks | {"CHANGELOG.md", "CONTRIBUTING.md"}


@pytest.mark.parametrize("path", sorted(ROOT.glob("docs/api/*.md")), ids=lambda path: path.stem)
def test_the_api_names_functions_that_hide_a_module(path: Path) -> None:
    """mkdocstrings finds all other public names itself; it takes these for the modules."""
    name = "leakrepro" if path.stem == "leakrepro" else f"leakrepro.{path.stem}"
    package = importlib.import_module(name)
    text = path.read_text("utf-8")
    assert f"::: {name}\n" in text
    for name in {module.name for module in pkgutil.iter_modules(package.__path__)}:
        value = getattr(package, name) if name in package.__all__ else package
        if not isinstance(value, ModuleType):
            assert f"::: {value.__module__}.{name}\n" in text


def test_one_version_everywhere() -> None:
    cited = yaml.safe_load(read("CITATION.cff"))
    assert cited["version"] == lr.__version__
    assert f"version = {{{lr.__version__}}}" in read("README.md")
    assert f"\n## [{lr.__version__}]" in read("CHANGELOG.md")
    (paper,) = cited["references"]
    assert [author["family-names"] for author in paper["authors"]] == [
        *("Reisizadeh", "Ruan", "Chen", "Pal", "Liu", "Hong")
    ]
    assert paper["title"] in read("README.md").replace("{", "").replace("}", "")


def test_the_changelog_names_every_command() -> None:
    assert set(re.findall(r"`([a-z]+)`", read("CHANGELOG.md"))) >= COMMANDS
