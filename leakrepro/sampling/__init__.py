"""Draws samples from language models and keeps them."""

from leakrepro.errors import lazy_names

# On first use: reading stores needs no torch.
__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
