from .ids import TokenIds, lcs_length, rouge_l_ids
from .scorer import RougeScorer, Score
from .texts import RougeL, implementations, rouge_l

__all__ = [
    "RougeL",
    "RougeScorer",
    "Score",
    "TokenIds",
    "implementations",
    "lcs_length",
    "rouge_l",
    "rouge_l_ids",
]
