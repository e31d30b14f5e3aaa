"""The contestants of the benchmark: this package's scoring functions and the installed peers."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cdist

import leakrepro as lr
from leakrepro.bench.shapes import Shape
from leakrepro.rouge._kernel import implementations
from leakrepro.rouge.texts import RougeL, arrays_of
from leakrepro.types import Scores

# Pairs per call of slow contestants, so that a round is short.
_SLOW = {"rouge_score": 150, "torchmetrics": 60, "python": 600, "rouge-score-rs": 4000}
_SLOW_LONG = {"rouge_score": 1, "torchmetrics": 1, "python": 8, "rouge-score-rs": 60}
_NO_ID = 255  # for words that do not occur in the reference of the group


@dataclass(frozen=True)
class Contestant:
    """One way to score the first ``pairs`` pairs of a shape.

    Attributes:
        name: Name in the table.
        section: Contestants of one section get the same input and must return the same results.
        pairs: Number of pairs per call.
        run: The timed call.
        values: Converts the result of ``run`` to float64 ``[pairs, measures]``.
        before: Called before each timed call, without being timed.
        exact: False if the results are rounded to float32.
    """

    name: str
    section: str
    pairs: int
    run: Callable[[], Any]
    values: Callable[[Any], NDArray[np.float64]]
    before: Callable[[], None] | None = None
    exact: bool = True


@dataclass(frozen=True)
class Absent:
    """A contestant that cannot run, and the reason."""

    name: str
    reason: str


@contextmanager
def _implementation(name: str) -> Iterator[None]:
    before = os.environ.get("LEAKREPRO_IMPL")
    os.environ["LEAKREPRO_IMPL"] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ["LEAKREPRO_IMPL"]
        else:
            os.environ["LEAKREPRO_IMPL"] = before


def _columns(scores: RougeL) -> NDArray[np.float64]:
    return np.stack(arrays_of(scores), axis=1)


def _one_column(lengths: Any) -> NDArray[np.float64]:
    return np.asarray(lengths, dtype=np.float64).reshape(-1, 1)


def contestants(shape: Shape, *, stem: bool, threads: int) -> Iterator[Contestant | Absent]:
    """Yield all contestants, this package's first in each section; preparation is not timed.

    Args:
        shape: The texts to score.
        stem: Whether words are stemmed.
        threads: Number of threads of multi-threaded contestants; with 1 they are omitted.
    """
    yield from _text(shape, stem=stem, threads=threads)
    yield from _text_peers(shape, stem=stem)
    yield from _ids(shape)
    yield from _compacted(shape)


def _text(shape: Shape, *, stem: bool, threads: int) -> Iterator[Contestant | Absent]:
    slow = _SLOW_LONG if shape.name == "verbmem" else _SLOW

    def contestant(name: str, run: Callable[[], Any], **more: Any) -> Contestant:
        return Contestant(name, "text", more.pop("pairs", shape.pairs), run, _columns, **more)

    def score(implementation: str, pairs: int | None = None, threads: int = 1) -> Any:
        references, rows = _first(shape, pairs or shape.pairs)

        def run() -> RougeL:
            with _implementation(implementation):
                return lr.rouge_l(references, rows, stem=stem, threads=threads)

        return run

    states = implementations()
    native = [name for name, state in states.items() if state == "ok" and name != "python"]
    for name in native:
        yield contestant(f"leakrepro {name}", score(name))
    if native:
        from leakrepro._native import forget_words

        best = native[0]
        yield contestant("leakrepro, fresh caches", score(best), before=forget_words)
        texts, rows = pa.array(shape.references), pa.array(shape.candidates)
        yield contestant("leakrepro, Arrow", lambda: lr.rouge_l(texts, rows, stem=stem, threads=1))
        yield contestant("leakrepro, shuffled", _shuffled(shape, stem))
        if threads > 1:
            yield contestant(f"leakrepro, {threads} threads", score(best, threads=threads))
    few = min(shape.pairs, slow["python"])
    yield contestant("leakrepro python", score("python", few), pairs=few)
    for name, state in states.items():
        if state != "ok":
            yield Absent(f"leakrepro {name}", state)


def _shuffled(shape: Shape, stem: bool) -> Callable[[], RougeL]:
    """Score each pair as its own group, in random order; results are in the order of the shape."""
    pairs = list(_pairs(shape))
    order = np.random.default_rng(0).permutation(len(pairs))
    references = [pairs[i][0] for i in order]
    rows = [[pairs[i][1]] for i in order]
    inverse = np.argsort(order)

    def run() -> RougeL:
        scores = lr.rouge_l(references, rows, stem=stem, threads=1)
        return RougeL(
            *(
                Scores(each.values[inverse], each.offsets)
                for each in (scores.precision, scores.recall, scores.fmeasure)
            )
        )

    return run


def _text_peers(shape: Shape, *, stem: bool) -> Iterator[Contestant | Absent]:
    slow = _SLOW_LONG if shape.name == "verbmem" else _SLOW
    pairs = list(_pairs(shape))
    singles = lr.RougeScorer(["rougeL"], use_stemmer=stem)
    few = pairs[: slow["rouge-score-rs"]]
    yield _scorer("leakrepro RougeScorer.score", singles, few)

    if (absent := _absent("rouge_score", "rouge-score")) is not None:
        yield absent
    else:
        plain = importlib.import_module("rouge_score.rouge_scorer").RougeScorer(
            ["rougeL"], use_stemmer=stem
        )
        yield _scorer("rouge_score", plain, pairs[: slow["rouge_score"]])
    if (absent := _absent("rouge_score_rs", "rouge-score-rs")) is not None:
        yield absent
    else:
        fast = importlib.import_module("rouge_score_rs").RougeScorer(["rougeL"], use_stemmer=stem)
        yield _scorer("rouge-score-rs", fast, few)
        references, candidates = [r for r, _ in few], [c for _, c in few]
        yield Contestant(
            "rouge-score-rs, all CPUs",
            "text",
            len(few),
            lambda: fast.score_batch(references, candidates),
            _tuples,
        )
    if (absent := _absent("torchmetrics", "torchmetrics")) is not None:
        yield absent
    else:
        yield _torchmetrics(pairs[: slow["torchmetrics"]], stem)


def _tuples(scores: Any) -> NDArray[np.float64]:
    return np.array([score["rougeL"] for score in scores], dtype=np.float64)


def _scorer(name: str, scorer: Any, pairs: list[tuple[str, str]]) -> Contestant:
    return Contestant(
        name,
        "text",
        len(pairs),
        lambda: [scorer.score(target, prediction) for target, prediction in pairs],
        _tuples,
    )


def _torchmetrics(pairs: list[tuple[str, str]], stem: bool) -> Contestant:
    text = importlib.import_module("torchmetrics.text.rouge")
    targets, predictions = [[r] for r, _ in pairs], [c for _, c in pairs]

    def run() -> Any:
        metric = text.ROUGEScore(use_stemmer=stem, rouge_keys="rougeL")
        metric.update(predictions, targets)
        return metric

    def values(metric: Any) -> NDArray[np.float64]:
        names = ("precision", "recall", "fmeasure")
        columns = [[float(x) for x in getattr(metric, f"rougeL_{name}")] for name in names]
        return np.array(columns).T

    return Contestant("torchmetrics", "text", len(pairs), run, values, exact=False)


def _absent(module: str, package: str) -> Absent | None:
    if importlib.util.find_spec(module) is not None:
        return None
    return Absent(package, f"not installed: pip install {package}")


def _csr(sequences: list[NDArray[Any]], dtype: Any) -> lr.TokenIds:
    offsets = np.cumsum([0, *(sequence.size for sequence in sequences)], dtype=np.int64)
    return lr.TokenIds(np.concatenate(sequences).astype(dtype), offsets)


def _string(ids: NDArray[Any]) -> str:
    """Encode each id as one character."""
    return "".join(map(chr, ids.tolist()))


def _ids(shape: Shape) -> Iterator[Contestant | Absent]:
    references, candidates = shape.ids
    groups = np.cumsum([0, *map(len, shape.candidates)], dtype=np.int64)
    highest = max(int(ids.max(initial=0)) for ids in (*references, *candidates))
    for dtype in (np.int32, np.uint16, np.int64):
        name = np.dtype(dtype).name
        if highest > np.iinfo(dtype).max:
            yield Absent(f"leakrepro lcs_length {name}", f"there are {highest + 1} different words")
            continue
        a, b = _csr(references, dtype), _csr(candidates, dtype)
        run = partial(lr.lcs_length, a, b, groups, threads=1)
        yield _lengths(f"leakrepro lcs_length {name}", "ids", shape.pairs, run)
    rows = [candidates[groups[i] : groups[i + 1]] for i in range(len(references))]
    yield from _rapidfuzz("ids", references, rows)


def _compacted(shape: Shape) -> Iterator[Contestant | Absent]:
    """Ids of one byte, numbered per group, because a reference has few different words."""
    references, candidates = shape.ids
    counts = [len(np.unique(reference)) for reference in references]
    if max(counts) > _NO_ID:
        yield Absent(
            "ids of one byte", f"a reference has {max(counts)} different words, more than 255"
        )
        return
    new_references, rows, i = [], [], 0
    for reference, row in zip(references, shape.candidates, strict=True):
        words = np.unique(reference)

        def compact(ids: NDArray[Any], words: NDArray[Any] = words) -> NDArray[np.uint8]:
            place = np.minimum(np.searchsorted(words, ids), len(words) - 1)
            return np.where(words[place] == ids, place, _NO_ID).astype(np.uint8)

        new_references.append(compact(reference))
        rows.append([compact(ids) for ids in candidates[i : i + len(row)]])
        i += len(row)
    groups = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    a, b = _csr(new_references, np.uint8), _csr([ids for row in rows for ids in row], np.uint8)
    yield _lengths(
        "leakrepro lcs_length uint8",
        "ids of one byte",
        shape.pairs,
        lambda: lr.lcs_length(a, b, groups, threads=1),
    )
    yield from _rapidfuzz("ids of one byte", new_references, rows)


def _rapidfuzz(
    section: str, references: list[NDArray[Any]], rows: list[list[NDArray[Any]]]
) -> Iterator[Contestant]:
    texts = [_string(ids) for ids in references]
    many = [[_string(ids) for ids in row] for row in rows]
    pairs = sum(map(len, rows))
    yield _lengths(
        "rapidfuzz cdist",
        section,
        pairs,
        lambda: np.concatenate(
            [
                cdist([text], row, scorer=LCSseq.similarity, dtype=np.int32)[0]
                for text, row in zip(texts, many, strict=True)
            ]
        ),
    )
    if section == "ids":
        yield _lengths(
            "rapidfuzz loop",
            section,
            pairs,
            lambda: [
                LCSseq.similarity(text, other)
                for text, row in zip(texts, many, strict=True)
                for other in row
            ],
        )


def _lengths(name: str, section: str, pairs: int, run: Callable[[], Any]) -> Contestant:
    return Contestant(name, section, pairs, run, _one_column)


def _pairs(shape: Shape) -> Iterator[tuple[str, str]]:
    for reference, row in zip(shape.references, shape.candidates, strict=True):
        for candidate in row:
            yield reference, candidate


def _first(shape: Shape, pairs: int) -> tuple[list[str], list[list[str]]]:
    """The groups that contain the first ``pairs`` pairs."""
    rows: list[list[str]] = []
    for row in shape.candidates:
        if pairs <= 0:
            break
        rows.append(row[:pairs])
        pairs -= len(rows[-1])
    return shape.references[: len(rows)], rows


def versions() -> dict[str, str]:
    """Versions of the installed peers."""
    found = {}
    for name in ("rouge-score", "rouge-score-rs", "rapidfuzz", "torchmetrics"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
