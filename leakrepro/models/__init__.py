"""Models: find, load, save and identify them; train the small ones."""

import lazy_loader

# On first use: a sampler's worker need not import what only training needs.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
