"""The argument ``rng``: a seed or a generator, 0 by default."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from leakrepro.stats.clusters import cluster_bootstrap
from leakrepro.stats.counts import leak_counts
from leakrepro.stats.estimator import compare_leak, leak_at_k
from leakrepro.stats.extrapolation import extrapolate_leak
from leakrepro.stats.variation import over_samples
from leakrepro.types import Scores

SCORES = np.random.default_rng(7).beta(0.4, 2, (20, 12))

# Functions that use their generator once, or their first use of it.
FIRST_USE: dict[str, Callable[..., Any]] = {
    "leak_at_k": lambda **rng: leak_at_k(SCORES, **rng).low,
    "leak_at_k, samples": lambda **rng: leak_at_k(SCORES, interval="samples", **rng).low,
    "compare_leak": lambda **rng: compare_leak(SCORES, SCORES[::-1], **rng).low,
    "leak_counts": lambda **rng: leak_counts(SCORES, 0.5, **rng).average.low,
    "extrapolate_leak": lambda **rng: extrapolate_leak(SCORES, [4, 24], **rng).low[:1],
    "cluster_bootstrap": lambda **rng: cluster_bootstrap(SCORES, **rng).low,
    "over_samples": lambda **rng: (
        over_samples(Scores.from_rows(SCORES), np.array([1, 4]), np.full(2, 0.5), **rng).low
    ),
}
LATER_USE: dict[str, Callable[..., Any]] = {
    "leak_counts": lambda **rng: leak_counts(SCORES, 0.5, **rng).ever.low,  # type: ignore[union-attr]
    "extrapolate_leak": lambda **rng: extrapolate_leak(SCORES, [4, 24], **rng).high[1:],
}


@pytest.mark.parametrize("name", FIRST_USE)
def test_a_seed_and_its_generator_agree(name: str) -> None:
    run = FIRST_USE[name]
    np.testing.assert_array_equal(run(rng=3), run(rng=np.random.default_rng(3)))
    assert np.any(run(rng=3) != run(rng=4))


@pytest.mark.parametrize("run", [*FIRST_USE.values(), *LATER_USE.values()])
def test_the_default_is_the_seed_0(run: Callable[..., Any]) -> None:
    np.testing.assert_array_equal(run(), run(rng=0))
    np.testing.assert_array_equal(run(), run())


@pytest.mark.parametrize("name", LATER_USE)
def test_a_generator_continues_and_a_seed_starts_again(name: str) -> None:
    run = LATER_USE[name]
    assert np.any(run(rng=3) != run(rng=np.random.default_rng(3)))
    # The first part used the generator, so only a seed gives equal results in a second call.
    generator = np.random.default_rng(3)
    run(rng=generator)
    assert np.any(run(rng=generator) != run(rng=np.random.default_rng(3)))


@pytest.mark.parametrize("name", FIRST_USE)
def test_none_is_refused(name: str) -> None:
    with pytest.raises(
        TypeError, match=r"not None; for a random seed pass np\.random\.default_rng"
    ):
        FIRST_USE[name](rng=None)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        leak_at_k(SCORES, rng=-1)
