"""Checks of the arguments that the statistics share."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leakrepro.types import Scores


def check_confidence(confidence: float) -> None:
    """ValueError unless the level is in (0, 1)."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, not {confidence}")


def check_scores(scores: Scores | ArrayLike | Iterable[ArrayLike]) -> Scores:
    """The scores as ``Scores``; ValueError when one cannot be used."""
    if isinstance(scores, Scores):
        checked = scores
    else:
        rows = [np.asarray(row, dtype=np.float64) for row in scores]  # type: ignore[union-attr]
        for i, row in enumerate(rows):
            if row.ndim != 1:
                raise ValueError(
                    f"scores must be prompts x samples, but prompt {i} has {row.ndim} dimensions; "
                    "give the scores of a single prompt as [scores]"
                )
        checked = Scores.from_rows(rows)
    if not len(checked):
        raise ValueError("no scores were given: leak@k needs at least one prompt")
    if np.any(checked.counts == 0):
        i = int(np.argmin(checked.counts))
        raise ValueError(f"prompt {i} has no samples; sample it again or leave it out on purpose")
    bad = ~((checked.values >= 0) & (checked.values <= 1))  # also true for nan
    if np.any(bad):
        at = int(np.argmax(bad))
        i = int(np.searchsorted(checked.offsets, at, side="right")) - 1
        raise ValueError(
            f"prompt {i}, sample {at - checked.offsets[i]} has score {checked.values[at]}; scores "
            "must be in [0, 1], and an item that was not scored must not stand as a number"
        )
    return checked


def check_k(k: int | Sequence[int] | None, counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rising sample counts; ValueError when one is above a prompt's number of samples."""
    poorest = int(np.argmin(counts))
    n = int(counts[poorest])
    if k is None:
        return np.int64(1) << np.arange(n.bit_length(), dtype=np.int64)
    try:
        whole = [operator.index(x) for x in np.atleast_1d(np.asarray(k)).tolist()]
    except TypeError:
        raise ValueError(f"k must be whole numbers, got {k!r}") from None
    ks = np.asarray(whole, dtype=np.int64)
    if not ks.size or ks[0] < 1 or np.any(np.diff(ks) <= 0):
        raise ValueError(f"k must be rising whole numbers from 1 on, got {k!r}")
    if ks[-1] > n:
        raise ValueError(
            f"prompt {poorest} has {n} samples, fewer than k = {ks[-1]}: draw more samples or ask "
            f"for k up to {n}"
        )
    return ks
