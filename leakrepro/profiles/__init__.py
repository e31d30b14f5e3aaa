"""Profiles: every number that a run depends on, and the models that they name."""

from leakrepro.errors import lazy_names

# On first use: reading a profile needs no torch.
__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
