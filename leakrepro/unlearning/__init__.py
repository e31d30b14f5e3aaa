"""Unlearning methods: pure losses, one trainer, one table."""

from leakrepro.unlearning.api import unlearn
from leakrepro.unlearning.methods import (
    METHODS,
    GradDiffOptions,
    Method,
    NPOOptions,
    find_method,
)

__all__ = ["METHODS", "GradDiffOptions", "Method", "NPOOptions", "find_method", "unlearn"]
