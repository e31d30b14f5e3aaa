"""Draws samples from language models and stores them."""

from leakrepro.errors import lazy_names

# Names are imported on first use, because reading a store does not need torch.
__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
