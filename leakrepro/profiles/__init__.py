"""Profiles: all settings of a run, and the models that they define."""

from leakrepro.errors import lazy_names

# Submodules are imported on first use, because reading a profile does not need torch.
__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
