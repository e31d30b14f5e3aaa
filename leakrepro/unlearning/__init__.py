"""Unlearning methods: pure losses, one trainer, one table; and RULE, the loop around them."""

import lazy_loader

# On first use: the command line and the profiles need the table of methods alone.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
