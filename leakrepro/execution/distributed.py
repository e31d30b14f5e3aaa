"""The processes of one ``torchrun`` or ``accelerate launch``; one where there is neither."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from leakrepro.errors import require

if TYPE_CHECKING:
    from accelerate import PartialState


def processes() -> PartialState:
    """Returns this process's rank information; initialises torch.distributed if needed.

    Raises:
        MissingExtra: when accelerate is not installed.
    """
    require("accelerate", "training", "train")
    from accelerate import PartialState

    # Without cpu=True accelerate joins nothing on a machine without a GPU.
    return PartialState(cpu=not torch.cuda.is_available())
