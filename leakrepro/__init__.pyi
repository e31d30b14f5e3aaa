from . import models, paths, report, unlearning
from .adaptive import AdaptivePlan, PilotPlan
from .benchmarks import Benchmark, load_benchmark, read_prompts
from .evaluation import evaluate, load_metrics, score_samples
from .extrapolation import LeakCounts, extrapolate_leak, leak_counts
from .leak import LeakCurve, LeakDifference, chance_curve, compare_leak, leak_at_k
from .metrics import CoreMetric, load_metric
from .metrics.choice import choice_likelihood_accuracy
from .metrics.ids import TokenIds, lcs_length, rouge_l_ids
from .metrics.rouge import RougeL, rouge_l
from .metrics.scorer import RougeScorer
from .profiles import Profile, load_profile
from .report import LeakReport
from .sampling import (
    HFOptions,
    Samples,
    VLLMOptions,
    export_generations,
    generation_scores,
    import_generations,
    read_samples,
    sample,
)
from .subjects import make_engine, make_models, method_options
from .trajectory import make_rules, rule
from .types import Decoding, Prompt, Scores
from .unlearning import RuleOptions, unlearn
from .verification import Verification, verify

__all__ = [
    "AdaptivePlan",
    "Benchmark",
    "CoreMetric",
    "Decoding",
    "HFOptions",
    "LeakCounts",
    "LeakCurve",
    "LeakDifference",
    "LeakReport",
    "PilotPlan",
    "Profile",
    "Prompt",
    "RougeL",
    "RougeScorer",
    "RuleOptions",
    "Samples",
    "Scores",
    "TokenIds",
    "VLLMOptions",
    "Verification",
    "chance_curve",
    "choice_likelihood_accuracy",
    "compare_leak",
    "evaluate",
    "export_generations",
    "extrapolate_leak",
    "generation_scores",
    "import_generations",
    "lcs_length",
    "leak_at_k",
    "leak_counts",
    "load_benchmark",
    "load_metric",
    "load_metrics",
    "load_profile",
    "make_engine",
    "make_models",
    "make_rules",
    "method_options",
    "models",
    "paths",
    "read_prompts",
    "read_samples",
    "report",
    "rouge_l",
    "rouge_l_ids",
    "rule",
    "sample",
    "score_samples",
    "unlearn",
    "unlearning",
    "verify",
]
__version__: str
