# The options of a method are METHODS[name].options; a new method does not need an entry here.
from .curves import LeakWatch
from .methods.blur_npo import BLURNPOOptions
from .methods.grad_diff import GradAscentOptions, GradDiffOptions
from .methods.idk_dpo import IdkDPOOptions
from .methods.npo import NPOENTOptions, NPOOptions
from .methods.options import LoRAOptions, UnlearnOptions
from .methods.rmu import RMUOptions
from .methods.simnpo import SimNPOOptions
from .methods.table import METHODS, Method, find_method
from .rule import RuleOptions
from .run import estimate_unlearning, find_unlearned, unlearn

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
