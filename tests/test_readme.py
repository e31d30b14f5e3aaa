"""The code in README and in the pages of docs/ works as it is printed."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from worlds import make_prompts

import leakrepro as lr
from leakrepro.benchmarks.base import Benchmark

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))]


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, language: str = "python") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", read(page), re.DOTALL)


def block(page: str, holds: str, language: str = "python") -> str:
    (text,) = [each for each in blocks(page, language) if holds in each]
    return text


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def questions(home: Path) -> None:
    (home / "questions.csv").write_text("question,answer\nash birch?,oak\nelm?,fir yew\n")


@pytest.fixture
def benchmark() -> Benchmark:
    prompts = make_prompts(4)
    return Benchmark(
        name="b",
        forget=prompts[:2],
        retain=prompts[2:],
        metrics=("exact_match",),
        decoding=lr.Decoding(n=4, max_new_tokens=4),
    )


def small(code: str, model: Path) -> str:
    """The code with a small model and few short samples."""
    changes = {
        "path/to/model": str(model),
        "max_new_tokens=200": "max_new_tokens=4",
        "n=200": "n=128",
        "workers=2": "workers=1",
        "cap=200": "cap=8",
        "fact_match": "exact_match",
    }
    for old, new in changes.items():
        code = code.replace(old, new)
    return code


def calls(page: str) -> Iterator[tuple[str, ast.Call | None]]:
    """Names ``lr.a.b`` of a page, each with its call where it is one."""
    tree = ast.parse("\n".join(blocks(page)))
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.fullmatch(r"lr(\.\w+)+", ast.unparse(node)):
            yield ast.unparse(node), called.get(id(node))


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)])
def test_names_and_arguments_are_there(page: str) -> None:
    """Also in the blocks that need a large model, a cluster or a GPU and are not executed."""
    found = list(calls(page))
    assert found
    for name, call in found:
        value: Any = lr
        for part in name.split(".")[1:]:
            value = getattr(value, part)
        if call is not None and not any(isinstance(arg, ast.Starred) for arg in call.args):
            keywords = dict.fromkeys(str(word.arg) for word in call.keywords if word.arg)
            signature = inspect.signature(value)
            try:
                signature.bind_partial(*call.args, **keywords)
            except TypeError as error:
                pytest.fail(f"{page}: {ast.unparse(call)}: {error}")


def test_own_questions_take_five_lines(
    tiny_llama: Path, questions: None, capsys: pytest.CaptureFixture[str]
) -> None:
    code = block("README.md", "read_prompts")
    assert code == blocks("README.md")[0]
    assert len(code.strip().splitlines()) == 7  # the import, a blank line, and five
    exec(small(code, tiny_llama), {})
    value, low, high = ast.literal_eval(capsys.readouterr().out)
    assert 0 <= low <= value <= high <= 1


def test_a_benchmark_is_evaluated(
    tiny_llama: Path,
    home: Path,
    benchmark: Benchmark,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(lr, "load_benchmark", lambda name, forget: benchmark)
    exec(small(block("README.md", "lr.evaluate"), tiny_llama), {"lr": lr})
    assert "leak@4" in capsys.readouterr().out
    assert (home / "leak.pdf").stat().st_size > 1000


def test_samples_are_read_and_drawn_adaptively(
    tiny_llama: Path, questions: None, benchmark: Benchmark
) -> None:
    names: dict[str, Any] = {}
    exec(small(block("docs/sampling.md", "read_prompts"), tiny_llama), names)
    assert len(names["samples"].to_pandas()) == 2 * 128
    names |= {"benchmark": benchmark, "decoding": benchmark.decoding}
    exec(small(block("docs/sampling.md", "AdaptivePlan"), tiny_llama), names)
    assert 0 <= names["curve"].at(8)[0] <= 1


def test_the_query_reads_a_store(tiny_llama: Path, tmp_path: Path) -> None:
    decoding = lr.Decoding(n=6, max_new_tokens=4)
    samples = lr.sample(tiny_llama, make_prompts(5), decoding, store=tmp_path / "store")
    query = block("docs/sampling.md", "read_parquet", "sql")
    path = "runs/samples/0123456789abcdef"
    assert path in query
    rows = duckdb.sql(query.replace(path, str(samples.path))).fetchall()
    expected = {p.id: len(set(t)) for p, t in zip(samples.prompts, samples.texts, strict=True)}
    assert {row[0]: row[1] for row in rows} == expected
    columns = re.search(r"the columns `([a-z_, ]+)`", read("docs/sampling.md").replace("\n", " "))
    assert columns is not None
    assert columns[1].split(", ") == samples.table.column_names


def test_a_metric_of_ones_own_is_a_class(
    tiny_llama: Path, home: Path, benchmark: Benchmark
) -> None:
    code = block("docs/metrics.md", "class SaysSorry").replace("path/to/model", str(tiny_llama))
    assert len(code.partition("\n\n\n")[0].splitlines()) <= 12
    names: dict[str, Any] = {"lr": lr, "benchmark": benchmark}
    exec(code, names)
    assert list(names["report"].curves) == ["says_sorry"]
    metric = names["SaysSorry"]()
    assert metric.score(benchmark.forget[:1], [["I am Sorry", "no"]]).values.tolist() == [1, 0]


def test_every_metric_of_the_table_is_known() -> None:
    table = read("docs/metrics.md").partition("# Core metrics")[2].partition("\n## ")[0]
    ids = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)
    ids = re.findall(r"`([^`]+)`", " ".join(ids))
    assert {"rougeL_recall/stem", "choice_accuracy", "judge/<model>"} <= set(ids)
    for id in ids:
        if "<" not in id and id != "entailment/embedded":  # which trains a model
            assert lr.load_metric(id).id == id


def test_a_fact_is_matched(capsys: pytest.CaptureFixture[str]) -> None:
    exec(block("docs/metrics.md", "fact_match"), {})
    assert capsys.readouterr().out == "[[0. 1.]]\n"


@pytest.mark.parametrize("page", ["docs/intervals.md", "docs/kernel.md"])
def test_a_page_runs_from_top_to_bottom(page: str) -> None:
    """The last block of intervals.md compares its formulas with the package."""
    names: dict[str, Any] = {}
    for code in blocks(page):
        exec(code, names)


def test_a_profile_is_loaded() -> None:
    names: dict[str, Any] = {}
    exec(block("docs/reproduction.md", "lr.load_profile"), names)
    assert names["benchmark"].name == "fictional(seed=0)"
    assert isinstance(names["settings"].backend, lr.Backend)
