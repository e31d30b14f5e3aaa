"""Processes of one ``torchrun`` or ``accelerate launch``; otherwise a single process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from leakrepro.errors import require

if TYPE_CHECKING:
    from accelerate import PartialState


def processes() -> PartialState:
    """Return this process's rank info, initialising torch.distributed if needed.

    Raises:
        MissingExtra: If accelerate is not installed.
    """
    require("accelerate", "training", "train")
    from accelerate import PartialState

    # On a machine without a GPU accelerate initialises torch.distributed only with cpu=True.
    return PartialState(cpu=not torch.cuda.is_available())
