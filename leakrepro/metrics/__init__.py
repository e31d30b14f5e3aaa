"""Core metrics: answers in, scores in [0, 1] out."""

from leakrepro.metrics.core import CoreMetric, RougeRecall, load_metric
from leakrepro.metrics.text import ExactMatch, FactMatch, normalise

__all__ = ["CoreMetric", "ExactMatch", "FactMatch", "RougeRecall", "load_metric", "normalise"]
