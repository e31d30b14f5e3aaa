"""Profiles: all settings of a run, and the models that they define."""

import lazy_loader

# Submodules are imported on first use, because reading a profile does not need torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
