"""ROUGE and LCS by the native kernel, equal to rouge_score 0.1.2 bit for bit."""

from leakrepro.errors import lazy_names

# On first use: the Python fallback needs nltk, which takes long to import.
__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
