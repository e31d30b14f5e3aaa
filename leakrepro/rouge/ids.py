"""LCS and ROUGE-L of token ids: for texts that were tokenised elsewhere."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leakrepro.rouge._device import goes_to_cuda, is_on_device, threshold
from leakrepro.rouge._kernel import check_device, choose, usable_threads
from leakrepro.rouge.texts import RougeL, arrays_of, new_result, result_that_fits

__all__ = ["TokenIds", "lcs_length", "rouge_l_ids"]

_Ids = NDArray[Any]
_Offsets = NDArray[np.int64]

# Ids below this are looked up in a table; others are numbered anew first.
_TABLE = 1 << 20


class TokenIds(NamedTuple):
    """Sequences of token ids, back to back ("compressed sparse rows").

    Sequence ``i`` is ``ids[offsets[i]:offsets[i + 1]]``; ids are integers of any type and value.
    They may also be on a CUDA device: any array with ``__cuda_array_interface__`` or DLPack.

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
    device: str = "auto",
    out: Any = None,
) -> Any:
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
        device: ``"cpu"``, ``"cuda"``, ``"cuda:N"``, or ``"auto"``: ids on a CUDA device are matched
            there, in its current stream; ids on the host are copied there only from a number of
            table cells on that was measured to pay (``reference/measured/gpu_*.json``; without such
            a file, never). Long references, ids that are there already and ``groups="all"`` with
            many of both are where a device pays.
        out: An int32 array of the result's shape, on the host or on the device, which is filled and
            returned.

    Returns:
        ``[C]``, one length for each candidate; ``[R, C]`` for ``groups="all"``. A NumPy array
        unless ``out`` is something else.

    Raises:
        TypeError: for ids or offsets that are not integers.
        ValueError: for offsets that fall, exceed the ids or do not fit each other, for C that R
            does not divide where ``groups`` is None, for an ``out`` that does not fit, and for
            ids on a device other than ``device``, or above 2^26 in a reference there.
        RuntimeError: when the device ("no CUDA device") or the implementation that
            ``LEAKREPRO_IMPL`` names is not there, and for what CUDA reports.
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
        return out
    _on_cpu("lcs_length", arrays, [out.reshape(-1)], threads)
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
    """ROUGE-L of token ids: ``rouge_l`` without its tokeniser.

    Arguments and errors are those of ``lcs_length``; measures are those of ``rouge_l``. The result
    is a ``RougeL`` with one row a reference; its ``array()`` is ``[R, C]`` for ``groups="all"``.
    ``out`` is such a result, or a float64 array ``[3, pairs]`` on the host or on the device, which
    is filled with precision, recall and F-measure and returned.

    >>> scores = rouge_l_ids(TokenIds([1, 2, 3], [0, 3]), TokenIds([3, 1, 3], [0, 2, 3]))
    >>> scores.precision[0].tolist()
    [0.5, 1.0]
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
        return result
    _on_cpu("rouge_l_ids", arrays, values, threads)
    return result


def _on_cpu(name: str, arrays: _Arrays, outputs: list[Any], threads: int | None) -> None:
    """Calls the function of this name, of the kernel or its twin."""
    implementation, threads = choose(), usable_threads(threads)
    if implementation == "python":
        from leakrepro.rouge import _python

        getattr(_python, name)(*arrays.native(), *outputs)
    else:
        from leakrepro import _native

        run = getattr(_native, name)
        run(*arrays.native(), *outputs, threads=threads, implementation=implementation)


def _fits(out: Any, shape: tuple[int, ...], dtype: str) -> bool:
    """Whether an array, or a tensor, has this shape and type and lies in one piece."""
    if isinstance(out, np.ndarray):
        flags = out.flags
        return out.shape == shape and out.dtype == dtype and flags.c_contiguous and flags.writeable
    if not is_on_device(out):
        return False
    interface = getattr(out, "__cuda_array_interface__", None)
    if interface is None:  # DLPack says it when the tensor is made
        return tuple(out.shape) == shape
    return (
        tuple(interface["shape"]) == shape
        and np.dtype(interface["typestr"]) == dtype
        and interface.get("strides") is None
    )


class _Arrays:
    """The arguments, checked: ids where they are, offsets as int64 on the host."""

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
                        f"{c} candidates cannot be shared equally by {r} references; pass groups"
                    )
                self.groups = np.arange(r + 1, dtype=np.int64) * (c // r if r else 0)
            else:
                self.groups = _integers(groups, "groups").astype(np.int64, copy=False)
            self.rows = self.groups

    def go_to_cuda(self, device: str, out: Any) -> bool:
        """Whether to match on a device; the offsets are then checked as the kernel does."""
        check_device(device)
        goes = goes_to_cuda(device, (self.sides[0][0], self.sides[1][0]), self._cells())
        if not goes and is_on_device(out):
            raise ValueError("out is on a CUDA device, but the ids are matched on the CPU")
        if goes:
            from leakrepro.rouge._python import check_groups, check_offsets

            for (ids, offsets), what in zip(self.sides, ("reference", "candidate"), strict=True):
                check_offsets(offsets, _size(ids), f"{what} offsets")
            check_groups(self.groups, *(offsets.size - 1 for _, offsets in self.sides))
            if not any(is_on_device(ids) for ids, _ in self.sides):
                (a, _), (b, _) = self.sides
                a, b = _common(a, b)
                self.sides = ((a, self.sides[0][1]), (b, self.sides[1][1]))
        return goes

    def native(self) -> tuple[_Ids, _Offsets, _Ids, _Offsets, _Offsets | None]:
        """As the kernel takes them: ids of one type."""
        (references, reference_offsets), (candidates, candidate_offsets) = self.sides
        references, candidates = _common(references, candidates)
        return references, reference_offsets, candidates, candidate_offsets, self.groups

    def _cells(self) -> int:
        """Cells of the tables, were all pairs alike: enough to decide on a device."""
        if threshold() == float("inf"):
            return 0
        sizes = [int(offsets[-1]) / max(offsets.size - 1, 1) for _, offsets in self.sides]
        return int(self.rows[-1] * sizes[0] * sizes[1])


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
