"""``leakrepro bench``: the kernel and every installed peer, on the same pairs in the same run."""

from leakrepro.bench.run import SHAPES, bench, readable

__all__ = ["SHAPES", "bench", "readable"]
