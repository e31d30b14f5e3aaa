"""Unlearning methods: pure losses, one trainer, one table."""

from leakrepro.unlearning.api import find_unlearned, unlearn
from leakrepro.unlearning.methods import (
    METHODS,
    GradDiffOptions,
    Method,
    NPOOptions,
    find_method,
)

__all__ = [
    "METHODS",
    "GradDiffOptions",
    "Method",
    "NPOOptions",
    "find_method",
    "find_unlearned",
    "unlearn",
]
