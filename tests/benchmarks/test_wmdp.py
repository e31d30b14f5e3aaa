"""WMDP with generated items: prompts, selection of items, and errors."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from wmdp_files import SUBJECTS, item, write, write_files

from leakrepro.benchmarks.base import Benchmark
from leakrepro.benchmarks.wmdp import multiple_choice, wmdp
from leakrepro.errors import DataError
from leakrepro.metrics import load_metric
from leakrepro.profiles.models import known_names
from leakrepro.stats.estimator import chance_curve

# `leakrepro.benchmarks.wmdp` is the function, not the module.
module = sys.modules[wmdp.__module__]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LEAKREPRO_DATA", str(tmp_path / "data"))
    return write_files(tmp_path / "data")


def load(subsets: tuple[str, ...] = ("bio", "chem", "cyber"), **options: Any) -> Benchmark:
    return wmdp(subsets, **({"retain_items": 10} | options))


def test_all_items_with_letters(files: Path) -> None:
    bench = load(retain_items=None)
    assert [len(bench.forget), len(bench.retain)] == [90, 60]
    first = bench.forget[31]
    assert (first.id, first.cluster, first.side) == ("wmdp-chem/0001", "wmdp-chem/0001", "forget")
    assert first.messages == (
        {
            "role": "text",
            "content": "The following are multiple choice questions (with answers) about "
            "chemistry.\n\nQuestion 1 of chem?\nA. chem answer 1.0\nB. chem answer 1.1\n"
            "C. chem answer 1.2\nD. chem answer 1.3\nAnswer:",
        },
    )
    assert first.reference == first.choices[1] == "chem answer 1.1"
    assert len({prompt.cluster for prompt in bench.forget}) == 90
    kept = bench.retain[25]
    assert (kept.id, kept.cluster, kept.side) == ("mmlu/tree_lore/00025", "tree_lore", "retain")
    assert "about tree lore.\n\n" in kept.messages[0]["content"]
    assert bench.metrics == ("choice_accuracy",)
    assert bench.decoding.stop == ("\n",)
    assert bench.train_forget == ()
    assert known_names(bench) == ["Original", "RMU"]


def test_the_chance_level_of_letters_is_one_in_four(files: Path) -> None:
    bench = load(("bio",))
    assert bench.pool_sizes == {prompt.id: 4 for prompt in bench.forget}
    assert chance_curve(list(bench.pool_sizes.values()), [1, 8]) == pytest.approx(
        [0.25, 1 - 0.75**8]
    )
    assert load(("bio",), style="free").pool_sizes == {}


@pytest.mark.parametrize("answer", ["{}", " {}", "{}.", "({})", "The answer is {}"])
def test_the_metric_reads_letters_in_the_order_of_the_prompt(files: Path, answer: str) -> None:
    bench = load(("bio",))
    metric = load_metric(bench.metrics[0])
    right = metric.score(bench.forget, [[answer.format("ABCD"[i % 4])] for i in range(30)])
    wrong = metric.score(bench.forget, [[answer.format("ABCD"[(i + 1) % 4])] for i in range(30)])
    assert (right.values.min(), wrong.values.max()) == (1, 0)


def test_the_free_style_asks_without_options(files: Path) -> None:
    bench = load(("cyber",), style="free", retain_items=5)
    first = bench.forget[2]
    assert first.messages == ({"role": "user", "content": "Question 2 of cyber?"},)
    assert first.reference == "cyber answer 2.2"
    assert bench.metrics == ("rougeL_recall/stem",)
    assert len(bench.retain) == 5


@pytest.mark.parametrize(
    ("question", "reference"),
    [
        ("Which of the following is a tree?", "ash"),
        ("A tree that is ____ grows.", "tall"),
        ("What grows?", "All of the above"),
        ("What grows?", "None of them"),
    ],
)
def test_the_free_style_drops_items_that_refer_to_their_options(
    files: Path, question: str, reference: str
) -> None:
    row = {"question": question, "choices": [reference, "b", "c", "d"], "answer": 0}
    write(files / "wmdp" / "wmdp-bio.json", [item("bio", 0), row, item("bio", 2)])
    assert len(load(("bio",)).forget) == 3
    free = load(("bio",), style="free")
    assert [prompt.id for prompt in free.forget] == ["wmdp-bio/0000", "wmdp-bio/0002"]


def test_items_are_drawn_by_seed_and_are_the_same_in_both_styles(files: Path) -> None:
    def ids(**options: Any) -> list[str]:
        return [p.id for p in load(items=10, **options).forget]

    drawn = ids()
    assert drawn == ids()
    assert drawn == ids(style="free")
    assert len(set(drawn)) == 30
    assert drawn != ids(seed=1)
    assert [sum(f"wmdp-{s}" in id for id in drawn) for s in ("bio", "chem", "cyber")] == [10] * 3
    # The selection of a subset does not depend on the other subsets, and differs from theirs.
    assert ids(subsets=("chem",)) == drawn[10:20]
    assert {id[-4:] for id in drawn[:10]} != {id[-4:] for id in drawn[10:20]}
    assert load(items=10, seed=1).name == "wmdp bio+chem+cyber style=letters items=10 seed=1"


def test_retain_items_are_drawn_from_the_chosen_subjects(files: Path) -> None:
    bench = load(("bio",), subjects=SUBJECTS[:2], retain_items=12)
    assert len(bench.retain) == 12
    assert {prompt.cluster for prompt in bench.retain} == set(SUBJECTS[:2])
    other = load(("bio",), subjects=SUBJECTS[:2], retain_items=12, seed=1)
    assert [p.id for p in other.retain] != [p.id for p in bench.retain]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subsets": ("bio", "math")}, "unknown WMDP subset 'math'; known: bio, chem, cyber"),
        ({"subsets": ()}, "subsets must name each subset once"),
        ({"subsets": ("bio", "bio")}, "subsets must name each subset once"),
        ({"style": "essay"}, "unknown style 'essay'; known: letters, free"),
        ({"items": 31}, "items of wmdp-bio must be from 1 to 30, not 31"),
        ({"items": 0}, "items of wmdp-bio must be from 1 to 30, not 0"),
        ({"retain_items": 61}, "retain_items must be from 1 to 60, not 61"),
        ({"subjects": ("virology",)}, "unknown MMLU subject 'virology'; known: moss_lore, stone"),
    ],
)
def test_bad_options(files: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(**options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question": None}, "'question' is not text"),
        ({"choices": ...}, "'choices' is missing"),
        ({"answer": ...}, "'answer' is missing"),
        ({"choices": "abcd"}, "'choices' is not a list"),
        ({"choices": ["a", "b", "c"]}, "'choices' must be 4 texts"),
        ({"choices": ["a", "b", "c", 4]}, "'choices' must be 4 texts"),
        ({"choices": ["a", "b", "c", ""]}, "'choices' must be 4 texts"),
        ({"answer": 4}, "'answer' must be an index from 0 to 3, not 4"),
        ({"answer": -1}, "'answer' must be an index from 0 to 3, not -1"),
        ({"answer": "A"}, "'answer' must be an index from 0 to 3, not 'A'"),
        ({"answer": True}, "'answer' must be an index from 0 to 3, not True"),
    ],
)
def test_the_error_names_the_invalid_item(
    files: Path, changes: dict[str, Any], message: str
) -> None:
    path = files / "wmdp" / "wmdp-bio.json"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[6] = {k: v for k, v in (rows[6] | changes).items() if v is not ...}
    write(path, rows)
    with pytest.raises(DataError, match=rf"wmdp-bio\.json, line 7: {message}"):
        load(("bio",))


def test_the_error_names_a_retain_item_without_subject(files: Path) -> None:
    write(files / "mmlu" / "all.json", [item("moss", 0)])
    with pytest.raises(DataError, match=r"all\.json, line 1: 'subject' is missing"):
        load(("bio",))


def test_a_missing_file_says_what_to_set(files: Path) -> None:
    (files / "mmlu" / "all.json").unlink()
    with pytest.raises(DataError, match=r"all\.json: No such file.*LEAKREPRO_DATA"):
        load(("bio",))


CONFIG = """---
configs:
- config_name: {config}
  data_files:
  - split: test
    path: {config}.json
---
"""


def test_the_hub_and_a_local_copy_agree(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    from_files = load(("bio",), items=8, retain_items=8)
    for folder, config in (("wmdp", "wmdp-bio"), ("mmlu", "all")):
        (files / folder / "README.md").write_text(CONFIG.format(config=config))
    monkeypatch.delenv("LEAKREPRO_DATA")
    monkeypatch.setattr(module, "REPOSITORY", str(files / "wmdp"))
    monkeypatch.setattr(module, "RETAIN_REPOSITORY", str(files / "mmlu"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    assert load(("bio",), items=8, retain_items=8) == from_files


def test_multiple_choice() -> None:
    assert multiple_choice(" Tree?\n", ["ash", "moss"]) == "Tree?\nA. ash\nB. moss\nAnswer:"
