"""Where the randomness of a sample comes from: its run seed, prompt and index, nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray

INDEX_BITS = 20


def sample_seed(run_seed: int, prompt_id: str, index: int) -> int:
    """The seed of one sample.

    ``((blake2b-64(run seed, prompt id) with its low 20 bits cleared) mod 2**63) + index``: a
    prompt's seeds are consecutive, so that an engine which seeds its i-th child with ``seed + i``
    draws the same numbers, and a larger n only adds samples.

    Args:
        run_seed: From 0 to 2**63 - 1.
        prompt_id: The prompt's id.
        index: The sample's number within its prompt, from 0 to 2**20 - 1.

    Returns:
        A seed below 2**63.

    Raises:
        ValueError: for a seed or index out of range.
    """
    if not 0 <= run_seed < 1 << 63:
        raise ValueError(f"the run seed must be from 0 to 2**63 - 1, not {run_seed}")
    if not 0 <= index < 1 << INDEX_BITS:
        raise ValueError(f"a sample's index must be below 2**{INDEX_BITS}, not {index}")
    content = run_seed.to_bytes(8, "little") + prompt_id.encode()
    base = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
    return (base >> INDEX_BITS << INDEX_BITS) % (1 << 63) + index


def uniforms(seeds: Sequence[int], steps: int) -> NDArray[np.float64]:
    """Uniform draws in [0, 1), shape [rows, steps]: row i is the Philox stream of ``seeds[i]``.

    Draw t of a row belongs to its step t. It depends neither on ``steps`` nor on other rows.
    """
    draws = np.empty((len(seeds), steps))
    for row, seed in zip(draws, seeds, strict=True):
        Generator(Philox(key=seed)).random(out=row)
    return draws
