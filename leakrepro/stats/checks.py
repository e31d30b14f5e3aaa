"""Argument checks shared by the statistics."""

from __future__ import annotations

import operator
from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leakrepro.types import Scores


def check_confidence(confidence: float) -> None:
    """Raise ValueError unless the level is in (0, 1)."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}")


def whole_number(value: object) -> int:
    """Return an integer of any integer type; raise TypeError for all else, also bool and 2.0."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{value} is not an integer")
    return operator.index(value)  # type: ignore[arg-type]


def check_clusters(labels: object, n_prompts: int) -> list[Hashable]:
    """Return the cluster labels of the prompts as plain values.

    Args:
        labels: Sequence, array, tensor, or column of a table.
        n_prompts: Number of prompts.

    Raises:
        ValueError: If there is not one label per prompt, or a label is missing (None or nan).
        TypeError: If ``labels`` is not ordered, or a label cannot be compared.
    """
    for convert in ("to_pylist", "tolist", "to_list"):  # Arrow; numpy, torch, pandas; polars
        if hasattr(labels, convert):
            labels = getattr(labels, convert)()
            break
    if isinstance(labels, Mapping | set | frozenset) or not isinstance(labels, Iterable):
        raise TypeError(f"clusters must be one label per prompt in order, not {labels!r}")
    plain = [label.item() if hasattr(label, "item") else label for label in labels]
    if len(plain) != n_prompts:
        raise ValueError(f"clusters has {len(plain)} labels for {n_prompts} prompts")
    for i, label in enumerate(plain):
        if label is None or type(label).__name__ in ("NAType", "NaTType") or label != label:
            raise ValueError(
                f"prompt {i} does not have a cluster label ({label}); give it a label of its own "
                "if it is independent of all others"
            )
        if not isinstance(label, Hashable):
            raise TypeError(f"prompt {i}: a cluster label must be text or a number, not {label!r}")
    return plain


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
    checked = Scores.from_rows(scores)
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
        whole = [whole_number(x) for x in np.atleast_1d(np.asarray(k)).tolist()]
    except TypeError:
        raise ValueError(f"k must be integers, got {k!r}") from None
    if any(abs(x) > np.iinfo(np.int64).max for x in whole):
        raise ValueError(f"k must be below 2**63, got {k!r}")
    ks = np.asarray(whole, dtype=np.int64)
    if not ks.size or ks[0] < 1 or np.any(np.diff(ks) <= 0):
        raise ValueError(f"k must be strictly increasing positive integers, got {k!r}")
    if ks[-1] > n:
        raise ValueError(
            f"prompt {fewest} has {n} samples, fewer than k = {ks[-1]}: draw more samples, or use "
            f"k up to {n}"
        )
    return ks
