from .base import CoreMetric
from .choice import ChoiceAccuracy, choice_likelihood_accuracy, choice_log_likelihoods
from .cosine import CosineSimilarity
from .entailment import EntailmentScore
from .judge import JudgeCost, LLMJudge
from .model_scored import Usage
from .registry import Metric, load_metric, load_metrics
from .rouge_recall import RougeRecall
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
    "Metric",
    "RougeRecall",
    "Usage",
    "choice_likelihood_accuracy",
    "choice_log_likelihoods",
    "load_metric",
    "load_metrics",
    "normalise",
]
