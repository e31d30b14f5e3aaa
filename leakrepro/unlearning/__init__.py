"""Unlearning: the methods with their losses and trainer, and RULE, the loop around them."""

from leakrepro.errors import lazy_names

# Loaded on first use: importing this package does not import torch.
__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
