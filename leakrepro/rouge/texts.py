"""ROUGE-L of many samples against few references, equal to rouge_score 0.1.2 bit for bit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leakrepro.rouge import _arrow
from leakrepro.rouge._kernel import check_device, implementations, kernel, missing_cuda
from leakrepro.types import Scores

__all__ = ["RougeL", "implementations", "new_result", "read_groups", "result_that_fits", "rouge_l"]


@dataclass(frozen=True, eq=False)
class RougeL:
    """ROUGE-L scores of candidates.

    Attributes:
        precision: Precision, ``[references][candidates of that reference]``.
        recall: Recall, of the same shape.
        fmeasure: F-measure, of the same shape.
    """

    precision: Scores
    recall: Scores
    fmeasure: Scores


def arrays_of(result: RougeL) -> list[NDArray[np.float64]]:
    """Return the flat arrays of precision, recall and F-measure, which the kernel fills."""
    return [result.precision.values, result.recall.values, result.fmeasure.values]


def rouge_l(
    references: Sequence[str],
    candidates: Sequence[Sequence[str]],
    *,
    stem: bool = True,
    threads: int | None = None,
    device: str = "cpu",
    out: RougeL | None = None,
) -> RougeL:
    """Score each candidate against its reference.

    LCS is the length of the longest common subsequence of tokens, P = LCS / candidate tokens,
    R = LCS / reference tokens and F = 2 P R / (P + R) (C.-Y. Lin, "ROUGE: A package for automatic
    evaluation of summaries", 2004, section 3.1, with beta = 1). Tokens, stems and rounding are
    those of ``rouge_score`` 0.1.2, so the results are equal bit for bit. Tokens consist of ASCII
    letters and digits, as in ``rouge_score``. A text without tokens scores 0, 0, 0.

    >>> scores = rouge_l(["The cat sat on the mat."], [["A cat sat.", ""]])
    >>> scores.recall[0].tolist()
    [0.3333333333333333, 0.0]

    Args:
        references: R strings.
        candidates: One list of candidates per reference, of any length. ``references`` and
            ``candidates`` may also be Arrow arrays (of strings, and of lists of strings), whose
            texts are not copied.
        stem: Compare words by their Porter stems, as ``RougeScorer(use_stemmer=True)``.
        threads: Maximum number of threads; None for the CPUs that this process may use. The scores
            do not depend on it.
        device: ``"cpu"`` or ``"auto"``. Texts are always scored on the CPU, because tokenising
            dominates the cost. ``rouge_l_ids`` matches ids on a CUDA device.
        out: A result of the same shape, which is overwritten and returned. Its contents are
            undefined after an error.

    Raises:
        TypeError: If a text is not a string (the message names its position), or if a string is
            given in place of a list of candidates.
        ValueError: If the numbers of references and of lists of candidates differ, ``threads`` is
            below 1, the device is unknown, or ``out`` does not fit.
        RuntimeError: If the device is a CUDA device, or if the implementation that
            ``LEAKREPRO_IMPL`` names is not available.
    """
    check_device(device)
    if device.startswith("cuda"):
        reason = missing_cuda() or "texts are matched on the CPU; use rouge_l_ids for ids"
        raise RuntimeError(f"cannot score on device {device!r}: {reason}")
    run = kernel(threads)
    texts, rows, offsets = read_groups(references, candidates, native=run.is_native)
    result = new_result(offsets) if out is None else result_that_fits(out, offsets)
    run.rouge_l(texts, rows, *arrays_of(result), stem=bool(stem))
    return result


def read_groups(
    references: Sequence[str], candidates: Sequence[Sequence[str]], *, native: bool
) -> tuple[Any, Any, NDArray[np.int64]]:
    """Return references and candidates in the kernel's form, and the offsets of the candidates.

    Args:
        references: R strings.
        candidates: One list of candidates per reference.
        native: Whether the native kernel reads them. It reads the buffers of Arrow arrays; the
            reference implementation reads lists.

    Raises:
        TypeError: If either is not a list.
        ValueError: If the numbers of references and of lists of candidates differ.
    """
    if native and _arrow.is_arrow(references):
        texts: Any = _arrow.strings(references, "reference")
        count = texts[1].size - 1
    else:
        texts = _as_list(references, "references")
        count = len(texts)
    if native and _arrow.is_arrow(candidates):
        rows: Any = _arrow.lists(candidates)
        offsets = rows[2]
    else:
        rows = [
            _as_list(row, f"candidates of reference {i}")
            for i, row in enumerate(_as_list(candidates, "candidates"))
        ]
        offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    if count != offsets.size - 1:
        raise ValueError(
            f"there are {count} references but {offsets.size - 1} lists of candidates; "
            "each reference needs one list"
        )
    return texts, rows, offsets


def _as_list(values: Any, what: str) -> list[Any]:
    if isinstance(values, list):
        return values
    if _arrow.is_arrow(values):
        return list(values.to_pylist())
    if isinstance(values, (str, bytes, Mapping, Set)) or not isinstance(values, Iterable):
        raise TypeError(f"{what} must be a list, not {type(values).__name__}")
    return list(values)


def new_result(offsets: NDArray[np.int64]) -> RougeL:
    """Return a result of zeros, with one row per pair of adjacent offsets."""
    return RougeL(*(Scores(np.zeros(offsets[-1]), offsets) for _ in range(3)))


def result_that_fits(out: RougeL, offsets: NDArray[np.int64]) -> RougeL:
    """Return ``out`` unchanged.

    Raises:
        ValueError: If it has other rows, or arrays that are read-only or share memory.
    """
    scores = (out.precision, out.recall, out.fmeasure)
    if not all(np.array_equal(s.offsets, offsets) for s in scores):
        raise ValueError(
            f"out does not fit: {offsets.size - 1} references with {offsets[-1]} candidates need "
            "one entry each"
        )
    arrays = arrays_of(out)
    if not all(array.flags.writeable for array in arrays):
        raise ValueError("out has read-only arrays")
    if any(np.shares_memory(arrays[i], arrays[j]) for i, j in ((0, 1), (0, 2), (1, 2))):
        raise ValueError("out has measures that share their memory")
    return out
