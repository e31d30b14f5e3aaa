"""Groups of dependent prompts: cluster-robust standard errors and the cluster bootstrap."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRAWS = 10_000  # bootstrap draws; an end of the interval then wobbles by 0.03 standard errors
_CHUNK = 1 << 22  # random numbers held at a time


@dataclass(frozen=True, eq=False)
class Ends:
    """Ends of intervals and standard errors, [len(k)] each."""

    low: Floats
    high: Floats
    stderr: Floats


def cluster_bootstrap(
    per_prompt: Floats,
    *,
    confidence: float = 0.95,
    clusters: Sequence[Hashable] | None = None,
    rng: np.random.Generator | None = None,
) -> Ends:
    """The interval ``"prompts"`` of ``leak_at_k`` for any estimates of the prompts in [0, 1].

    Args:
        per_prompt: Estimates, [prompts, len(k)].
        confidence: Level of the intervals.
        clusters: One label a prompt.
        rng: Source of the bootstrap weights; None for ``default_rng(0)``.
    """
    groups = Clusters.of(clusters, len(per_prompt))
    low, high = groups.bootstrap(per_prompt, confidence, 0.0, 1.0, rng)
    return Ends(low, high, groups.stderr(per_prompt))


@dataclass(frozen=True, eq=False)
class Clusters:
    """Which prompts depend on each other: ``index`` [prompts] into ``sizes`` [n]."""

    index: NDArray[np.int64]
    sizes: Floats

    @classmethod
    def of(cls, labels: Sequence[Hashable] | None, n_prompts: int) -> Clusters:
        if labels is None:
            return cls(np.arange(n_prompts), np.ones(n_prompts))
        if len(labels) != n_prompts:
            raise ValueError(f"clusters has {len(labels)} labels for {n_prompts} prompts")
        numbers: dict[Hashable, int] = {}
        index = np.asarray([numbers.setdefault(label, len(numbers)) for label in labels], np.int64)
        return cls(index, np.bincount(index).astype(np.float64))

    @property
    def n(self) -> int:
        return int(self.sizes.size)

    def sums(self, per_prompt: Floats) -> Floats:
        """Sums over the prompts of each cluster, [n, len(k)]."""
        out = np.zeros((self.n, per_prompt.shape[1]))
        np.add.at(out, self.index, per_prompt)
        return out

    def stderr(self, per_prompt: Floats) -> Floats:
        """Cluster-robust standard error of the mean over prompts, [len(k)]."""
        if self.n == 1:
            return np.full(per_prompt.shape[1], np.nan)
        residuals = self.sums(per_prompt - per_prompt.mean(axis=0))
        total = np.square(residuals).sum(axis=0) * self.n / (self.n - 1)
        return np.asarray(np.sqrt(total) / per_prompt.shape[0])

    def bootstrap(
        self,
        per_prompt: Floats,
        confidence: float,
        worst: float,
        best: float,
        rng: np.random.Generator | None,
    ) -> tuple[Floats, Floats]:
        """Lower and upper ends; the phantom cluster scores ``worst`` and ``best`` for them.

        Normalised exponentials are Dirichlet(1, ..., 1) weights over the clusters and the phantom.
        """
        rng = np.random.default_rng(0) if rng is None else rng
        sums = self.sums(per_prompt)
        phantom_size = np.square(self.sizes).sum() / self.sizes.sum()
        means = np.empty((DRAWS, sums.shape[1]))
        shares = np.empty((DRAWS, 1))
        rows = max(1, _CHUNK // (self.n + 1))
        for start in range(0, DRAWS, rows):
            stop = min(start + rows, DRAWS)
            weight = rng.standard_exponential((stop - start, self.n + 1))
            phantom = weight[:, -1:] * phantom_size
            total = weight[:, :-1] @ self.sizes[:, None] + phantom
            means[start:stop] = weight[:, :-1] @ sums / total
            shares[start:stop] = phantom / total
        tail = (1 - confidence) / 2
        low = np.quantile(means + worst * shares, tail, axis=0)
        high = np.quantile(means + best * shares, 1 - tail, axis=0)
        return np.maximum(low, worst), np.minimum(high, best)  # rounding could pass them
