"""Core metrics: answers in, scores in [0, 1] out."""

import lazy_loader

# Metrics that read with a model load torch, which the others do not need.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
