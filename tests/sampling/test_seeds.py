"""Seeds of samples, which are equal for all engines and sample counts."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import Generator, Philox

from leakrepro.sampling.seeds import sample_seed, uniforms


def test_seed_equals_the_formula() -> None:
    digest = hashlib.blake2b((7).to_bytes(8, "little") + "prompt ü".encode(), digest_size=8)
    word = int.from_bytes(digest.digest(), "little")
    expected = (word - word % 2**20) % 2**63 + 5
    assert sample_seed(7, "prompt ü", 5) == expected


@given(st.integers(0, 2**63 - 1), st.text(st.characters(codec="utf-8")), st.integers(0, 2**20 - 1))
def test_seeds_fit_63_bits_and_are_consecutive(run: int, prompt: str, index: int) -> None:
    seed = sample_seed(run, prompt, index)
    assert 0 <= seed < 2**63
    assert seed == sample_seed(run, prompt, 0) + index
    assert sample_seed(run, prompt, 0) % 2**20 == 0


def test_seeds_of_prompts_and_runs_differ() -> None:
    seeds = {sample_seed(run, f"p{i}", 0) for run in range(20) for i in range(500)}
    assert len(seeds) == 20 * 500


@pytest.mark.parametrize(("run", "index"), [(-1, 0), (2**63, 0), (0, -1), (0, 2**20)])
def test_seeds_and_indices_out_of_range_are_rejected(run: int, index: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        sample_seed(run, "p", index)


def test_a_draw_depends_only_on_its_seed_and_step() -> None:
    seeds = [0, 1, 2**62, 2**63 - 1]
    long = uniforms(seeds, 50)
    assert long.dtype == np.float64
    np.testing.assert_array_equal(uniforms(seeds, 7), long[:, :7])
    np.testing.assert_array_equal(uniforms(seeds[2:3], 50)[0], long[2])
    np.testing.assert_array_equal(long[1], Generator(Philox(key=1)).random(50))


def test_draws_are_uniform_across_neighbouring_seeds() -> None:
    draws = uniforms(range(20_000), 2)
    counts = np.histogram(draws[:, 0], bins=20, range=(0, 1))[0]
    assert ((counts - 1000) ** 2 / 1000).sum() < 45.3  # chi-square, 19 degrees of freedom: p > 6e-4
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.03
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 0.03
