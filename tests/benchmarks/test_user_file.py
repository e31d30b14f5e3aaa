"""Questions from the user's file: the prompts that it gives, and the errors for invalid files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import leakrepro as lr
from leakrepro.errors import DataError


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def test_a_csv_file(tmp_path: Path) -> None:
    text = (
        "question,answer,cluster,fact,note\r\n"
        'Who?,"Ada, of\nAsh",ada,Ada,x\r\n'
        "When?,In 1907.,,,\r\n"
        " Where? , Ash ,ada,,\r\n"
    )
    first, second, third = lr.read_prompts(write(tmp_path / "mine.csv", "\ufeff" + text))
    assert first.id == "mine/0001"
    assert first.messages == ({"role": "user", "content": "Who?"},)
    assert first.reference == "Ada, of\nAsh"
    assert first.facts == ("Ada",)
    assert first.side == "forget"
    assert (second.cluster, second.facts) == ("mine/0002", ())
    assert (third.messages[0]["content"], third.reference) == ("Where?", "Ash")
    assert first.cluster == third.cluster == "ada"


def test_json_lines_and_csv_agree(tmp_path: Path) -> None:
    lines = (
        '{"question": "Who?", "answer": "Ada", "cluster": 7}\n\n{"answer": "B", "question": "É?"}'
    )
    table = "question,answer,cluster\nWho?,Ada,7\nÉ?,B,\n"
    of_lines = lr.read_prompts(write(tmp_path / "a.jsonl", lines))
    assert of_lines == lr.read_prompts(write(tmp_path / "a.csv", table))
    assert [prompt.cluster for prompt in of_lines] == ["7", "a/0002"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "question,answer\nWho?,Ada\nWhen?,\n", r"a\.csv, line 3, column 'answer': field"),
        ("a.csv", "question,reply\nWho?,Ada\n", "column 'answer'.*with a value: question, reply"),
        ("a.csv", "question,answer\nWho?,Ada,x\n", "line 2: more cells than the header"),
        ("a.csv", 'question,answer\nWho?,"Ada" x\n', "line 2: not CSV"),
        ("a.csv", "question,answer\n", r"a\.csv: no rows"),
        ("a.jsonl", '{"question": "Who?", "answer": "  "}', "line 1, column 'answer'.*at least 1"),
        ("a.jsonl", '{"question": ["Who?"], "answer": "A"}', "line 1, column 'question'.*string"),
        ("a.jsonl", '{"question": "Who?", "answer": "A"}\n[1]', "line 2: expected an object"),
        ("a.jsonl", "\n{'question'}", "line 2: not JSON"),
        ("a.jsonl", '{"question": "W?", "answer": NaN}', r"a\.jsonl, line 1, 'answer': nan is not"),
        ("a.jsonl", '{"question": "W?", "answer": "A", "fact": NaN}', "line 1, 'fact': nan is not"),
        (
            "a.jsonl",
            '\n{"question": "W?", "answer": "A", "cluster": Infinity}',
            "line 2, 'cluster'",
        ),
        ("a.jsonl", '{"question": -Infinity, "answer": "A"}', "line 1, 'question': -inf is not"),
        ("a.jsonl", '{"question": "W?", "answer": 1e999}', "line 1, 'answer': inf is not"),
        ("a.jsonl", '{"question": "W?", "answer": null}', "line 1, column 'answer'.*string"),
        ("a.jsonl", '{"question": "W?", "answer": true}', "line 1, column 'answer'.*string"),
        ("a.jsonl", '{"question": "W?", "answer": "A", "answer": "B"}', "'answer' occurs twice"),
        ("a.jsonl", '{"question": "W?", "answer": "A\\ud800"}', r"line 1, 'answer': .*\\ud800"),
        ("a.jsonl", '{"question": "W?", "answer": ' + "[" * 9999 + "]" * 9999 + "}", "line 1: "),
        ("a.jsonl", '{"question": "W?", "answer": ' + "9" * 9999 + "}", "line 1: "),
        ("a.csv", "question,answer,answer\nW?,A,B\n", "line 1: the column 'answer' occurs 2 times"),
        ("a.csv", "question, question,answer\nW?,A,B\n", "the column 'question' occurs 2 times"),
    ],
)
def test_the_error_names_the_line_and_column(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        lr.read_prompts(write(tmp_path / name, text))


def test_words_for_missing_values_are_text(tmp_path: Path) -> None:
    words = ["NA", "null", "None", "nan", "NaN", "N/A", "inf"]
    rows = "".join(f"Who {i}?,{word},{word},{word}\n" for i, word in enumerate(words))
    prompts = lr.read_prompts(write(tmp_path / "a.csv", "question,answer,cluster,fact\n" + rows))
    assert [prompt.reference for prompt in prompts] == words
    assert [prompt.cluster for prompt in prompts] == words
    assert [prompt.facts for prompt in prompts] == [(word,) for word in words]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_long_cells_and_byte_order_marks(tmp_path: Path, name: str) -> None:
    long = "ash " * 50_000 + "end"
    text = f'question,answer\n"Who?","{long}"\n'
    if name == "a.jsonl":
        text = json.dumps({"question": "Who?", "answer": long})
    limit = csv.field_size_limit()
    (prompt,) = lr.read_prompts(write(tmp_path / name, "\ufeff" + text))
    assert prompt.reference == long
    assert csv.field_size_limit() == limit


def test_other_files(tmp_path: Path) -> None:
    message = r"questions\.txt: the extension of a file of questions must be one of \.csv"
    with pytest.raises(ValueError, match=message):
        lr.read_prompts(tmp_path / "questions.txt")
    with pytest.raises(DataError, match=r"none\.csv: No such file"):
        lr.read_prompts(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes("question,answer\nOù?,là".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.csv, line 2: not UTF-8"):
        lr.read_prompts(tmp_path / "latin.csv")


def test_own_questions_are_sampled_and_scored(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path))
    rows = "question,answer,fact\nash birch?,oak elm,oak\npine?,fir,fir\n"
    prompts = lr.read_prompts(write(tmp_path / "own.csv", rows))
    samples = lr.sample(tiny_llama, prompts, lr.Decoding(n=4, max_new_tokens=4))
    scores = lr.load_metric("fact_match").score(samples.prompts, samples.texts)
    assert lr.leak_at_k(scores).n_clusters == 2
