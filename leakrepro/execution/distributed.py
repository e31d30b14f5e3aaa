"""The processes of one ``torchrun`` or ``accelerate launch``; one where there is neither."""

from __future__ import annotations

import torch
from accelerate import PartialState


def processes() -> PartialState:
    """Who this process is among them; joins them first, as transformers' Trainer would."""
    # Without cpu=True accelerate joins nothing on a machine without a GPU.
    return PartialState(cpu=not torch.cuda.is_available())
