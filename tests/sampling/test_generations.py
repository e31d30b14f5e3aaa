"""Import and export of the authors' file format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from worlds import make_prompts

from leakrepro.benchmarks.base import Benchmark
from leakrepro.errors import DataError
from leakrepro.metrics import load_metric
from leakrepro.sampling import (
    export_generations,
    generation_scores,
    import_generations,
    read_samples,
    sample,
)
from leakrepro.types import Decoding

DECODING = Decoding(temperature=0.8)


def line(prompt: str, truth: str, responses: list[str], **scores: list[float]) -> dict[str, Any]:
    return {
        "prompt": f"system\n\nCutting Knowledge\n\nuser\n\n{prompt}assistant\n\n",
        "ground_truth": truth,
        "responses": [
            {"response": text, **{name: values[i] for name, values in scores.items()}}
            for i, text in enumerate(responses)
        ],
    }


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(
        tmp_path / "generations_n3.json",
        line("Who?", "Ann Ash", ["Ann\u2028Ash", "", "Bob"], rougeL_recall=[1, 0, 0], ES=[1, 0, 0]),
        line("Where?", "in Rome", ["in Rome", "Oslo", "in"], rougeL_recall=[1, 0, 0.5]),
    )


def test_samples_and_scores_of_a_file_are_imported(file: Path, tmp_path: Path) -> None:
    samples = import_generations(file, decoding=DECODING, store=tmp_path / "s")
    assert samples.texts == [["Ann\u2028Ash", "", "Bob"], ["in Rome", "Oslo", "in"]]
    assert samples.decoding == DECODING.replace(n=3)
    assert [p.cluster for p in samples.prompts] == ["line/1", "line/2"]
    assert samples.table["seed"].null_count == 6
    assert samples.finished != samples.finished  # nan, since the file does not record it
    again = read_samples(tmp_path / "s")
    assert again.texts == samples.texts
    theirs = generation_scores(file)
    assert list(theirs) == ["rougeL_recall"]  # only one prompt has ES
    ours = load_metric("rougeL_recall/stem").score(samples.prompts, samples.texts)
    assert ours.values.tolist() == theirs["rougeL_recall"].values.tolist()


def test_exported_samples_are_imported_unchanged(tiny_llama: Path, tmp_path: Path) -> None:
    prompts = make_prompts(3)
    samples = sample(tiny_llama, prompts, Decoding(n=4, max_new_tokens=8), store=tmp_path / "s")
    scores = {"rougeL_recall": load_metric("rougeL_recall").score(prompts, samples.texts)}
    path = export_generations(samples, tmp_path / "generations_n4.json", scores)
    first = json.loads(path.read_text(encoding="utf-8").split("\n")[0])
    assert list(first) == ["prompt", "ground_truth", "responses"]
    assert list(first["responses"][0]) == ["response", "rougeL_recall"]
    back = import_generations(path, decoding=samples.decoding, store=tmp_path / "back")
    assert back.texts == samples.texts
    assert generation_scores(path)["rougeL_recall"].values.tolist() == (
        scores["rougeL_recall"].values.tolist()
    )


def test_greedy_answers_are_exported_as_copies_and_imported_once(
    tiny_llama: Path, tmp_path: Path
) -> None:
    greedy = Decoding(max_new_tokens=8).greedy()
    samples = sample(tiny_llama, make_prompts(3), greedy, store=tmp_path / "s")
    path = export_generations(samples, tmp_path / "g.json", copies=200)
    assert all(len(each.split('"response"')) == 201 for each in path.read_text().splitlines())
    back = import_generations(path, decoding=greedy, store=tmp_path / "back")
    assert back.texts == samples.texts
    drawn = sample(tiny_llama, make_prompts(3), Decoding(n=2, max_new_tokens=8))
    with pytest.raises(ValueError, match="copies are not samples"):
        export_generations(drawn, path, copies=200)
    with pytest.raises(ValueError, match="not scores of these samples"):
        export_generations(
            drawn, path, {"ES": load_metric("exact_match").score(samples.prompts, samples.texts)}
        )


def test_lines_are_matched_to_the_benchmarks_prompts(tmp_path: Path) -> None:
    prompts = make_prompts(4)
    benchmark = Benchmark(
        name="b", forget=prompts[:3], retain=prompts[3:], metrics=("m",), decoding=DECODING
    )
    lines = [line(p.messages[0]["content"], "none ", ["x"]) for p in (prompts[3], prompts[1])]
    file = write(tmp_path / "g.json", *lines)
    samples = import_generations(file, decoding=DECODING, benchmark=benchmark, store=tmp_path / "s")
    assert samples.prompts == (prompts[3], prompts[1])
    other = write(tmp_path / "h.json", line("Something else?", "none", ["x"]))
    with pytest.raises(ValueError, match=r"h.json, line 1: none of the prompts of b"):
        import_generations(other, decoding=DECODING, benchmark=benchmark, store=tmp_path / "t")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "does not contain prompts"),
        ("{", "line 1: not an object with prompt"),
        ('{"prompt": "a", "ground_truth": "b"}', "line 1: not an object with prompt"),
        (json.dumps(line("a", "b", [])), "line 1: 0 responses"),
        (
            json.dumps(line("a", "b", ["x"])) + "\n" + json.dumps(line("a", "c", ["x", "y"])),
            "line 2: 2 responses, not 1",
        ),
        ('{"prompt": 1, "ground_truth": "b", "responses": []}', "is not a string"),
        ('{"prompt": NaN, "ground_truth": "b", "responses": []}', "line 1, 'prompt': nan is not"),
        (
            '{"prompt": "a", "ground_truth": "b", "responses": [{"response": NaN}]}',
            r"g\.json, line 1, 'responses\[0\]\.response': nan is not",
        ),
        (
            json.dumps(line("a", "b", ["x"])) + "\n" + json.dumps(line("a", "b", ["x\udc00"])),
            r"line 2, 'responses\[0\]\.response': unpaired surrogate \\udc00",
        ),
    ],
)
def test_an_invalid_file_is_rejected(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "g.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        import_generations(file, decoding=DECODING, store=tmp_path / "s")


def test_a_byte_order_mark_is_not_part_of_the_text(file: Path, tmp_path: Path) -> None:
    marked = tmp_path / "marked.json"
    marked.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    samples = import_generations(marked, decoding=DECODING, store=tmp_path / "s")
    assert samples.texts == import_generations(file, decoding=DECODING).texts


def test_scores_that_are_not_numbers_are_rejected(tmp_path: Path) -> None:
    file = write(tmp_path / "g.json", line("a", "b", ["x"], ES=[float("nan")]))
    with pytest.raises(DataError, match=r"g\.json, line 1, 'responses\[0\]\.ES': nan is not"):
        generation_scores(file)


def test_greedy_answers_that_differ_are_rejected(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line 1: greedy answers to one prompt differ"):
        import_generations(file, decoding=DECODING.replace(n=1).greedy(), store=tmp_path / "s")
