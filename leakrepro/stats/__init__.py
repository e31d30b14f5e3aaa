"""Statistics of scores: leak@k with intervals, comparisons, counts and extrapolation."""

from leakrepro.stats.adaptive import AdaptivePlan, PilotPlan, Plan
from leakrepro.stats.counts import LeakCounts, leak_counts
from leakrepro.stats.estimator import (
    LeakCurve,
    LeakDifference,
    chance_curve,
    compare_leak,
    leak_at_k,
)
from leakrepro.stats.extrapolation import extrapolate_leak

__all__ = [
    "AdaptivePlan",
    "LeakCounts",
    "LeakCurve",
    "LeakDifference",
    "PilotPlan",
    "Plan",
    "chance_curve",
    "compare_leak",
    "extrapolate_leak",
    "leak_at_k",
    "leak_counts",
]
