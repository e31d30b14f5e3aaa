"""Processes of one ``torchrun`` or ``accelerate launch``; otherwise a single process."""

from __future__ import annotations

import torch
from accelerate import PartialState


def processes() -> PartialState:
    """Return this process's rank info, initialising torch.distributed if needed."""
    # On a machine without a GPU accelerate initialises torch.distributed only with cpu=True.
    return PartialState(cpu=not torch.cuda.is_available())
