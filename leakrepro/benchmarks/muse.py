"""MUSE: unlearning of news articles and books (Shi et al. 2024, arXiv 2407.06460)."""

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
# An answer ends at a blank line, or where the next question begins.
STOP = ("\n\n", "\nQuestion", "Question:")
_DECODINGS = {
    "knowmem": Decoding(max_new_tokens=32, stop=STOP),
    "verbmem": Decoding(max_new_tokens=128),
}
# If the corpus is one text without article boundaries, passages that are at most this many
# characters apart are assigned to the same article.
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

    The task ``"knowmem"`` asks 100 questions per side, each after ``shots`` solved questions.
    ``"verbmem"`` asks for the continuation of 100 passages from forget articles. All prompts are
    plain text without a chat template. The primary metric is ROUGE-L recall without stemming, as in
    MUSE; ``rougeL_recall/stem`` is the second metric.

    Forget prompts are clustered by article. MUSE does not say which article a question is about;
    the article is found in the forget corpus by the rare words that it shares with the question and
    answer. Each retain question is its own cluster. MUSE does not have retain passages. Those of
    ``"verbmem"`` are cut from retain articles: the first ``prompt_words`` words (200 by default)
    are the prompt, the next 80 the reference.

    Files come from ``LEAKREPRO_DATA/muse/news`` (``knowmem_forget_qa.json`` ...; the corpora are
    ``raw_forget.txt``, ``privleak_retain.json`` and ``privleak_holdout.json``) or from the hub.

    Args:
        task: ``"knowmem"`` or ``"verbmem"``.
        shots: Number of solved questions before each question, 0 to 10.
        questions: Keep only this many questions or passages per side; None for all.
        prompt_words: Number of words at the end of each passage that the prompt shows; None for
            all.
        chunk_words: Maximum number of words per training text (MUSE: 2,048 tokens).
        chunks: Keep only this many training texts per corpus; None for all.
        train_questions: Whether the training sets also contain the questions and passages of their
            side, as they are asked. Meant for models trained from random weights.
        revision: Commit of the hub's repository; None for the newest.

    Returns:
        The benchmark.

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

    As ``muse_news``, with two differences: passages and training sets come only from the hub,
    because local copies do not contain the books; and each question is its own cluster, because
    the books are one text.

    Args:
        task: See ``muse_news``.
        shots: See ``muse_news``.
        questions: See ``muse_news``.
        prompt_words: See ``muse_news``.
        chunk_words: See ``muse_news``.
        chunks: See ``muse_news``.
        revision: Commit of the hub's repository; None for the newest.

    Returns:
        The benchmark.

    Raises:
        ValueError: for an unknown task, or a number out of range.
        DataError: for a file that cannot be read, and for ``"verbmem"`` with a local copy.
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
    r"""Format a question after a block of solved questions, ending with ``Answer:``.

    >>> question_text("Who?", [("Where?", "There")])
    'Question: Where?\nAnswer: There\n\nQuestion: Who?\nAnswer:'

    Args:
        question: The question.
        solved: Pairs of question and answer.

    Returns:
        The prompt text.
    """
    block = "".join(f"Question: {q}\nAnswer: {a}\n\n" for q, a in solved)
    return f"{block}Question: {question}\nAnswer:"


def text_prompt(
    id: str, text: str, reference: str, *, cluster: str, side: Side, facts: tuple[str, ...] = ()
) -> Prompt:
    """Make a prompt that is plain text, without a chat template."""
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
    # A local copy of MUSE-Books contains only the questions.
    has_articles = corpus == "news" or paths.data() is None
    articles: dict[Side, list[str]] = {"forget": [], "retain": []}
    if has_articles:
        articles = {"forget": files.articles("forget"), "retain": files.articles("retain")}

    if task == "verbmem" and not has_articles:
        raise DataError(
            "a local copy does not have the passages of MUSE-Books: unset LEAKREPRO_DATA to "
            'download them, or use the task "knowmem"'
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
    fresh = files.articles("holdout") if has_articles else []
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
        decoding=_DECODINGS[task],
        train_forget=trained["forget"],
        train_retain=trained["retain"],
        fresh=_chunks(corpus, "retain", fresh, chunk_words, chunks, "fresh"),
    )


class _Files:
    """Reads the files of one corpus from a local copy or the hub."""

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
        """Articles of the forget set, of the retain set, or that no MUSE model was trained on."""
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
    """Cut a prompt and its continuation from the start of each long article, at most 100."""
    prompts: list[Prompt] = []
    for i, article in enumerate(articles):
        ends = [word.end() for word in re.finditer(r"\S+", article)]
        if len(ends) >= prompt_words + _CONTINUED_WORDS and len(prompts) < 100:
            split, end = ends[prompt_words - 1], ends[prompt_words + _CONTINUED_WORDS - 1]
            prompts.append(
                text_prompt(
                    f"muse-{corpus}/verbmem/retain/{i:03d}",
                    article[:split],
                    article[split:end].strip(),
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
    """Split articles into training texts of up to ``words`` words, between paragraphs."""
    chunks: list[str] = []
    for article in articles:
        current: list[str] = []
        for paragraph in re.split(r"\n{2,}", article):
            if current and sum(len(p.split()) for p in current) + len(paragraph.split()) > words:
                chunks.append("\n\n".join(current))
                current = []
            current.append(paragraph)
        chunks.append("\n\n".join(current))
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
    """Set each prompt's cluster to the article that it is about.

    A prompt is matched to the window of the corpus with the highest sum of inverse document
    frequencies (over windows) of the shared words. If the corpus is one text without article
    boundaries, prompts whose windows are close together share an article.
    """
    windows = [
        (number, start, _words(article[start : start + 1000]))
        for number, article in enumerate(articles)
        for start in range(0, len(article), 500)
    ]
    windows_with: dict[str, list[int]] = {}
    for i, (_, _, words) in enumerate(windows):
        for word in words:
            windows_with.setdefault(word, []).append(i)
    places = []
    for prompt in prompts:
        text = prompt.messages[0]["content"].rpartition("Question: ")[2][-1000:]
        score: dict[int, float] = {}
        for word in _words(f"{text} {prompt.reference}"):
            found = windows_with.get(word, [])
            weight = math.log(len(windows) / len(found)) if found else 0.0
            for i in found:
                score[i] = score.get(i, 0.0) + weight
        number, start, _ = windows[max(score, key=lambda i: (score[i], -i))] if score else (0, 0, 0)
        places.append((number, start))
    ordered = sorted(set(places))
    article_of = {place: place[0] for place in ordered}
    if len(articles) == 1:
        article_of = {ordered[0]: 0}
        for previous, place in pairwise(ordered):
            article_of[place] = article_of[previous] + (place[1] - previous[1] > _ARTICLE)
    return tuple(
        dataclasses.replace(prompt, cluster=f"article/{article_of[place]:04d}")
        for prompt, place in zip(prompts, places, strict=True)
    )


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", text.lower()))
