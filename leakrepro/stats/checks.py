"""Argument checks shared by the statistics."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leakrepro.types import Scores


def check_confidence(confidence: float) -> None:
    """Raise ValueError unless the level is in (0, 1)."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")


def check_rng(rng: int | np.random.Generator) -> np.random.Generator:
    """Return the generator of a seed, or the generator itself.

    Raises:
        TypeError: If ``rng`` is None, or neither a seed nor a generator.
        ValueError: If a seed is negative.
    """
    if rng is None:
        raise TypeError(
            "rng must be an integer seed or a numpy Generator, not None; for a random seed pass "
            "np.random.default_rng()"
        )
    return np.random.default_rng(rng)


def check_scores(scores: Scores | ArrayLike | Iterable[ArrayLike]) -> Scores:
    """Return the scores as ``Scores``; raise ValueError if any score is invalid."""
    if isinstance(scores, Scores):
        checked = scores
    else:
        rows = [np.asarray(row, dtype=np.float64) for row in scores]  # type: ignore[union-attr]
        for i, row in enumerate(rows):
            if row.ndim != 1:
                raise ValueError(
                    f"scores must be prompts x samples, but prompt {i} has {row.ndim} dimensions; "
                    "pass the scores of a single prompt as [scores]"
                )
        checked = Scores.from_rows(rows)
    if not len(checked):
        raise ValueError("scores are empty: leak@k needs at least one prompt")
    if np.any(checked.counts == 0):
        i = int(np.argmin(checked.counts))
        raise ValueError(
            f"prompt {i} does not have samples; sample it again, or drop it explicitly"
        )
    bad = ~((checked.values >= 0) & (checked.values <= 1))  # also true for nan
    if np.any(bad):
        at = int(np.argmax(bad))
        i = int(np.searchsorted(checked.offsets, at, side="right")) - 1
        raise ValueError(
            f"prompt {i}, sample {at - checked.offsets[i]} has score {checked.values[at]}; scores "
            "must be in [0, 1], and a sample without a score must not be given as a number"
        )
    return checked


def check_k(k: int | Sequence[int] | None, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sample counts; raise ValueError if they do not increase or exceed the samples."""
    fewest = int(np.argmin(counts))
    n = int(counts[fewest])
    if k is None:
        return np.int64(1) << np.arange(n.bit_length(), dtype=np.int64)
    try:
        whole = [operator.index(x) for x in np.atleast_1d(np.asarray(k)).tolist()]
    except TypeError:
        raise ValueError(f"k must be integers, got {k!r}") from None
    ks = np.asarray(whole, dtype=np.int64)
    if not ks.size or ks[0] < 1 or np.any(np.diff(ks) <= 0):
        raise ValueError(f"k must be strictly increasing positive integers, got {k!r}")
    if ks[-1] > n:
        raise ValueError(
            f"prompt {fewest} has {n} samples, fewer than k = {ks[-1]}: draw more samples, or use "
            f"k up to {n}"
        )
    return ks
