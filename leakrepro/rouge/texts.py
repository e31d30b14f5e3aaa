"""ROUGE-L of many samples against few references, bit for bit as rouge_score 0.1.2 computes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leakrepro.rouge import _arrow
from leakrepro.rouge._kernel import (
    check_device,
    choose,
    implementations,
    missing_cuda,
    usable_threads,
)
from leakrepro.types import Scores

__all__ = ["RougeL", "implementations", "new_result", "read_groups", "result_that_fits", "rouge_l"]


@dataclass(frozen=True, eq=False)
class RougeL:
    """Precision, recall and F-measure, each ``[references][candidates of that reference]``."""

    precision: Scores
    recall: Scores
    fmeasure: Scores


def arrays_of(result: RougeL) -> list[NDArray[np.float64]]:
    """Precision, recall and F-measure of all pairs, as the kernel fills them."""
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
    """Scores each candidate against its reference.

    With LCS the length of the longest common subsequence of tokens, P = LCS / candidate tokens,
    R = LCS / reference tokens and F = 2 P R / (P + R) (C.-Y. Lin, "ROUGE: A package for automatic
    evaluation of summaries", 2004, section 3.1, with beta = 1). Tokens, stems and rounding are
    those of ``rouge_score`` 0.1.2, so every bit agrees. A text without a token scores 0, 0, 0;
    as there, only ASCII letters and digits make tokens.

    >>> scores = rouge_l(["The cat sat on the mat."], [["A cat sat.", ""]])
    >>> scores.recall[0].tolist()
    [0.3333333333333333, 0.0]

    Args:
        references: R strings.
        candidates: For each reference its candidates, any number of them. ``references`` and
            ``candidates`` may also be Arrow arrays (of strings, of lists of strings), whose texts
            are read where they are.
        stem: Compare words by their Porter stems, as ``RougeScorer(use_stemmer=True)``.
        threads: How many threads at most; None for the CPUs that this process may use. The scores
            do not depend on it.
        device: ``"cpu"`` or ``"auto"``, which is the same for texts: to read them takes the CPU
            longer than to match them. ``rouge_l_ids`` matches ids on a CUDA device.
        out: A result of the same shape, whose arrays are overwritten and which is returned; its
            contents are undefined after an error.

    Raises:
        TypeError: for a text that is not a string (the message names its position), and for a
            string where a list of candidates is expected.
        ValueError: when there are not as many lists of candidates as references, for ``threads``
            below 1, an unknown device, or an ``out`` that does not fit.
        RuntimeError: for a CUDA device, and when the implementation that ``LEAKREPRO_IMPL``
            names is not there.
    """
    check_device(device)
    if device.startswith("cuda"):
        reason = missing_cuda() or "texts are matched on the CPU; rouge_l_ids takes ids there"
        raise RuntimeError(f"cannot score on device {device!r}: {reason}")
    implementation, threads = choose(), usable_threads(threads)

    texts, rows, offsets = read_groups(references, candidates, native=implementation != "python")
    result = new_result(offsets) if out is None else result_that_fits(out, offsets)
    arrays = arrays_of(result)
    if implementation == "python":
        from leakrepro.rouge import _python

        _python.rouge_l(texts, rows, *arrays, stem=bool(stem))
    else:
        from leakrepro import _native

        _native.rouge_l(
            texts, rows, *arrays, stem=bool(stem), threads=threads, implementation=implementation
        )
    return result


def read_groups(
    references: Sequence[str], candidates: Sequence[Sequence[str]], *, native: bool
) -> tuple[Any, Any, NDArray[np.int64]]:
    """References and candidates as the kernel takes them, and where the candidates of each start.

    The kernel reads Arrow arrays where they are; the twin (``native`` is false) reads lists.

    Raises:
        TypeError: for what is not a list.
        ValueError: when there are not as many lists of candidates as references.
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
            "each reference needs one"
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
    """Zeros, one row for each pair of neighbouring offsets."""
    return RougeL(*(Scores(np.zeros(offsets[-1]), offsets) for _ in range(3)))


def result_that_fits(out: RougeL, offsets: NDArray[np.int64]) -> RougeL:
    """``out`` itself.

    Raises:
        ValueError: when it has other rows, or arrays that cannot be written.
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
