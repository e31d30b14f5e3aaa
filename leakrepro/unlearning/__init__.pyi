from .api import find_unlearned, unlearn
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
    "SimNPOOptions",
    "UnlearnOptions",
    "find_method",
    "find_unlearned",
    "unlearn",
]
