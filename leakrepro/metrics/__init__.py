"""Core metrics, which score answers in [0, 1]."""

from leakrepro.errors import lazy_names

# Metrics with a model import torch, which the others do not need.
__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
