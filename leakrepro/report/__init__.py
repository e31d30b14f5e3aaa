"""Tables, figures and captions of leak reports, and the published values beside them."""

from leakrepro.report.figures import leak_figure, save_figure, split_figure
from leakrepro.report.leakreport import (
    LeakReport,
    caption,
    check_reports,
    describe_decoding,
    digest_texts,
)
from leakrepro.report.published import (
    compare_published,
    measured,
    published,
    published_trajectories,
    reference_values,
)
from leakrepro.report.rulereport import (
    RuleResult,
    RuleRound,
    before_after_figure,
    rule_means,
    rule_table,
    trajectory_figure,
)
from leakrepro.report.tables import latex, readable, summary, table
from leakrepro.report.training import training_figure

__all__ = [
    "LeakReport",
    "RuleResult",
    "RuleRound",
    "before_after_figure",
    "caption",
    "check_reports",
    "compare_published",
    "describe_decoding",
    "digest_texts",
    "latex",
    "leak_figure",
    "measured",
    "published",
    "published_trajectories",
    "readable",
    "reference_values",
    "rule_means",
    "rule_table",
    "save_figure",
    "split_figure",
    "summary",
    "table",
    "training_figure",
    "trajectory_figure",
]
