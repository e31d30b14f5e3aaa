"""Models: find, load, save and identify them; train the small ones."""

from leakrepro.errors import lazy_names

# On first use: a sampler's worker need not import what only training needs.
__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
