"""Models: find, load, save and identify them; train the small ones."""

from leakrepro.errors import lazy_names

# Names load on first use, so that a sampling worker does not import the training code.
__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
