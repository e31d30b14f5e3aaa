"""ROUGE and LCS by the native kernel, equal to rouge_score 0.1.2 bit for bit."""

from leakrepro.rouge.ids import TokenIds, lcs_length, rouge_l_ids
from leakrepro.rouge.scorer import RougeScorer, Score
from leakrepro.rouge.texts import RougeL, implementations, rouge_l

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
