from .fingerprints import fingerprint
from .load import load_model, load_tokenizer, locate
from .nli import NLIRecipe, entailment_model, held_out_accuracy
from .resolve import LoadedModel, Model
from .tiny import TinyRecipe, tiny_model

__all__ = [
    "LoadedModel",
    "Model",
    "NLIRecipe",
    "TinyRecipe",
    "entailment_model",
    "fingerprint",
    "held_out_accuracy",
    "load_model",
    "load_tokenizer",
    "locate",
    "tiny_model",
]
