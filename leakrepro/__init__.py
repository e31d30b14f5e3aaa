"""leakrepro: leak@k of unlearned language models, exact, fast and resumable.

>>> import leakrepro as lr
>>> lr.leak_at_k([[0, 1, 0, 0], [0, 0, 0, 0]], k=[1, 2]).value.tolist()
[0.125, 0.25]
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from leakrepro import models, paths, report
    from leakrepro.benchmarks import Benchmark, load_benchmark
    from leakrepro.evaluate import evaluate
    from leakrepro.leak import (
        LeakCurve,
        LeakDifference,
        chance_curve,
        compare_leak,
        leak_at_k,
    )
    from leakrepro.metrics import CoreMetric, load_metric
    from leakrepro.metrics.rouge import RougeL, rouge_l
    from leakrepro.profiles import Profile, load_profile
    from leakrepro.report import LeakReport
    from leakrepro.sampling import Samples, read_samples, sample
    from leakrepro.subjects import make_models
    from leakrepro.types import Decoding, Prompt, Scores
    from leakrepro.unlearning import unlearn

# Public names load on first use: `import leakrepro`, the kernel and the estimator need no torch.
_HOME = {
    "Benchmark": "benchmarks",
    "CoreMetric": "metrics",
    "Decoding": "types",
    "LeakCurve": "leak",
    "LeakDifference": "leak",
    "LeakReport": "report",
    "Profile": "profiles",
    "Prompt": "types",
    "RougeL": "metrics.rouge",
    "Samples": "sampling",
    "Scores": "types",
    "chance_curve": "leak",
    "compare_leak": "leak",
    "evaluate": "evaluate",
    "leak_at_k": "leak",
    "load_benchmark": "benchmarks",
    "load_metric": "metrics",
    "load_profile": "profiles",
    "make_models": "subjects",
    "read_samples": "sampling",
    "rouge_l": "metrics.rouge",
    "sample": "sampling",
    "unlearn": "unlearning",
}
_MODULES = ("models", "paths", "report")

__all__ = [*_HOME, *_MODULES]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return importlib.import_module(f"leakrepro.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'leakrepro' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"leakrepro.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
