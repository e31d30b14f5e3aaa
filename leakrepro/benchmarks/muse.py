"""MUSE: news articles and books that must be forgotten (Shi et al. 2024, arXiv 2407.06460)."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal

from leakrepro.benchmarks.base import Benchmark
from leakrepro.benchmarks.files import read_rows, read_text
from leakrepro.errors import DataError
from leakrepro.storage import paths
from leakrepro.types import Decoding, Prompt, Side

_REPOSITORY = "muse-bench/MUSE-{}"

Task = Literal["knowmem", "verbmem"]
TASKS: tuple[Task, ...] = ("knowmem", "verbmem")
# Where an answer to a question ends: at a blank line, or where the next question begins.
STOP = ("\n\n", "\nQuestion", "Question:")
_ENDS = {
    "knowmem": Decoding(max_new_tokens=32, stop=STOP),
    "verbmem": Decoding(max_new_tokens=128),
}
# Passages of one article lie closer together than this many characters, where its bounds are lost.
_ARTICLE = 2000
_CONTINUED_WORDS = 80  # about MUSE's 128 tokens


def muse_news(
    task: Task = "knowmem",
    *,
    shots: int = 10,
    questions: int | None = None,
    prompt_words: int | None = None,
    chunk_words: int = 1400,
    chunks: int | None = None,
    train_questions: bool = False,
    revision: str | None = None,
) -> Benchmark:
    """MUSE-News: BBC articles of 2023, questions about them and passages to continue.

    ``"knowmem"`` asks 100 questions a side, each after a block of ``shots`` solved ones;
    ``"verbmem"`` has 100 passages of forget articles continued. All is plain text, no chat. The
    core metric is ROUGE-L recall, unstemmed as MUSE has it; ``rougeL_recall/stem`` is the other.

    The clusters of forget prompts are the articles. MUSE does not name a question's article: it is
    looked for in the forget corpus by the rare words that both share. Retain questions stand for
    themselves. MUSE has no retain passages; those of ``"verbmem"`` are cut from retain articles:
    ``prompt_words`` (200 by default) words and the 80 that follow.

    Files come from ``LEAKREPRO_DATA/muse/news`` (``knowmem_forget_qa.json`` ...; the corpora are
    ``raw_forget.txt``, ``privleak_retain.json`` and ``privleak_holdout.json``) or from the hub.

    Args:
        task: ``"knowmem"`` or ``"verbmem"``.
        shots: Solved questions in front of each question, 0 to 10.
        questions: The first of each side's questions or passages; None for all.
        prompt_words: The last words of each passage that are shown; None shows all.
        chunk_words: Words of an article that are trained as one text (MUSE: 2,048 tokens).
        chunks: The first chunks of each corpus; None for all.
        train_questions: Whether the training sets hold the questions and passages of their side
            too, as they are asked. For models from random weights: these have learnt nothing else.
        revision: Commit of the hub's repository.

    Raises:
        ValueError: for an unknown task, or a number out of range.
        DataError: for a file that cannot be read.
    """
    return _muse(
        "news",
        task,
        shots=shots,
        questions=questions,
        prompt_words=prompt_words,
        chunk_words=chunk_words,
        chunks=chunks,
        train_questions=train_questions,
        revision=revision,
    )


def muse_books(
    task: Task = "knowmem",
    *,
    shots: int = 10,
    questions: int | None = None,
    prompt_words: int | None = None,
    chunk_words: int = 1400,
    chunks: int | None = None,
    revision: str | None = None,
) -> Benchmark:
    """MUSE-Books: the Harry Potter books, questions about them and passages to continue.

    As ``muse_news``, with two differences. Passages and training sets come from the hub alone: no
    local copy holds the books. Each question stands for itself, since the books are one text.

    Args:
        task: See ``muse_news``.
        shots: See ``muse_news``.
        questions: See ``muse_news``.
        prompt_words: See ``muse_news``.
        chunk_words: See ``muse_news``.
        chunks: See ``muse_news``.
        revision: Commit of the hub's repository.

    Raises:
        ValueError: for an unknown task, or a number out of range.
        DataError: for a file that cannot be read, such as passages of a local copy.
    """
    return _muse(
        "books",
        task,
        shots=shots,
        questions=questions,
        prompt_words=prompt_words,
        chunk_words=chunk_words,
        chunks=chunks,
        train_questions=False,
        revision=revision,
    )


def question_text(question: str, solved: Iterable[tuple[str, str]] = ()) -> str:
    r"""A question after a block of solved ones, up to where its answer begins.

    >>> question_text("Who?", [("Where?", "There")])
    'Question: Where?\nAnswer: There\n\nQuestion: Who?\nAnswer:'
    """
    block = "".join(f"Question: {q}\nAnswer: {a}\n\n" for q, a in solved)
    return f"{block}Question: {question}\nAnswer:"


def text_prompt(
    id: str, text: str, reference: str, *, cluster: str, side: Side, facts: tuple[str, ...] = ()
) -> Prompt:
    """A prompt of plain text."""
    messages = ({"role": "text", "content": text},)
    return Prompt(id, messages, reference, cluster=cluster, side=side, facts=facts)


def _muse(
    corpus: Literal["news", "books"],
    task: Task,
    *,
    shots: int,
    questions: int | None,
    prompt_words: int | None,
    chunk_words: int,
    chunks: int | None,
    train_questions: bool,
    revision: str | None,
) -> Benchmark:
    if task not in TASKS:
        raise ValueError(f"unknown MUSE task {task!r}; known: {', '.join(TASKS)}")
    if not 0 <= shots <= 10:
        raise ValueError(f"shots must be from 0 to 10, not {shots}")
    for name, value in (
        ("questions", questions),
        ("prompt_words", prompt_words),
        ("chunk_words", chunk_words),
        ("chunks", chunks),
    ):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    files = _Files(corpus, revision)
    # Of the books a local copy holds the questions alone.
    whole = corpus == "news" or paths.data() is None
    articles: dict[Side, list[str]] = {"forget": [], "retain": []}
    if whole:
        articles = {"forget": files.articles("forget"), "retain": files.articles("retain")}

    if task == "verbmem" and not whole:
        raise DataError(
            "a local copy has no passages of MUSE-Books: unset LEAKREPRO_DATA to download them, "
            'or ask for the task "knowmem"'
        )
    prompts: dict[Task, dict[Side, tuple[Prompt, ...]]] = {}
    if task == "knowmem" or train_questions:
        prompts["knowmem"] = {side: _questions(files, side, shots)[:questions] for side in articles}
    if task == "verbmem" or train_questions:
        prompts["verbmem"] = {
            "forget": _passages(files, prompt_words)[:questions],
            "retain": _cut_passages(corpus, articles["retain"], prompt_words or 200)[:questions],
        }
    trained = {}
    for side in articles:
        trained[side] = _chunks(corpus, side, articles[side], chunk_words, chunks)
        if train_questions:
            trained[side] += prompts["knowmem"][side] + prompts["verbmem"][side]
    forget = prompts[task]["forget"]
    if corpus == "news":
        forget = _with_articles(forget, articles["forget"])
    fresh = files.articles("holdout") if whole else []
    options = {
        "shots": shots if shots != 10 else None,
        "questions": questions,
        "prompt_words": prompt_words,
    }
    chosen = "".join(f" {name}={value}" for name, value in options.items() if value is not None)
    return Benchmark(
        name=f"muse-{corpus} {task}{chosen}",
        forget=forget,
        retain=prompts[task]["retain"],
        metrics=("rougeL_recall", "rougeL_recall/stem"),
        decoding=_ENDS[task],
        train_forget=trained["forget"],
        train_retain=trained["retain"],
        fresh=_chunks(corpus, "retain", fresh, chunk_words, chunks, "fresh"),
    )


class _Files:
    """The files of one corpus, of a local copy or the hub."""

    def __init__(self, corpus: Literal["news", "books"], revision: str | None) -> None:
        self.corpus = corpus
        self._repository = _REPOSITORY.format(corpus.capitalize())
        self._folder, self._revision = f"muse/{corpus}", revision

    def rows(self, config: str, split: str, *columns: str) -> list[tuple[str, ...]]:
        found = read_rows(
            self._repository,
            self._folder,
            config,
            columns,
            split=split,
            revision=self._revision,
            file=f"{config}_{split}",
        )
        return [tuple(row[column] for column in columns) for row in found]

    def articles(self, kind: Literal["forget", "retain", "holdout"]) -> list[str]:
        """The forget corpus, that of the regulariser, or articles that no model has seen."""
        if kind == "holdout":
            return [text for (text,) in self.rows("privleak", "holdout", "text")]
        if paths.data() is None:
            split = {"forget": "forget", "retain": "retain1"}[kind]
            return [text for (text,) in self.rows("raw", split, "text")]
        if kind == "forget":
            return [read_text(self._folder, "raw_forget.txt")]
        return [text for (text,) in self.rows("privleak", "retain", "text")]


def _questions(files: _Files, side: Side, shots: int) -> tuple[Prompt, ...]:
    solved = [(q, a) for q, a in files.rows("knowmem", f"{side}_qa_icl", "question", "answer")]
    rows = files.rows("knowmem", f"{side}_qa", "question", "answer")
    return tuple(
        text_prompt(
            f"muse-{files.corpus}/knowmem/{side}/{i:03d}",
            question_text(question, solved[:shots]),
            answer,
            cluster=f"{side}-question/{i:03d}",
            side=side,
        )
        for i, (question, answer) in enumerate(rows)
    )


def _passages(files: _Files, prompt_words: int | None) -> tuple[Prompt, ...]:
    return tuple(
        text_prompt(
            f"muse-{files.corpus}/verbmem/forget/{i:03d}",
            _last_words(text, prompt_words),
            continuation,
            cluster=f"forget-passage/{i:03d}",
            side="forget",
        )
        for i, (text, continuation) in enumerate(files.rows("verbmem", "forget", "prompt", "gt"))
    )


def _cut_passages(corpus: str, articles: Sequence[str], prompt_words: int) -> tuple[Prompt, ...]:
    """The beginnings of articles that are long enough, at most 100."""
    prompts: list[Prompt] = []
    for i, article in enumerate(articles):
        ends = [word.end() for word in re.finditer(r"\S+", article)]
        if len(ends) >= prompt_words + _CONTINUED_WORDS and len(prompts) < 100:
            border, end = ends[prompt_words - 1], ends[prompt_words + _CONTINUED_WORDS - 1]
            prompts.append(
                text_prompt(
                    f"muse-{corpus}/verbmem/retain/{i:03d}",
                    article[:border],
                    article[border:end].strip(),
                    cluster=f"retain-article/{i:03d}",
                    side="retain",
                )
            )
    return tuple(prompts)


def _last_words(text: str, count: int | None) -> str:
    starts = [word.start() for word in re.finditer(r"\S+", text)]
    return text if count is None or len(starts) <= count else text[starts[-count] :]


def _chunks(
    corpus: str,
    side: Side,
    articles: Sequence[str],
    words: int,
    most: int | None,
    kind: str = "article",
) -> tuple[Prompt, ...]:
    """Articles as texts to train on, cut between paragraphs once they hold ``words`` words."""
    chunks: list[str] = []
    for article in articles:
        held: list[str] = []
        for paragraph in re.split(r"\n{2,}", article):
            if held and sum(len(p.split()) for p in held) + len(paragraph.split()) > words:
                chunks.append("\n\n".join(held))
                held = []
            held.append(paragraph)
        chunks.append("\n\n".join(held))
    return tuple(
        text_prompt(
            f"muse-{corpus}/{kind}/{side}/{i:04d}",
            "",
            text,
            cluster=f"{side}-chunk/{i:04d}",
            side=side,
        )
        for i, text in enumerate([chunk for chunk in chunks if chunk.strip()][:most])
    )


def _with_articles(prompts: Sequence[Prompt], articles: Sequence[str]) -> tuple[Prompt, ...]:
    """The prompts with the article that each is from as its cluster.

    A prompt's place is the window of the corpus with the most of its words, each weighted by how
    rare it is (inverse document frequency over windows). Where the corpus is one text, whose
    articles have no bounds, prompts share an article when their windows lie close together.
    """
    windows = [
        (number, start, _words(article[start : start + 1000]))
        for number, article in enumerate(articles)
        for start in range(0, len(article), 500)
    ]
    holding: dict[str, list[int]] = {}
    for i, (_, _, words) in enumerate(windows):
        for word in words:
            holding.setdefault(word, []).append(i)
    places = []
    for prompt in prompts:
        text = prompt.messages[0]["content"].rpartition("Question: ")[2][-1000:]
        score: dict[int, float] = {}
        for word in _words(f"{text} {prompt.reference}"):
            found = holding.get(word, [])
            weight = math.log(len(windows) / len(found)) if found else 0.0
            for i in found:
                score[i] = score.get(i, 0.0) + weight
        number, start, _ = windows[max(score, key=lambda i: (score[i], -i))] if score else (0, 0, 0)
        places.append((number, start))
    ordered = sorted(set(places))
    named = {place: place[0] for place in ordered}
    if len(articles) == 1:
        named = {ordered[0]: 0}
        for before, place in pairwise(ordered):
            named[place] = named[before] + (place[1] - before[1] > _ARTICLE)
    return tuple(
        dataclasses.replace(prompt, cluster=f"article/{named[place]:04d}")
        for prompt, place in zip(prompts, places, strict=True)
    )


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", text.lower()))
