"""Unlearning: the methods with their losses and trainer, and RULE, the loop around them."""

import lazy_loader

# Loaded on first use: importing this package does not import torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
