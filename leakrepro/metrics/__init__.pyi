from .choice import ChoiceAccuracy, choice_likelihood_accuracy, choice_log_likelihoods
from .core import CoreMetric, RougeRecall, load_metric
from .cosine import CosineSimilarity
from .entailment import EntailmentScore
from .judge import JudgeCost, LLMJudge
from .pairs import Usage
from .text import ExactMatch, FactMatch, normalise

__all__ = [
    "ChoiceAccuracy",
    "CoreMetric",
    "CosineSimilarity",
    "EntailmentScore",
    "ExactMatch",
    "FactMatch",
    "JudgeCost",
    "LLMJudge",
    "RougeRecall",
    "Usage",
    "choice_likelihood_accuracy",
    "choice_log_likelihoods",
    "load_metric",
    "normalise",
]
