"""Seeds of samples, which depend only on the run seed, the prompt id and the sample's index."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator, Philox
from numpy.typing import NDArray

INDEX_BITS = 20


def sample_seed(run_seed: int, prompt_id: str, index: int) -> int:
    """Returns the seed of one sample.

    The seed is ``((blake2b-64(run seed, prompt id) with its low 20 bits cleared) mod 2**63) +
    index``. The seeds of a prompt are consecutive. An engine that seeds its i-th child with
    ``seed + i`` therefore uses the same seeds, and a larger n only adds samples.

    Args:
        run_seed: Seed of the run, from 0 to 2**63 - 1.
        prompt_id: The prompt's id.
        index: Index of the sample within its prompt, from 0 to 2**20 - 1.

    Returns:
        A seed below 2**63.

    Raises:
        ValueError: If the run seed or the index is out of range.
    """
    if not 0 <= run_seed < 1 << 63:
        raise ValueError(f"the run seed must be from 0 to 2**63 - 1, not {run_seed}")
    if not 0 <= index < 1 << INDEX_BITS:
        raise ValueError(f"a sample's index must be below 2**{INDEX_BITS}, not {index}")
    content = run_seed.to_bytes(8, "little") + prompt_id.encode()
    base = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
    return (base >> INDEX_BITS << INDEX_BITS) % (1 << 63) + index


def uniforms(seeds: Sequence[int], steps: int) -> NDArray[np.float64]:
    """Returns uniform random numbers in [0, 1), shape [rows, steps].

    Row i is the Philox stream of ``seeds[i]``. Number t of a row is used at decoding step t. It
    depends neither on ``steps`` nor on other rows.
    """
    draws = np.empty((len(seeds), steps))
    for row, seed in zip(draws, seeds, strict=True):
        Generator(Philox(key=seed)).random(out=row)
    return draws
