"""Models: find, load, save and identify them; train the small ones."""

from leakrepro.models.load import fingerprint, load_model, load_tokenizer, locate
from leakrepro.models.tiny import TinyRecipe, tiny_model

__all__ = ["TinyRecipe", "fingerprint", "load_model", "load_tokenizer", "locate", "tiny_model"]
