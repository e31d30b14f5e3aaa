"""``leakrepro bench``: times the kernel and all installed peers on the same pairs in one run."""

from leakrepro.bench.run import SHAPES, bench, readable
from leakrepro.bench.sampling import bench_sampling

__all__ = ["SHAPES", "bench", "bench_sampling", "readable"]
