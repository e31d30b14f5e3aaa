from .load import fingerprint, load_model, load_tokenizer, locate
from .tiny import TinyRecipe, tiny_model

__all__ = ["TinyRecipe", "fingerprint", "load_model", "load_tokenizer", "locate", "tiny_model"]
