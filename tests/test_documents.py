"""README, CONTRIBUTING, CHANGELOG and CITATION match the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import leakrepro as lr
from leakrepro.benchmarks import _BENCHMARKS
from leakrepro.cli import app
from leakrepro.profiles.schema import profile_names
from leakrepro.unlearning import METHODS

ROOT = Path(__file__).parents[1]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def first_cells(section: str) -> set[str]:
    """The code spans in the first column of the tables of a README section."""
    text = read("README.md").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return {code for cell in rows for code in re.findall(r"`([^`]+)`", cell)}


@pytest.mark.parametrize(
    ("section", "names"),
    [
        ("Notebooks", [path.stem for path in sorted(ROOT.glob("notebooks/*.ipynb"))]),
        ("Benchmarks", _BENCHMARKS),
        ("Unlearning, and RULE", METHODS),
        ("Profiles", profile_names()),
    ],
)
def test_the_readme_lists_all_names(section: str, names: list[str]) -> None:
    assert names
    assert set(names) <= first_cells(section)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_named_paths_and_targets_exist(name: str) -> None:
    text = read(name)
    ours = ("leakrepro", "tests", "notebooks", "csrc", "metrics")
    for code in re.findall(r"`([\w./<>-]+/[\w./<>-]*)`", text):
        if code.partition("/")[0] in ours and "<" not in code and "NN_" not in code:
            assert any((root / code).exists() for root in (ROOT, ROOT / "leakrepro")), code
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)`", text)) <= targets


def test_the_version_is_the_same_everywhere() -> None:
    cited = yaml.safe_load(read("CITATION.cff"))
    assert cited["version"] == lr.__version__
    assert f"version = {{{lr.__version__}}}" in read("README.md")
    assert f"\n## [{lr.__version__}]" in read("CHANGELOG.md")
    (paper,) = cited["references"]
    assert [author["family-names"] for author in paper["authors"]] == [
        *("Reisizadeh", "Ruan", "Chen", "Pal", "Liu", "Hong")
    ]
    assert paper["title"] in read("README.md").replace("{", "").replace("}", "")


def test_the_changelog_lists_every_command() -> None:
    commands = {str(c.name or getattr(c.callback, "__name__", "")) for c in app.registered_commands}
    assert commands <= set(re.findall(r"`([a-z]+)`", read("CHANGELOG.md")))
