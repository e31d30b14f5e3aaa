"""``leakrepro bench``: the kernel and every installed peer, on the same pairs in the same run."""

from leakrepro.bench.run import SHAPES, bench, readable
from leakrepro.bench.sampling import bench_sampling

__all__ = ["SHAPES", "bench", "bench_sampling", "readable"]
