"""The examples of the README run as they are."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import duckdb
import pytest
from worlds import make_prompts

import leakrepro as lr
from leakrepro.benchmarks.base import Benchmark

TEXT = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def block(language: str, holds: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    (text,) = [each for each in found if holds in each]
    return str(text)


@pytest.fixture
def samples(tiny_llama: Path, tmp_path: Path) -> lr.Samples:
    decoding = lr.Decoding(n=6, max_new_tokens=4)
    return lr.sample(tiny_llama, make_prompts(5), decoding, store=tmp_path / "store")


def test_the_query_reads_a_store(samples: lr.Samples) -> None:
    query = block("sql", "read_parquet")
    path = "runs/samples/0123456789abcdef"
    assert path in query
    rows = duckdb.sql(query.replace(path, str(samples.path))).fetchall()
    expected = {p.id: len(set(t)) for p, t in zip(samples.prompts, samples.texts, strict=True)}
    assert {row[0]: row[1] for row in rows} == expected
    columns = re.search(r"the columns `([a-z_, ]+)`", TEXT.replace("\n", " "))
    assert columns is not None
    assert columns[1].split(", ") == samples.table.column_names


def test_the_example_with_own_questions_has_five_lines(
    tiny_llama: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Path("questions.csv").write_text("question,answer\nash birch?,oak\nelm?,fir yew\n")
    code = block("python", "read_prompts").replace("path/to/model", str(tiny_llama))
    assert len(code.strip().splitlines()) == 7  # the import, a blank line, and five
    exec(code.replace("max_new_tokens=200", "max_new_tokens=4"), {})
    value, low, high = ast.literal_eval(capsys.readouterr().out)
    assert 0 <= low <= value <= high <= 1


def test_a_user_defined_metric_is_a_class(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path))
    prompts = make_prompts(4)
    benchmark = Benchmark(
        name="b",
        forget=prompts[:2],
        retain=prompts[2:],
        metrics=("exact_match",),
        decoding=lr.Decoding(n=4, max_new_tokens=4),
    )
    code = block("python", "class SaysSorry").replace("path/to/model", str(tiny_llama))
    assert len(code.partition("\n\n\n")[0].splitlines()) <= 12
    names: dict[str, Any] = {"lr": lr, "benchmark": benchmark}
    exec(code, names)
    assert list(names["report"].curves) == ["says_sorry"]
    metric = names["SaysSorry"]()
    assert metric.score(prompts[:1], [["I am Sorry", "no"]]).values.tolist() == [1, 0]


def test_every_metric_of_the_table_loads() -> None:
    table = TEXT.partition("## Core metrics")[2].partition("`entailment/sileod")[0]
    ids = re.findall(r"`([a-zA-Z_]+(?:/[a-z<>@]+)*)`", table)
    assert {"rougeL_recall/stem", "choice_accuracy", "judge/<model>"} <= set(ids)
    for id in ids:
        if "<" not in id and id not in ("transformers",) and "[" not in id:
            assert lr.load_metric(id).id == id
