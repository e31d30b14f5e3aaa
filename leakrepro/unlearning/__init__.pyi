from .api import estimate_unlearning, find_unlearned, unlearn
from .curves import LeakWatch
from .methods import (
    METHODS,
    BLURNPOOptions,
    GradAscentOptions,
    GradDiffOptions,
    IdkDPOOptions,
    LoRAOptions,
    Method,
    NPOENTOptions,
    NPOOptions,
    RMUOptions,
    SimNPOOptions,
    UnlearnOptions,
    find_method,
)
from .rule import RuleOptions

__all__ = [
    "METHODS",
    "BLURNPOOptions",
    "GradAscentOptions",
    "GradDiffOptions",
    "IdkDPOOptions",
    "LeakWatch",
    "LoRAOptions",
    "Method",
    "NPOENTOptions",
    "NPOOptions",
    "RMUOptions",
    "RuleOptions",
    "SimNPOOptions",
    "UnlearnOptions",
    "estimate_unlearning",
    "find_method",
    "find_unlearned",
    "unlearn",
]
