"""Shared code of metrics with a model, which read each distinct pair once."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from leakrepro.execution.backend import Backend
from leakrepro.execution.executors import stream
from leakrepro.metrics.score_cache import ScoreCache
from leakrepro.storage.keys import digest
from leakrepro.types import Prompt, Scores

Pair = tuple[str, ...]
SHARD = 2000  # pairs per shard; a killed run loses at most this many


@dataclass(frozen=True)
class Usage:
    """Counts of the work of scoring some candidates.

    Attributes:
        candidates: Candidates to score.
        gated: Candidates that were decided by a cheap rule without the model.
        repeated: Candidates whose pair duplicates that of an earlier candidate.
        cached: Distinct pairs that were in the cache.
        scored: Distinct pairs that the model has read.
        tokens: Tokens that the model has read, without padding.
        padding: Tokens of padding.
        cut: Pairs that were truncated to the maximum length of the model.
    """

    candidates: int = 0
    gated: int = 0
    repeated: int = 0
    cached: int = 0
    scored: int = 0
    tokens: int = 0
    padding: int = 0
    cut: int = 0

    def __add__(self, other: Usage) -> Usage:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Usage(*(a + b for a, b in pairs))


class Distinct:
    """The distinct pairs of the candidates, and the scores of the candidates from theirs.

    Args:
        pairs: One list per prompt; None for a candidate that scores 0 without being read.
        cache: Cache of known scores; None to score all pairs.
    """

    def __init__(self, pairs: Iterable[Sequence[Pair | None]], cache: ScoreCache | None) -> None:
        self._number: dict[Pair, int] = {}
        self._rows = [
            [-1 if p is None else self._number.setdefault(p, len(self._number)) for p in row]
            for row in pairs
        ]
        self._pairs = list(self._number)
        self._cache = cache
        self._values = np.full(len(self._pairs) + 1, np.nan)
        self._values[-1] = 0.0
        known = cache.get(self._pairs) if cache is not None else {}
        for i, value in known.items():
            self._values[i] = value
        flat = [i for row in self._rows for i in row]
        self.usage = Usage(
            candidates=len(flat),
            gated=flat.count(-1),
            repeated=len(flat) - flat.count(-1) - len(self._pairs),
            cached=len(known),
        )

    def unknown(self) -> list[Pair]:
        """Return the pairs without a score, in order of appearance."""
        return [pair for i, pair in enumerate(self._pairs) if np.isnan(self._values[i])]

    def put(self, pairs: Sequence[Pair], values: Sequence[float]) -> None:
        """Store scores of some pairs, first on disk.

        Raises:
            ValueError: If a score is not a number in [0, 1]. None of the scores is stored.
        """
        check_values(pairs, values)
        if self._cache is not None:
            values = self._cache.put(dict(zip(pairs, values, strict=True)))
        for pair, value in zip(pairs, values, strict=True):
            self._values[self._number[pair]] = value

    def missing(self, prompts: Sequence[Prompt]) -> Iterator[tuple[str, int]]:
        """Yield the prompts with unscored candidates, and their number."""
        for prompt, row in zip(prompts, self._rows, strict=True):
            if count := int(np.isnan(self._values[row]).sum()):
                yield prompt.id, count

    def scores(self, *, allow_missing: bool = False) -> Scores:
        """Return the scores of all candidates; missing ones are omitted if that is allowed."""
        rows = [self._values[row] if row else np.empty(0) for row in self._rows]
        if allow_missing:
            rows = [row[~np.isnan(row)] for row in rows]
        return Scores.from_rows(rows)


def check_values(pairs: Sequence[Pair], values: Sequence[float]) -> None:
    """Check the scores of some pairs: one number in [0, 1] for each.

    Args:
        pairs: The pairs.
        values: Their scores.

    Raises:
        ValueError: If a score is nan or out of range; the message shows the pair.
    """
    for pair, value in zip(pairs, values, strict=True):
        if not 0 <= value <= 1:  # false for nan
            shown = " | ".join(text[:60] for text in pair)
            raise ValueError(f"the score of {shown!r} is {value}, not a number in [0, 1]")


def read_shards(
    distinct: Distinct,
    function: Callable[..., tuple[list[float], Usage]],
    settings: tuple[Any, ...],
    *,
    backend: Backend,
    label: str,
) -> Usage:
    """Score the unknown pairs with a model, in order of length, and store each finished shard.

    A killed run leaves complete shards, so that the next run has the same remaining shards.

    Args:
        distinct: The pairs; it receives the scores.
        function: ``function(*settings, pairs, progress) -> scores, usage``, importable.
        settings: First arguments of ``function``.
        backend: Where ``function`` runs.
        label: Label of the progress bar.

    Returns:
        The counts, with the candidates that the model did not read.
    """
    pairs = sorted(distinct.unknown(), key=lambda pair: (sum(map(len, pair)), pair))
    shards = [pairs[i : i + SHARD] for i in range(0, len(pairs), SHARD)]
    usage = distinct.usage
    if not shards:
        return usage
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(tqdm(total=len(pairs), unit="pair", desc=label, leave=False))
        read = stream(
            backend,
            function,
            [(*settings, shard) for shard in shards],
            gpus=1,
        )
        for i, (values, spent) in stack.enter_context(contextlib.closing(read)):
            distinct.put(shards[i], values)
            usage += spent
            bar.update(len(shards[i]))
    if usage.cut:
        warnings.warn(
            f"{label}: {usage.cut} pairs are longer than the model reads and were cut",
            stacklevel=3,
        )
    return usage


def reader_key(path: Path) -> str:
    """Return a hash of everything that changes a model's scores: weights, tokenizer, modules.

    Raises:
        FileNotFoundError: If weights or tokenizer are missing.
        ValueError: If the folder contains what cannot be hashed, such as an adapter.
    """
    # Late: a judge does not need torch.
    from leakrepro.models.fingerprints import Fingerprints, tree_fingerprint

    if (path / "modules.json").is_file():
        return digest(["modules", tree_fingerprint(path)])
    # sentence-transformers adds pooling to a model without modules.
    pooling = [part.read_bytes().hex() for part in sorted(path.glob("*sentence*.json"))]
    return digest([*Fingerprints.of(path), pooling])


def opened_as(path: Path, key: str) -> None:
    """Check after loading a model that ``reader_key`` still has the value that scores are kept by.

    Raises:
        ValueError: If files of the model changed.
    """
    from leakrepro.models.fingerprints import require_unchanged

    require_unchanged(path, key, reader_key(path))


def named(model: str | Path, path: Path, key: str, name: str | None = None) -> str:
    """Return ``<name>@<revision>`` of a model for an id; the name of a folder is its last part.

    The first digits of the key replace a missing revision.
    """
    if name is None:
        name = path.name if Path(str(model).partition("@")[0]).is_dir() else str(model)
    return name if "@" in name else f"{name}@{key[:12]}"
