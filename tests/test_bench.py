"""The kernel benchmark: structure, arithmetic and checks of its results, but not their speed."""

from __future__ import annotations

import dataclasses
import functools
import json
import os

import numpy as np
import pytest
from tqdm import tqdm
from typer.testing import CliRunner

import leakrepro as lr
from leakrepro.bench import (
    SHAPES,
    bench,
    bench_sampling,
    cell,
    contestants,
    memory,
    readable,
    run,
    shapes,
    timing,
)
from leakrepro.bench.contestants import Contestant
from leakrepro.cli import app


@pytest.fixture(scope="module")
def small():
    return shapes.tofu(scale=0.005)


@pytest.fixture(scope="module")
def result():
    with pytest.MonkeyPatch.context() as patch:
        tiny = shapes.knowmem(scale=0.02)
        patch.setitem(run._TEXTS, "tofu", lambda **options: tiny)
        patch.setattr(run, "bench_memory", lambda pairs=0: (1000, 2**21))
        patch.setattr(run, "bench_cell", lambda rounds: dict.fromkeys(cell.STAGES, [0.1] * rounds))
        return bench(["tofu", "cell", "memory"], quick=True)


def contestant(name, values, section="text", **more):
    return Contestant(name, section, len(values), lambda: values, np.asarray, **more)


def test_the_seed_determines_the_texts(small):
    again, other = shapes.tofu(scale=0.005), shapes.tofu(scale=0.005, seed=1)
    assert (again.references, again.candidates) == (small.references, small.candidates)
    assert other.references != small.references
    references, candidates = small.ids
    assert small.cells == sum(
        len(references[i // 200]) * len(ids) for i, ids in enumerate(candidates)
    )
    assert "2 references of" in small.describe()
    assert "400 candidates of" in small.describe()


def test_new_words_sets_their_share():
    def different(share):
        shape = shapes.tofu(scale=0.01, new_words=share)
        return max(int(ids.max(initial=0)) for ids in shape.ids[1])

    assert different(0.5) > 2 * different(0.0)


@pytest.mark.skipif("LEAKREPRO_DATA" not in os.environ, reason="LEAKREPRO_DATA is not set")
def test_generated_answers_have_the_statistics_of_real_answers():
    from pathlib import Path

    from leakrepro.rouge._python import tokenise

    lines = (Path(os.environ["LEAKREPRO_DATA"]) / "tofu/forget10.json").read_text().splitlines()
    real = [json.loads(line)["answer"] for line in lines]
    made = shapes.tofu().references

    def statistics(texts):
        tokens = [tokenise(text, stem=True) for text in texts]
        count = sum(map(len, tokens))
        return (
            count / len(texts),
            sum(map(len, texts)) / count,
            sum(len(set(t)) for t in tokens) / count,
        )

    np.testing.assert_allclose(statistics(made), statistics(real), rtol=0.15)


def test_results_contain_all_contestants_and_the_machine(result):
    assert set(result) == {"date", "machine", "versions", "settings", "shapes"}
    rows = result["shapes"]["tofu"]["rows"]
    names = [row["name"] for row in rows]
    assert len(names) == len({(row["section"], row["name"]) for row in rows})
    for name, state in lr.metrics.rouge.implementations().items():
        assert (f"leakrepro {name}" in names) == (state == "ok")
    assert {"rouge_score", "rapidfuzz cdist", "leakrepro lcs_length int32"} <= set(names)
    for row in rows:
        low, high = row["ns_quartiles"]
        assert 0 < low <= row["ns_per_pair"] <= high
        assert row["pairs_per_second"] == pytest.approx(1e9 / row["ns_per_pair"])
    for section in {row["section"] for row in rows}:
        first = next(row for row in rows if row["section"] == section)
        assert first["times_first"] == 1
        assert first["name"].startswith("leakrepro")
    json.dumps(result)


def test_tables_show_all_results(result):
    text = readable(result)
    for row in result["shapes"]["tofu"]["rows"]:
        assert row["name"] in text
    assert "from text" in text
    assert "all results equal" in text
    assert "80,000 samples from Parquet to the table in 0.500 s" in text
    assert "estimate" in text
    assert "1,000 pairs, 2 MiB beyond the input" in text


def test_ratios_are_over_paired_rounds():
    a = timing.Timing(contestant("a", np.zeros((1, 1))), np.array([1.0, 2.0, 4.0]))
    b = timing.Timing(contestant("b", np.zeros((1, 1))), np.array([3.0, 4.0, 20.0]))
    assert b.times(a) == (3.0, 2.0, 5.0)
    assert b.median == 4.0
    assert a.quartiles == (1.5, 3.0)


def test_the_order_rotates_and_setup_is_not_timed():
    order = []

    def named(name):
        return Contestant(
            name, name, 1, lambda: order.append(name) or np.zeros((1, 1)), np.asarray,
            before=lambda: order.append("before"),
        )  # fmt: skip

    with tqdm(disable=True) as bar:
        timings = timing.time_all([named("a"), named("b")], rounds=2, least=0.0, progress=bar)
    assert order[:2] == ["a", "b"]  # the comparison of results, which is also the warm-up
    assert order[2:] == ["before", "a", "before", "b", "before", "b", "before", "a"]
    assert [t.ns.size for t in timings] == [2, 2]


@pytest.mark.parametrize("wrong", [np.nextafter(0.5, 1), 0.25])
def test_a_difference_of_one_bit_is_found(wrong):
    values = np.full((3, 3), 0.5)
    other = values.copy()
    other[1, 2] = wrong
    with pytest.raises(timing.Different, match="bad and good differ at pair 1"):
        timing.check_equal([contestant("good", values), contestant("bad", other)])
    timing.check_equal([contestant("good", values), contestant("other", other, section="ids")])


def test_rounded_results_are_compared_as_float32():
    values = np.full((2, 3), 1 / 3)
    rounded = contestant("rounded", values.astype(np.float32).astype(np.float64), exact=False)
    timing.check_equal([contestant("good", values), rounded])
    wrong = contestant("wrong", values + 1e-6, exact=False)
    with pytest.raises(timing.Different, match="wrong and good"):
        timing.check_equal([contestant("good", values), wrong])
    short = Contestant("short", "text", 2, lambda: values[:1], np.asarray)
    with pytest.raises(timing.Different, match="short and good"):
        timing.check_equal([contestant("good", values), short])


def test_missing_peers_are_listed(small, monkeypatch):
    monkeypatch.setattr(contestants.importlib.util, "find_spec", lambda name: None)
    found = list(contestants.contestants(small, stem=True, threads=1))
    absent = {each.name: each.reason for each in found if isinstance(each, contestants.Absent)}
    assert absent["rouge-score-rs"] == "not installed: pip install rouge-score-rs"
    assert {"rouge_score", "rouge-score", "torchmetrics"} & set(absent)


def test_a_cell_uses_a_real_store(monkeypatch, tmp_path):
    monkeypatch.setattr(cell, "tofu", lambda **options: shapes.knowmem(scale=0.03))
    path = cell.make_store(tmp_path)
    samples = lr.read_samples(path)
    assert len(samples.texts) == 3
    seconds = cell.time_cell(path)
    assert list(seconds) == list(cell.STAGES)
    assert all(s >= 0 for s in seconds.values())


def test_memory_is_measured_in_another_process(monkeypatch):
    pairs, beyond = memory.bench_memory(20_000)
    assert pairs >= 20_000
    assert 0 <= beyond < 2**30
    monkeypatch.setattr(memory, "_SCRIPT", "raise SystemExit('out of memory')")
    with pytest.raises(RuntimeError, match="the memory run failed: out of memory"):
        memory.bench_memory(1)


def test_invalid_arguments():
    with pytest.raises(ValueError, match="unknown shape 'x'; known are tofu, knowmem, verbmem"):
        bench(["x"])
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        bench(["tofu"], rounds=0)
    assert set(SHAPES) == {"tofu", "knowmem", "verbmem", "cell", "memory", "sampling"}


def test_samplers_are_timed_on_each_model(tiny_llama, monkeypatch):
    benchmark = dataclasses.replace(
        lr.load_benchmark("fictional"), decoding=lr.Decoding(max_new_tokens=3, seed=0)
    )
    monkeypatch.setattr(run, "_SAMPLED", [tiny_llama, tiny_llama])
    timed = functools.partial(bench_sampling, benchmark=benchmark)
    monkeypatch.setattr(run, "bench_sampling", timed)
    result = bench(["sampling"], quick=True, rounds=2)
    found = result["shapes"]["sampling"]
    assert [each["model"] for each in found] == [tiny_llama.name] * 2
    for each in found:
        tokens = {row["name"]: row["tokens"] for row in each["rows"]}
        names = ["leakrepro, hf", "generate, 32 copies", "generate, 200 copies"]
        assert [name for name in tokens if "vllm" not in name] == names
        # 4 prompts x 200 samples of up to three tokens; at most one token in ten is missing because
        # a sample ends early.
        assert 0.9 * tokens["generate, 200 copies"] < tokens["leakrepro, hf"] <= 3 * 4 * 200
        assert all(len(row["per_cpu_second"]) == 2 for row in each["rows"])
    assert json.loads(json.dumps(result)) == result
    assert readable(result).count("4 prompts x 200 samples") == 2


def test_the_command(monkeypatch, result, tmp_path):
    asked = {}

    def fake(shapes, **options):
        asked.update(options, shapes=shapes)
        return result

    monkeypatch.setattr("leakrepro.bench.bench", fake)
    file = tmp_path / "bench.json"
    done = CliRunner().invoke(
        app, ["bench", "cell", "--only", "rs", "--no-stem", "--json", str(file)]
    )
    assert done.exit_code == 0, done.output
    assert asked["shapes"] == ["cell"]
    assert asked["only"] == ["rs"]
    assert asked["stem"] is False
    assert json.loads(file.read_text()) == result
    assert "from text" in done.output
    only_json = CliRunner().invoke(app, ["bench", "--json", "-"])
    assert json.loads(only_json.output) == result
