"""The sign-flip test of a paired comparison: is the difference of two models only chance?

If two models are exchangeable, the difference of each cluster is as likely to have the other sign.
Flipping the signs of the clusters in ``A`` changes their total by ``-2 S_A``, where ``S_A`` is the
sum over ``A``; the test compares 0 with the sums of all subsets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_ALL = 12  # up to so many clusters, all subsets are used
_SUBSETS = 9_999  # random subsets for more clusters; equal in every call
_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class SignFlips:
    """Differences of clusters under sign flips.

    Attributes:
        sums: Sum of the differences of each cluster's prompts, [clusters, len(k)].
        sizes: Number of prompts of each cluster, [clusters].
        subsets: Which clusters each subset contains, [subsets, clusters].
    """

    sums: Floats
    sizes: Floats
    subsets: Floats

    @classmethod
    def of(cls, sums: Floats, sizes: Floats) -> SignFlips:
        """Choose the subsets: all without the empty one, or 9,999 random ones."""
        n = len(sizes)
        if n <= _ALL:
            numbers = np.arange(1, 2**n)[:, None]
            subsets = (numbers >> np.arange(n) & 1).astype(np.float64)
        else:
            subsets = np.random.default_rng(0).integers(2, size=(_SUBSETS, n)).astype(np.float64)
        return cls(np.where(np.abs(sums) < 1e-12, 0.0, sums), sizes, subsets)

    def p_value(self) -> Floats:
        """Return the two-sided p-value at each k, [len(k)]."""
        totals = self.subsets @ self.sums
        low = (1 + (totals <= _TOLERANCE).sum(axis=0)) / (len(totals) + 1)
        high = (1 + (totals >= -_TOLERANCE).sum(axis=0)) / (len(totals) + 1)
        return np.asarray(np.minimum(1.0, 2 * np.minimum(low, high)))

    def p_any(self) -> float:
        """Return the p-value of no difference at any k: the largest standardised sum over k."""
        scale = np.sqrt(np.square(self.sums).sum(axis=0))
        scale = np.where(scale > 0, scale, 1.0)
        total = self.sums.sum(axis=0)
        found = (np.abs(total) / scale).max()
        flipped = (np.abs(total - 2 * self.subsets @ self.sums) / scale).max(axis=1)
        return float((1 + (flipped >= found - _TOLERANCE).sum()) / (len(flipped) + 1))

    def interval(self, confidence: float) -> tuple[Floats, Floats]:
        """Return the differences that the test does not reject, [len(k)] each, within [-1, 1]."""
        count = self.sums.shape[1]
        tail = int(np.floor((1 - confidence) / 2 * (len(self.subsets) + 1) + _TOLERANCE))
        if tail == 0:
            return np.full(count, -1.0), np.full(count, 1.0)
        sizes = (self.subsets @ self.sizes)[:, None]
        empty = sizes == 0
        means = self.subsets @ self.sums / np.where(empty, 1.0, sizes)
        low = np.sort(np.where(empty, -np.inf, means), axis=0)[tail - 1]
        high = np.sort(np.where(empty, np.inf, means), axis=0)[-tail]
        return np.clip(low, -1, 1), np.clip(high, -1, 1)
