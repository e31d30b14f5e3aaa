"""LCS and ROUGE-L of token ids: for texts that were tokenised elsewhere."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leakrepro.metrics._implementations import choose, refuse_device, usable_threads
from leakrepro.metrics.rouge import RougeL, new_result, result_that_fits

__all__ = ["TokenIds", "lcs_length", "rouge_l_ids"]

# Ids below this are looked up in a table; others are numbered anew first.
_TABLE = 1 << 20


class TokenIds(NamedTuple):
    """Sequences of token ids, back to back ("compressed sparse rows").

    Sequence ``i`` is ``ids[offsets[i]:offsets[i + 1]]``; ids are integers of any type and value.

    >>> two = TokenIds(ids=[5, 7, 5], offsets=[0, 2, 3])  # (5, 7) and (5)
    """

    ids: ArrayLike
    offsets: ArrayLike


def lcs_length(
    references: TokenIds,
    candidates: TokenIds,
    groups: ArrayLike | Literal["all"] | None = None,
    *,
    threads: int | None = None,
    device: str = "cpu",
    out: NDArray[np.int32] | None = None,
) -> NDArray[np.int32]:
    """Lengths of the longest common subsequences of references and candidates.

    H. Hyyro, "Bit-parallel LCS-length computation revisited", AWOCA 2004.

    >>> lcs_length(TokenIds([1, 2, 3], [0, 3]), TokenIds([3, 1, 3, 2], [0, 2, 4])).tolist()
    [1, 1]

    Args:
        references: R sequences.
        candidates: C sequences, with ids of the same meaning.
        groups: Which candidates belong to which reference: offsets ``[R + 1]`` into the
            candidates, from 0 to C; None for equal shares of C / R; ``"all"`` to compare every
            reference with every candidate.
        threads: How many threads at most; None for the CPUs that this process may use.
        device: Only ``"cpu"`` for now.
        out: An int32 array of the result's shape, which is filled and returned.

    Returns:
        ``[C]``, one length for each candidate; ``[R, C]`` for ``groups="all"``.

    Raises:
        TypeError: for ids or offsets that are not integers.
        ValueError: for offsets that fall, exceed the ids or do not fit each other, for C that R
            does not divide where ``groups`` is None, and for an ``out`` that does not fit.
        RuntimeError: when the device or the implementation that ``LEAKREPRO_IMPL`` names is not
            there.
    """
    refuse_device(device)
    arrays = _Arrays(references, candidates, groups)
    if out is None:
        out = np.zeros(arrays.shape, dtype=np.int32)
    elif out.shape != arrays.shape or out.dtype != np.int32 or not out.flags.c_contiguous:
        raise ValueError(f"out must be a contiguous int32 array of shape {arrays.shape}")
    implementation, threads = choose(), usable_threads(threads)
    if implementation == "python":
        from leakrepro.metrics import _rouge_python

        _rouge_python.lcs_length(*arrays.native, out.reshape(-1))
    else:
        from leakrepro import _native

        _native.lcs_length(
            *arrays.native, out.reshape(-1), threads=threads, implementation=implementation
        )
    return out


def rouge_l_ids(
    references: TokenIds,
    candidates: TokenIds,
    groups: ArrayLike | Literal["all"] | None = None,
    *,
    threads: int | None = None,
    device: str = "cpu",
    out: RougeL | None = None,
) -> RougeL:
    """ROUGE-L of token ids: ``rouge_l`` without its tokeniser.

    Arguments and errors are those of ``lcs_length``; measures and ``out`` those of ``rouge_l``.
    The result has one row a reference; its ``array()`` is ``[R, C]`` for ``groups="all"``.

    >>> scores = rouge_l_ids(TokenIds([1, 2, 3], [0, 3]), TokenIds([3, 1, 3], [0, 2, 3]))
    >>> scores.precision[0].tolist()
    [0.5, 1.0]
    """
    refuse_device(device)
    arrays = _Arrays(references, candidates, groups)
    result = new_result(arrays.rows) if out is None else result_that_fits(out, arrays.rows)
    values = (result.precision.values, result.recall.values, result.fmeasure.values)
    implementation, threads = choose(), usable_threads(threads)
    if implementation == "python":
        from leakrepro.metrics import _rouge_python

        _rouge_python.rouge_l_ids(*arrays.native, *values)
    else:
        from leakrepro import _native

        _native.rouge_l_ids(*arrays.native, *values, threads=threads, implementation=implementation)
    return result


class _Arrays:
    """The arguments as the kernel takes them: ids of one type, int64 offsets."""

    def __init__(
        self,
        references: TokenIds,
        candidates: TokenIds,
        groups: ArrayLike | Literal["all"] | None,
    ) -> None:
        reference_ids, reference_offsets = _checked(references, "references")
        candidate_ids, candidate_offsets = _checked(candidates, "candidates")
        ids = _common(reference_ids, candidate_ids)
        r, c = reference_offsets.size - 1, candidate_offsets.size - 1
        self.shape: tuple[int, ...] = (c,)
        offsets: NDArray[np.int64] | None
        if isinstance(groups, str):
            if groups != "all":
                raise ValueError(f"groups must be offsets, None or 'all', not {groups!r}")
            offsets, self.shape = None, (r, c)
            self.rows = np.arange(r + 1, dtype=np.int64) * c
        else:
            if groups is None:
                if c and (not r or c % r):
                    raise ValueError(
                        f"{c} candidates cannot be shared equally by {r} references; pass groups"
                    )
                offsets = np.arange(r + 1, dtype=np.int64) * (c // r if r else 0)
            else:
                offsets = _integers(groups, "groups").astype(np.int64, copy=False)
            self.rows = offsets
        self.native = (ids[0], reference_offsets, ids[1], candidate_offsets, offsets)


def _checked(sequences: TokenIds, what: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    ids, offsets = sequences
    return (
        np.ascontiguousarray(_integers(ids, f"ids of {what}")),
        np.ascontiguousarray(_integers(offsets, f"offsets of {what}"), dtype=np.int64),
    )


def _integers(values: ArrayLike, what: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.size == 0 and not isinstance(values, np.ndarray):
        array = array.astype(np.int64)  # an empty list has no type of its own
    if array.ndim != 1:
        raise ValueError(f"{what} must be one-dimensional, not of shape {array.shape}")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{what} must be integers, not {array.dtype}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _common(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both with one type, and low ids on the side of the references."""
    kind = np.result_type(a, b)
    if kind.kind not in "iu":
        raise TypeError(f"ids cannot be {a.dtype} in one place and {b.dtype} in the other")
    a, b = a.astype(kind, copy=False), b.astype(kind, copy=False)
    if kind.itemsize > 2 and a.size and (a.min() < 0 or a.max() >= _TABLE):
        import pandas as pd

        numbers, _ = pd.factorize(np.concatenate([a, b]))
        a, b = np.split(numbers.astype(np.int64), [a.size])
    return a, b
