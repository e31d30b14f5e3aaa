"""The table of the unlearning methods: name, options, trainer and source."""

from __future__ import annotations

from dataclasses import dataclass

from leakrepro.unlearning.methods.blur_npo import BLURNPOOptions, BLURNPOTrainer
from leakrepro.unlearning.methods.grad_diff import (
    GradAscentOptions,
    GradAscentTrainer,
    GradDiffOptions,
    GradDiffTrainer,
)
from leakrepro.unlearning.methods.idk_dpo import IdkDPOOptions, IdkDPOTrainer
from leakrepro.unlearning.methods.npo import NPOENTOptions, NPOENTTrainer, NPOOptions, NPOTrainer
from leakrepro.unlearning.methods.options import UnlearnOptions
from leakrepro.unlearning.methods.rmu import RMUOptions, RMUTrainer
from leakrepro.unlearning.methods.simnpo import SimNPOOptions, SimNPOTrainer
from leakrepro.unlearning.trainer import UnlearnTrainer


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes:
        options: Frozen dataclass of the method's options. ``METHODS["NPO"].options(beta=0.5)``
            makes an instance.
        trainer: Trainer that implements the method's forget loss.
        source: Paper that the method comes from.
    """

    options: type[UnlearnOptions]
    trainer: type[UnlearnTrainer]
    source: str


METHODS: dict[str, Method] = {
    "GradAscent": Method(GradAscentOptions, GradAscentTrainer, "arXiv 2401.06121"),
    "GradDiff": Method(GradDiffOptions, GradDiffTrainer, "arXiv 2401.06121"),
    "NPO": Method(NPOOptions, NPOTrainer, "arXiv 2404.05868"),
    "SimNPO": Method(SimNPOOptions, SimNPOTrainer, "arXiv 2410.07163"),
    "RMU": Method(RMUOptions, RMUTrainer, "arXiv 2403.03218"),
    "IdkDPO": Method(IdkDPOOptions, IdkDPOTrainer, "arXiv 2401.06121"),
    "BLUR-NPO": Method(BLURNPOOptions, BLURNPOTrainer, "arXiv 2506.08164"),
    "NPO+ENT": Method(NPOENTOptions, NPOENTTrainer, "arXiv 2511.04934"),
}


def find_method(name: str) -> Method:
    """Looks up a method.

    Args:
        name: A key of ``METHODS``.

    Raises:
        ValueError: when the name is unknown; the message lists the known ones.
    """
    if name not in METHODS:
        raise ValueError(f"unknown unlearning method {name!r}; known: {', '.join(METHODS)}")
    return METHODS[name]
