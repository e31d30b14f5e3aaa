"""LCS and ROUGE-L of token ids, for texts that are already tokenised."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leakrepro.rouge._kernel import is_on_device, kernel, runs_on_cuda
from leakrepro.rouge._python import check_groups, check_offsets
from leakrepro.rouge.texts import RougeL, arrays_of, new_result, result_that_fits

__all__ = ["TokenIds", "lcs_length", "rouge_l_ids"]

_Ids = NDArray[Any]
_Offsets = NDArray[np.int64]

# The kernel looks up ids below this in a table; larger ids are renumbered first.
_TABLE = 1 << 20


class TokenIds(NamedTuple):
    """Concatenated sequences of token ids ("compressed sparse rows").

    Sequence ``i`` is ``ids[offsets[i]:offsets[i + 1]]``.

    >>> two = TokenIds(ids=[5, 7, 5], offsets=[0, 2, 3])  # (5, 7) and (5)

    Attributes:
        ids: Integers of any type and value, on the host or on a CUDA device (any array with
            ``__cuda_array_interface__`` or DLPack).
        offsets: Integers, one more than there are sequences.
    """

    ids: ArrayLike
    offsets: ArrayLike


def lcs_length(
    references: TokenIds,
    candidates: TokenIds,
    groups: ArrayLike | Literal["all"] | None = None,
    *,
    threads: int | None = None,
    device: str = "auto",
    out: Any = None,
) -> Any:
    """Return the lengths of the longest common subsequences of references and candidates.

    H. Hyyro, "Bit-parallel LCS-length computation revisited", AWOCA 2004.

    >>> lcs_length(TokenIds([1, 2, 3], [0, 3]), TokenIds([3, 1, 3, 2], [0, 2, 4])).tolist()
    [1, 1]

    Args:
        references: R sequences.
        candidates: C sequences, with ids from the same vocabulary.
        groups: Candidates of each reference, as offsets ``[R + 1]`` into the candidates, from 0 to
            C; None for C / R candidates per reference; ``"all"`` to compare every reference with
            every candidate.
        threads: Maximum number of threads; None for the CPUs that this process may use.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:N"``, or ``"auto"``: ids on a CUDA device are matched
            there, in its current stream, and ids on the host are matched on the CPU. ``"cuda"``
            copies ids from the host to the device. A device is worthwhile for ids that are already
            there, for long references, and for ``groups="all"`` with many of both.
        out: An int32 array of the result's shape, on the host or on the device, which is filled and
            returned.

    Returns:
        One length per candidate, ``[C]``; ``[R, C]`` for ``groups="all"``. A NumPy array unless
        ``out`` is given.

    Raises:
        TypeError: If ids or offsets are not integers.
        ValueError: If offsets decrease, exceed the ids or contradict each other; if ``groups`` is
            None and R does not divide C; if ``out`` does not fit; or if ids are on another device
            than ``device``, or are 2^26 or more in a reference on a device.
        RuntimeError: If the device or the implementation that ``LEAKREPRO_IMPL`` names is not
            available, or if CUDA reports an error.
    """
    arrays = _Arrays(references, candidates, groups)
    if out is None:
        out = np.zeros(arrays.shape, dtype=np.int32)
    elif not _fits(out, arrays.shape, "int32"):
        raise ValueError(f"out must be a contiguous int32 array of shape {arrays.shape}")
    if arrays.go_to_cuda(device, out):
        from leakrepro.rouge._cuda import Match

        match = Match(device, *arrays.sides, arrays.groups)
        match.copy(match.lengths, out)
    else:
        kernel(threads).lcs_length(*arrays.on_host(), out.reshape(-1))
    return out


def rouge_l_ids(
    references: TokenIds,
    candidates: TokenIds,
    groups: ArrayLike | Literal["all"] | None = None,
    *,
    threads: int | None = None,
    device: str = "auto",
    out: Any = None,
) -> Any:
    """Score candidates against references by ROUGE-L of token ids.

    This is ``rouge_l`` without a tokeniser.

    >>> scores = rouge_l_ids(TokenIds([1, 2, 3], [0, 3]), TokenIds([3, 1, 3], [0, 2, 3]))
    >>> scores.precision[0].tolist()
    [0.5, 1.0]

    Args:
        references: R sequences.
        candidates: C sequences, with ids from the same vocabulary.
        groups: Candidates of each reference, as offsets ``[R + 1]`` into the candidates, from 0 to
            C; None for C / R candidates per reference; ``"all"`` to compare every reference with
            every candidate.
        threads: Maximum number of threads; None for the CPUs that this process may use.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:N"``, or ``"auto"``: ids on a CUDA device are matched
            there, in its current stream, and ids on the host are matched on the CPU.
        out: A result with the same rows, or a float64 array ``[3, pairs]`` on the host or on the
            device. It is filled with precision, recall and F-measure, and returned.

    Returns:
        A ``RougeL`` with one row per reference, or ``out``.

    Raises:
        TypeError: If ids or offsets are not integers.
        ValueError: If offsets decrease, exceed the ids or contradict each other; if ``groups`` is
            None and R does not divide C; if ``out`` does not fit; or if ids are on another device
            than ``device``, or are 2^26 or more in a reference on a device.
        RuntimeError: If the device or the implementation that ``LEAKREPRO_IMPL`` names is not
            available, or if CUDA reports an error.
    """
    arrays = _Arrays(references, candidates, groups)
    if out is None or isinstance(out, RougeL):
        result = new_result(arrays.rows) if out is None else result_that_fits(out, arrays.rows)
        values = arrays_of(result)
    else:
        if not _fits(out, (3, int(arrays.rows[-1])), "float64"):
            raise ValueError(
                "out must be a RougeL or a contiguous float64 array of shape "
                f"{(3, int(arrays.rows[-1]))}"
            )
        result, values = out, list(out)
    if arrays.go_to_cuda(device, out):
        from leakrepro.rouge._cuda import Match

        match = Match(device, *arrays.sides, arrays.groups)
        for row, array in zip(match.measures(), values, strict=True):
            match.copy(row, array)
    else:
        kernel(threads).rouge_l_ids(*arrays.on_host(), *values)
    return result


def _fits(out: Any, shape: tuple[int, ...], dtype: str) -> bool:
    """Return whether an array or tensor is contiguous and has this shape and type."""
    if isinstance(out, np.ndarray):
        flags = out.flags
        return out.shape == shape and out.dtype == dtype and flags.c_contiguous and flags.writeable
    if not is_on_device(out):
        return False
    interface = getattr(out, "__cuda_array_interface__", None)
    if interface is None:  # DLPack checks the rest when the tensor is created
        return tuple(out.shape) == shape
    return (
        tuple(interface["shape"]) == shape
        and np.dtype(interface["typestr"]) == dtype
        and interface.get("strides") is None
    )


class _Arrays:
    """Checked arguments: ids on the host or a device, offsets as int64 on the host."""

    def __init__(
        self,
        references: TokenIds,
        candidates: TokenIds,
        groups: ArrayLike | Literal["all"] | None,
    ) -> None:
        self.sides = (_checked(references, "references"), _checked(candidates, "candidates"))
        r, c = (offsets.size - 1 for _, offsets in self.sides)
        self.shape: tuple[int, ...] = (c,)
        self.groups: NDArray[np.int64] | None
        if isinstance(groups, str):
            if groups != "all":
                raise ValueError(f"groups must be offsets, None or 'all', not {groups!r}")
            self.groups, self.shape = None, (r, c)
            self.rows = np.arange(r + 1, dtype=np.int64) * c
        else:
            if groups is None:
                if c and (not r or c % r):
                    raise ValueError(
                        f"{r} references cannot share {c} candidates equally; pass groups"
                    )
                self.groups = np.arange(r + 1, dtype=np.int64) * (c // r if r else 0)
            else:
                self.groups = _integers(groups, "groups").astype(np.int64, copy=False)
            self.rows = self.groups

    def go_to_cuda(self, device: str, out: Any) -> bool:
        """Return whether to match on a device; if so, check the offsets as the kernel does."""
        goes = runs_on_cuda(device, *(ids for ids, _ in self.sides))
        if not goes and is_on_device(out):
            raise ValueError("out is on a CUDA device, but the ids are matched on the CPU")
        if goes:
            for (ids, offsets), what in zip(self.sides, ("reference", "candidate"), strict=True):
                check_offsets(offsets, _size(ids), f"{what} offsets")
            check_groups(self.groups, *(offsets.size - 1 for _, offsets in self.sides))
            if not any(is_on_device(ids) for ids, _ in self.sides):
                (a, _), (b, _) = self.sides
                a, b = _common(a, b)
                self.sides = ((a, self.sides[0][1]), (b, self.sides[1][1]))
        return goes

    def on_host(self) -> tuple[_Ids, _Offsets, _Ids, _Offsets, _Offsets | None]:
        """Return the arguments of the kernel, with ids of one type."""
        (references, reference_offsets), (candidates, candidate_offsets) = self.sides
        references, candidates = _common(references, candidates)
        return references, reference_offsets, candidates, candidate_offsets, self.groups


def _checked(sequences: TokenIds, what: str) -> tuple[Any, NDArray[np.int64]]:
    ids, offsets = sequences
    if is_on_device(offsets):
        from leakrepro.rouge._cuda import to_host

        offsets = to_host(offsets)
    if not is_on_device(ids):
        ids = np.ascontiguousarray(_integers(ids, f"ids of {what}"))
    return ids, np.ascontiguousarray(_integers(offsets, f"offsets of {what}"), dtype=np.int64)


def _size(ids: Any) -> int:
    interface = getattr(ids, "__cuda_array_interface__", None)
    return len(ids) if interface is None else int(np.prod(interface["shape"]))


def _integers(values: ArrayLike, what: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.size == 0 and not isinstance(values, np.ndarray):
        array = array.astype(np.int64)  # an empty list would be float64
    if array.ndim != 1:
        raise ValueError(f"{what} must be one-dimensional, not of shape {array.shape}")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{what} must be integers, not {array.dtype}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _common(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return both with one type, renumbered if ids of the references are large or negative."""
    kind = np.result_type(a, b)
    if kind.kind not in "iu":
        raise TypeError(f"ids cannot be {a.dtype} in one place and {b.dtype} in the other")
    a, b = a.astype(kind, copy=False), b.astype(kind, copy=False)
    if kind.itemsize > 2 and a.size and (a.min() < 0 or a.max() >= _TABLE):
        import pandas as pd

        numbers, _ = pd.factorize(np.concatenate([a, b]))
        a, b = np.split(numbers.astype(np.int64), [a.size])
    return a, b
