"""TOFU from the real files if they are available, and from small generated files for the errors."""

import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tofu_files import write_files

from leakrepro.benchmarks.base import Benchmark
from leakrepro.benchmarks.tofu import tofu
from leakrepro.errors import DataError
from leakrepro.profiles.models import profile_of

# `leakrepro.benchmarks.tofu` is the function, not the module.
module = sys.modules[tofu.__module__]


def profile_name(bench: Benchmark) -> str | None:
    """The profile that makes a benchmark's models."""
    profile = profile_of(bench)
    return profile.name if profile else None


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LEAKREPRO_DATA", str(tmp_path / "data"))
    return write_files(tmp_path / "data" / "tofu")


def rewrite(path: Path, line: int, change: Callable[[bytes], bytes]) -> None:
    lines = path.read_bytes().splitlines()
    lines[line - 1] = change(lines[line - 1])
    path.write_bytes(b"\n".join(lines))


def ids(prompts: tuple) -> list[int]:
    return [int(prompt.id.removeprefix("tofu/")) for prompt in prompts]


def test_everything_of_a_split(files: Path) -> None:
    bench = tofu("forget01")
    assert ids(bench.forget) == ids(bench.train_forget) == list(range(440, 480))
    assert ids(bench.retain) == list(range(400))
    assert ids(bench.train_retain) == list(range(440))
    assert bench.fresh == ()
    assert profile_name(bench) == "paper"
    first = bench.forget[0]
    assert (first.id, first.cluster, first.side) == ("tofu/0440", "author/022", "forget")
    assert first.messages == ({"role": "user", "content": "Asked again: Question 440?"},)
    assert first.reference == bench.train_forget[0].reference == "Answer 440."
    assert bench.train_forget[0].messages[0]["content"] == "Question 440?"


def test_a_repeated_question_is_identified_by_its_answer(files: Path) -> None:
    bench = tofu("forget01")
    assert bench.retain[21].reference == "Answer 21."
    assert bench.retain[3].reference == "Answer 3."


def test_a_reduced_benchmark_keeps_whole_authors_and_asks_only_trained_questions(
    files: Path,
) -> None:
    bench = tofu("forget01", "question", authors=1, retain_questions=100, retain_eval=60)
    assert ids(bench.forget) == list(range(440, 460))
    assert ids(bench.train_retain) == list(range(100))
    assert ids(bench.retain) == list(range(60))
    assert ids(bench.fresh) == list(range(100, 440))
    assert bench.forget[0].messages[0]["content"] == "Question 440?"
    assert profile_name(bench) == "scratch-cpu"
    assert "authors=1" in bench.name
    assert "retain_questions=100" in bench.name


def test_a_system_message_comes_first_in_all_prompts(files: Path) -> None:
    bench = tofu("forget01", system="Be brief.")
    for prompts in (bench.forget, bench.retain, bench.train_forget, bench.train_retain):
        assert prompts[0].messages[0] == {"role": "system", "content": "Be brief."}
        assert [message["role"] for message in prompts[0].messages] == ["system", "user"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"forget": "forget02"}, "unknown TOFU split 'forget02'; known: forget01, forget05"),
        ({"prompt_key": "answer"}, "unknown prompt key 'answer'"),
        ({"authors": 3}, "authors x 20 must be a multiple of 20 from 20 to 40, not 60"),
        ({"authors": 0}, "from 20 to 40, not 0"),
        ({"retain_questions": 30}, "retain_questions must be a multiple of 20 from 20 to 440"),
        ({"retain_questions": 40, "retain_eval": 60}, "retain_eval .* from 20 to 40, not 60"),
    ],
)
def test_bad_options(files: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tofu(**({"forget": "forget01"} | options))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda line: b"{" + line, "line 7: not JSON"),
        (lambda line: line[:-2], "line 7: not JSON"),
        (lambda line: b"[1]", "line 7: expected an object, found list"),
        (lambda line: line.replace(b'"answer"', b'"reply"'), "line 7: 'answer' is missing"),
        (lambda line: b'{"question": "?", "answer": 3}', "line 7: 'answer' is not text"),
        (lambda line: line.replace(b"Answer", b"R\xe9ponse"), "line 7: not UTF-8"),
    ],
)
def test_the_error_names_the_invalid_line(
    files: Path, change: Callable[[bytes], bytes], message: str
) -> None:
    rewrite(files / "full.json", 7, change)
    with pytest.raises(DataError, match=message) as error:
        tofu("forget01")
    assert str(files / "full.json") in str(error.value)


def test_blank_lines_do_not_shift_the_numbering(files: Path) -> None:
    rewrite(files / "full.json", 7, lambda line: b"\n" + line + b"\n{")
    with pytest.raises(DataError, match="line 9: not JSON"):
        tofu("forget01")


def test_a_byte_order_mark_is_skipped(files: Path) -> None:
    expected = tofu("forget01").train_forget
    for file in files.glob("*.json"):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert tofu("forget01").train_forget == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"NaN", r"full\.json, line 3, 'answer': nan is not a JSON number"),
        (b"-Infinity", r"full\.json, line 3, 'answer': -inf"),
        (b"7", r"full\.json, line 3: 'answer' is not text"),
        (b"null", r"full\.json, line 3: 'answer' is not text"),
        (rb'"x\ud800"', r"full\.json, line 3, 'answer': unpaired surrogate"),
    ],
)
def test_an_answer_that_is_not_text(files: Path, value: bytes, message: str) -> None:
    rewrite(files / "full.json", 3, lambda line: re.sub(rb'("answer": )"[^"]*"', rb"\1@", line))
    rewrite(files / "full.json", 3, lambda line: line.replace(b"@", value))
    with pytest.raises(DataError, match=message):
        tofu("forget01")


def test_files_that_cannot_be_read(files: Path) -> None:
    (files / "full.json").write_text("\n")
    with pytest.raises(DataError, match=r"full\.json: no rows"):
        tofu("forget01")
    (files / "full.json").unlink()
    with pytest.raises(DataError, match=r"full\.json: No such file.*LEAKREPRO_DATA"):
        tofu("forget01")


def test_files_of_different_releases_are_refused(files: Path) -> None:
    rewrite(files / "forget01_perturbed.json", 2, lambda line: line.replace(b"441.", b"X."))
    with pytest.raises(
        DataError, match=r"forget01_perturbed: 'Question 441\?' is not in TOFU full"
    ):
        tofu("forget01")


CONFIGS = """---
configs:
- config_name: full
  data_files: full.json
- config_name: forget01_perturbed
  data_files: forget01_perturbed.json
- config_name: retain_perturbed
  data_files: retain_perturbed.json
---
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the layout of the hub's repository, which it replaces."""
    import datasets

    folder = write_files(tmp_path / "TOFU")
    (folder / "README.md").write_text(CONFIGS)
    monkeypatch.delenv("LEAKREPRO_DATA", raising=False)
    monkeypatch.setattr(module, "REPOSITORY", str(folder))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return folder


def test_the_hub_and_a_local_copy_agree(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from_hub = tofu("forget01")
    (hub.parent / "local").mkdir()
    (hub.parent / "local" / "tofu").symlink_to(hub)
    monkeypatch.setenv("LEAKREPRO_DATA", str(hub.parent / "local"))
    assert from_hub == tofu("forget01")


def test_a_hub_without_the_configuration(hub: Path) -> None:
    with pytest.raises(DataError, match=r"cannot load .*forget10_perturbed.*LEAKREPRO_DATA"):
        tofu("forget10")


def test_an_unavailable_hub(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPOSITORY", str(hub / "elsewhere"))
    with pytest.raises(DataError, match=r"cannot load .*LEAKREPRO_DATA"):
        tofu("forget01")


@pytest.fixture(scope="module")
def real() -> Path:
    default = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("LEAKREPRO_DATA") or default)
    if not (folder / "tofu" / "full.json").exists():
        pytest.skip("needs the TOFU files: set LEAKREPRO_DATA")
    return folder


@pytest.fixture
def load(real: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Benchmark]:
    monkeypatch.setenv("LEAKREPRO_DATA", str(real))
    return tofu


def lines(real: Path, config: str) -> list[tuple[str, str]]:
    rows = map(json.loads, (real / "tofu" / f"{config}.json").read_text().splitlines())
    return [(row["question"], row["answer"]) for row in rows]


@pytest.mark.parametrize(
    ("forget", "retain", "first_author"),
    [
        ("forget01", "retain99", 198),
        ("forget05", "retain95", 190),
        ("forget10", "retain90", 180),
    ],
)
def test_real_training_sets_are_tofus_own_splits(
    load: Callable[..., Benchmark], real: Path, forget: str, retain: str, first_author: int
) -> None:
    bench = load(forget)
    pairs = lambda prompts: [(p.messages[0]["content"], p.reference) for p in prompts]  # noqa: E731
    assert pairs(bench.train_forget) == lines(real, forget)
    assert pairs(bench.train_retain) == lines(real, retain)
    assert len(bench.retain) == 400
    assert bench.forget[0].cluster == f"author/{first_author}"
    assert bench.forget[-1].cluster == "author/199"


def test_real_questions_keep_their_id_in_every_split(load: Callable[..., Benchmark]) -> None:
    assert load("forget10").forget[-40:] == load("forget01").forget
    assert load("forget05").forget[-40:] == load("forget01").forget


def test_the_reduced_benchmark_from_real_files(load: Callable[..., Benchmark]) -> None:
    bench = load("forget05", "question", authors=5, retain_questions=1000, retain_eval=100)
    sizes = [len(getattr(bench, name)) for name in ("forget", "retain", "train_retain", "fresh")]
    assert sizes == [100, 100, 1000, 2800]
    assert sorted({prompt.cluster for prompt in bench.forget}) == [
        f"author/{author}" for author in range(190, 195)
    ]
    assert "Hina Ameen" in bench.forget[0].reference
    trained = {(p.id, p.messages[0]["content"]) for p in bench.train_retain}
    assert {(p.id, p.messages[0]["content"]) for p in bench.retain} <= trained
    seen = {p.id for p in bench.train_retain + bench.fresh}
    assert not seen & {p.id for p in bench.forget}
