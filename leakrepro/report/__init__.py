"""Tables, figures and captions of results, and the comparison with published values."""

from leakrepro.evaluation.frames import readable
from leakrepro.evaluation.leak_report import (
    LeakReport,
    check_reports,
    difference_table,
    digest_texts,
    leak_wide,
    summary,
    table,
)
from leakrepro.evaluation.reading_cost import cost_table
from leakrepro.evaluation.rule_result import RuleResult, RuleRound, rule_means, rule_table
from leakrepro.report.agreement import agreement, disagreements, metrics_figure
from leakrepro.report.captions import (
    accuracy_caption,
    caption,
    describe_leaks,
    examples_caption,
    hidden_caption,
)
from leakrepro.report.cost import adaptive_table, width_figure, width_table
from leakrepro.report.counts import counts_figure, counts_table, published_counts
from leakrepro.report.examples import (
    examples_html,
    examples_latex,
    hidden_figure,
    hidden_leaks,
    hidden_table,
    leakiest,
)
from leakrepro.report.figures import curve_figure, leak_figure, save_figure, split_figure
from leakrepro.report.grid import grid_figure
from leakrepro.report.published import (
    compare_published,
    measured,
    published,
    published_trajectories,
    reference_values,
)
from leakrepro.report.retain import retain_figure, retain_table, retain_wide
from leakrepro.report.rule import before_after_figure, trajectory_figure
from leakrepro.report.save import save
from leakrepro.report.spread import published_spread, spread_figure, spread_table
from leakrepro.report.tables import latex
from leakrepro.report.training import training_figure
from leakrepro.storage.shown import markdown

__all__ = [
    "LeakReport",
    "RuleResult",
    "RuleRound",
    "accuracy_caption",
    "adaptive_table",
    "agreement",
    "before_after_figure",
    "caption",
    "check_reports",
    "compare_published",
    "cost_table",
    "counts_figure",
    "counts_table",
    "curve_figure",
    "describe_leaks",
    "difference_table",
    "digest_texts",
    "disagreements",
    "examples_caption",
    "examples_html",
    "examples_latex",
    "grid_figure",
    "hidden_caption",
    "hidden_figure",
    "hidden_leaks",
    "hidden_table",
    "latex",
    "leak_figure",
    "leak_wide",
    "leakiest",
    "markdown",
    "measured",
    "metrics_figure",
    "published",
    "published_counts",
    "published_spread",
    "published_trajectories",
    "readable",
    "reference_values",
    "retain_figure",
    "retain_table",
    "retain_wide",
    "rule_means",
    "rule_table",
    "save",
    "save_figure",
    "split_figure",
    "spread_figure",
    "spread_table",
    "summary",
    "table",
    "training_figure",
    "trajectory_figure",
    "width_figure",
    "width_table",
]
