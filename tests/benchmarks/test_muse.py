"""MUSE from small generated files, from a folder with the hub's layout, and from the real files."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import pytest

from leakrepro.benchmarks import muse as module
from leakrepro.benchmarks import muse_books, muse_news
from leakrepro.errors import DataError
from leakrepro.types import Decoding

ARTICLES = [
    f"The {animal} of Port {place} was seen {count} times.\n\nIts keeper, {keeper}, was pleased. "
    + " ".join(f"{animal} {i} {keeper}" for i in range(200))
    for animal, place, count, keeper in (
        ("heron", "Alder", "seventeen", "Ines Falk"),
        ("otter", "Birch", "forty", "Jan Holm"),
        ("badger", "Cedar", "ninety", "Ruth Lind"),
    )
]
QUESTIONS = [
    ("Who keeps the badger of Port Cedar?", "Ruth Lind"),
    ("How often was the heron of Port Alder seen?", "seventeen times"),
    ("Who keeps the heron of Port Alder?", "Ines Falk"),
]
SOLVED = [(f"What is {i}?", f"number {i}") for i in range(10)]


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def qa(rows: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"question": q, "answer": a} for q, a in rows]


def texts(rows: list[str]) -> list[dict[str, str]]:
    return [{"text": text} for text in rows]


FILES: dict[tuple[str, str], list[dict[str, str]]] = {
    ("knowmem", "forget_qa"): qa(QUESTIONS),
    ("knowmem", "forget_qa_icl"): qa(SOLVED),
    ("knowmem", "retain_qa"): qa([("Who rules?", "Nobody"), ("Who sings?", "Everybody")]),
    ("knowmem", "retain_qa_icl"): qa(SOLVED[::-1]),
    ("verbmem", "forget"): [{"prompt": a[:300], "gt": a[300:400]} for a in ARTICLES],
    ("privleak", "retain"): texts(["Kept. " + a for a in ARTICLES]),
    ("privleak", "holdout"): texts(["Fresh. " + a for a in ARTICLES]),
}


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A local copy; its forget corpus is one text."""
    folder = tmp_path / "data" / "muse" / "news"
    for (config, split), rows in FILES.items():
        write_rows(folder / f"{config}_{split}.json", rows)
    gap = "\n\nA quiet week. " * 200
    (folder / "raw_forget.txt").write_text(gap.join(ARTICLES), encoding="utf-8")
    monkeypatch.setenv("LEAKREPRO_DATA", str(tmp_path / "data"))
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the layout of the hub's repository, which it replaces; one row per article."""
    folder = tmp_path / "muse-bench" / "MUSE-News"
    content = FILES | {
        ("raw", "forget"): texts(ARTICLES),
        ("raw", "retain1"): FILES["privleak", "retain"],
    }
    configs: dict[str, list[dict[str, str]]] = {}
    for (config, split), rows in content.items():
        path = folder / config / f"{split}.json"
        write_rows(path, rows)
        entry = {"split": split, "path": f"{config}/{split}.json"}
        configs.setdefault(config, []).append(entry)
    listed = [{"config_name": name, "data_files": files} for name, files in configs.items()]
    front = json.dumps({"configs": listed})
    (folder / "README.md").write_text(f"---\n{front}\n---\n", encoding="utf-8")
    monkeypatch.delenv("LEAKREPRO_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return folder


def asked(prompt: Any) -> str:
    (turn,) = prompt.messages
    assert turn["role"] == "text"
    return str(turn["content"])


@pytest.mark.usefixtures("local")
def test_a_question_follows_the_solved_questions_of_its_side() -> None:
    bench = muse_news(shots=2)
    assert asked(bench.forget[0]) == (
        "Question: What is 0?\nAnswer: number 0\n\nQuestion: What is 1?\nAnswer: number 1\n\n"
        "Question: Who keeps the badger of Port Cedar?\nAnswer:"
    )
    assert asked(bench.retain[0]).startswith("Question: What is 9?\nAnswer: number 9\n\n")
    assert [p.reference for p in bench.forget] == [answer for _, answer in QUESTIONS]
    assert asked(muse_news(shots=0).forget[0]).count("Question:") == 1
    assert asked(muse_news().forget[0]).count("Question:") == 11
    assert bench.decoding == Decoding(max_new_tokens=32, stop=("\n\n", "\nQuestion", "Question:"))
    assert bench.metrics == ("rougeL_recall", "rougeL_recall/stem")


@pytest.mark.usefixtures("local")
def test_forget_prompts_are_clustered_by_article_if_the_corpus_is_one_text() -> None:
    for bench in (muse_news(), muse_news("verbmem")):
        clusters = [p.cluster for p in bench.forget]
        animals = [
            next(a for a in ("heron", "otter", "badger") if a in asked(p).split("\n")[-2])
            if "Question" in asked(p)
            else asked(p).split()[1]
            for p in bench.forget
        ]
        assert len(set(zip(clusters, animals, strict=True))) == len(set(clusters))
        assert len(set(clusters)) == len(set(animals)) >= 2
    assert len({p.cluster for p in muse_news().retain}) == 2


@pytest.mark.usefixtures("local")
def test_references_of_passages_continue_the_prompts() -> None:
    bench = muse_news("verbmem", prompt_words=5)
    for article, prompt in zip(ARTICLES, bench.forget, strict=True):
        assert article[:300].endswith(asked(prompt))
        assert len(asked(prompt).split()) == 5
        assert prompt.reference == article[300:400]
    for prompt in bench.retain:
        full = next(t["text"] for t in FILES["privleak", "retain"] if asked(prompt) in t["text"])
        assert full.startswith(asked(prompt))
        assert prompt.reference.split() == full.split()[5:85]
    assert bench.decoding == Decoding(max_new_tokens=128)
    assert asked(muse_news("verbmem").forget[0]) == ARTICLES[0][:300]


@pytest.mark.usefixtures("local")
def test_training_sets_contain_the_articles_and_optionally_the_questions() -> None:
    bench = muse_news(chunk_words=60)
    corpus = " ".join(p.reference for p in bench.train_forget)
    for article in ARTICLES:
        assert all(paragraph in corpus for paragraph in article.split("\n\n"))
    assert all(asked(p) == "" for p in bench.train_forget + bench.train_retain + bench.fresh)
    assert bench.fresh[0].reference.startswith("Fresh.")
    assert not any("Fresh." in p.reference for p in bench.train_forget + bench.train_retain)
    trained = muse_news(chunk_words=60, train_questions=True)
    added = trained.train_forget[len(bench.train_forget) :]
    assert trained.train_forget[: len(bench.train_forget)] == bench.train_forget
    passages = muse_news("verbmem")
    for side in ("forget", "retain"):
        more = getattr(trained, f"train_{side}")[len(getattr(bench, f"train_{side}")) :]
        expected = getattr(bench, side) + getattr(passages, side)
        assert [(asked(p), p.reference) for p in more] == [
            (asked(p), p.reference) for p in expected
        ]
    assert len(added) == 6
    assert muse_news("verbmem", train_questions=True).train_forget == (
        muse_news(train_questions=True).train_forget
    )
    assert len(muse_news(chunk_words=60, chunks=1).train_forget) == 1


@pytest.mark.usefixtures("hub")
def test_the_hub_and_a_local_copy_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REPOSITORY", str(tmp_path / "muse-bench" / "MUSE-{}"))
    from_hub = muse_news(questions=3), muse_news("verbmem")
    assert [p.cluster for p in from_hub[0].forget] == [
        "article/0002",
        "article/0000",
        "article/0000",
    ]
    assert [p.cluster for p in from_hub[1].forget] == [f"article/000{i}" for i in range(3)]
    assert [asked(p) for p in from_hub[1].forget] == [a[:300] for a in ARTICLES]


def test_a_local_copy_of_the_books_does_not_have_passages(local: Path) -> None:
    for (config, split), rows in FILES.items():
        if config == "knowmem":
            write_rows(local.parent / "books" / f"{config}_{split}.json", rows)
    bench = muse_books()
    assert (len(bench.forget), len(bench.retain)) == (3, 2)
    assert len({p.cluster for p in bench.forget}) == 3
    assert (bench.train_forget, bench.fresh) == ((), ())
    message = "does not have the passages of MUSE-Books: unset LEAKREPRO_DATA"
    with pytest.raises(DataError, match=message):
        muse_books("verbmem")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "privleak"}, "unknown MUSE task 'privleak'; known: knowmem, verbmem"),
        ({"shots": 11}, "shots must be from 0 to 10"),
        ({"questions": 0}, "questions must be at least 1"),
        ({"chunk_words": 0}, "chunk_words must be at least 1"),
    ],
)
@pytest.mark.usefixtures("local")
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        muse_news(**options)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("knowmem_forget_qa.json", b'{"question": "q"}\n', r"line 1: 'answer' is missing"),
        ("raw_forget.txt", b"\xff", r"raw_forget\.txt, line 1: not UTF-8"),
        ("verbmem_forget.json", None, r"verbmem_forget\.json: No such file.*LEAKREPRO_DATA"),
    ],
)
def test_the_error_names_the_invalid_file(
    local: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is None:
        (local / name).unlink()
    else:
        (local / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        muse_news("verbmem", train_questions=True)


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(os.environ.get("LEAKREPRO_DATA") or Path(__file__).parents[3] / "shared/data")
    if not (folder / "muse").is_dir():
        pytest.skip("needs the MUSE files: set LEAKREPRO_DATA")
    monkeypatch.setenv("LEAKREPRO_DATA", str(folder))


@pytest.mark.usefixtures("real")
def test_the_real_news() -> None:
    questions, passages = muse_news(), muse_news("verbmem")
    assert [len(b.forget) for b in (questions, passages)] == [100, 100]
    assert [len(b.retain) for b in (questions, passages)] == [100, 100]
    assert questions.forget[0].reference == "1472"
    assert asked(questions.forget[0]).endswith(
        "Question: What year did the Orkney Islands become part of Scotland?\nAnswer:"
    )
    # 100 questions about some 900 articles: few share an article, but those of one story do.
    by_cluster = Counter(p.cluster for p in questions.forget)
    assert 80 <= len(by_cluster) < 100
    doctors = [p.cluster for p in questions.forget if "junior doctor" in asked(p)[-200:]]
    assert len(doctors) > len(set(doctors))
    assert [p.id for p in muse_news(questions=7).forget] == [p.id for p in questions.forget[:7]]
    assert sum(len(p.reference.split()) for p in questions.train_forget) == 551_113


@pytest.mark.usefixtures("real")
def test_the_real_books() -> None:
    bench = muse_books()
    assert [len(bench.forget), len(bench.retain)] == [100, 100]
    assert bench.forget[0].reference == "the Golden Snitch"
