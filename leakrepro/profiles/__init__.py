"""Profiles: every number that a run depends on, and the models that they name."""

import lazy_loader

# On first use: reading a profile needs no torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
