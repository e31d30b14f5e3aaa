from . import models, report, unlearning
from .benchmarks import Benchmark, load_benchmark, read_prompts
from .evaluation.answers import Answers, make_answers
from .evaluation.choices import choice_accuracy_table
from .evaluation.evaluator import evaluate, make_reports
from .evaluation.leak_report import LeakReport
from .evaluation.reading_cost import reading_cost
from .evaluation.rule_runs import rule
from .evaluation.scores import score_samples
from .execution.backend import Backend
from .metrics import CoreMetric, load_metric, load_metrics
from .metrics.choice import choice_likelihood_accuracy
from .profiles import Profile, load_profile, make_engine, make_models, method_options
from .reproduction.rules import make_rules
from .reproduction.verification import Verification, verify
from .rouge import RougeL, RougeScorer, TokenIds, lcs_length, rouge_l, rouge_l_ids
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
from .stats import (
    AdaptivePlan,
    LeakCounts,
    LeakCurve,
    LeakDifference,
    PilotPlan,
    chance_curve,
    compare_leak,
    extrapolate_leak,
    leak_at_k,
    leak_counts,
)
from .storage import paths
from .types import Decoding, Prompt, Scores
from .unlearning import RuleOptions, unlearn

__all__ = [
    "AdaptivePlan",
    "Answers",
    "Backend",
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
    "choice_accuracy_table",
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
    "make_answers",
    "make_engine",
    "make_models",
    "make_reports",
    "make_rules",
    "method_options",
    "models",
    "paths",
    "read_prompts",
    "read_samples",
    "reading_cost",
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
