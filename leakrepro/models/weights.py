"""Load weights and refuse those that do not fit the configuration."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from leakrepro.errors import ModelError
from leakrepro.models.reading import no_progress_bars, no_warnings, reading

# Stored tensors that a model does not need: buffers that are computed from the configuration, and
# parts beside the text model. Other tensors that the configuration does not use are an error.
_UNUSED = re.compile(
    r"(^|\.)(inv_freq|position_ids|token_type_ids|masked_bias|cos_cached|sin_cached)$"
    r"|\.(attn|attention)\.bias$"  # causal masks of GPT-2 and GPT-NeoX
    r"|(^|\.)(pooler|v_head|mtp|mtp_layers|vision_tower|visual|vision_model|audio_tower)\."
)
# Weights of an encoder that embeddings do not use.
_POOLER = re.compile(r"(^|\.)pooler\.")
_HEADS = re.compile(r"^(cls|lm_head|classifier|predictions|discriminator_predictions)\.")


def load_weights(
    path: Path, auto: Any, dtype: torch.dtype | str, *, encoder: bool = False
) -> PreTrainedModel:
    """Load a local model on the CPU, in evaluation mode, and check its weights.

    Args:
        path: The model's folder.
        auto: A class of transformers with ``from_pretrained``.
        dtype: Type of the weights.
        encoder: Whether only hidden states are used, so that heads and poolers are not needed.

    Raises:
        ModelError: If the folder cannot be read; if weights are missing, have other shapes or are
            not used by the configuration; or if weights are not finite.
    """
    with reading(path, "model"), no_progress_bars(), no_warnings():
        loaded: Any = auto.from_pretrained(
            path,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=False,
            output_loading_info=True,
        )
    model: PreTrainedModel = loaded[0]
    report: dict[str, Any] = loaded[1]
    # from_pretrained only logs missing weights and initialises them randomly.
    missing = sorted(k for k in report["missing_keys"] if not (encoder and _POOLER.search(k)))
    if missing:
        raise ModelError(
            f"{path} lacks {len(missing)} weights, the first is {missing[0]}: they would be random"
        )
    mismatched = sorted(str(each[0]) for each in report["mismatched_keys"])
    if mismatched:
        raise ModelError(f"{path}: {mismatched[0]} does not have the shape of the configuration")
    unused = sorted(
        k
        for k in report["unexpected_keys"]
        if not _UNUSED.search(k) and not (encoder and _HEADS.search(k))
    )
    if unused:
        raise ModelError(
            f"{path}: its configuration does not use {len(unused)} of the weights, the first is "
            f"{unused[0]}: config.json belongs to another model"
        )
    check_finite(path, model)
    model.eval()
    return model


@torch.inference_mode()
def check_finite(path: str | Path, model: torch.nn.Module) -> None:
    """Raise ModelError if a weight is nan or infinite.

    Args:
        path: The model's folder, for the message.
        model: The model.
    """
    for name, weight in model.named_parameters():
        # Types of one byte do not have infinite values, and isfinite does not take them.
        if weight.is_floating_point() and weight.element_size() > 1:
            finite = torch.isfinite(weight)
            if not finite.all():
                raise ModelError(
                    f"{path}: {name} has {int((~finite).sum())} values that are nan or infinite in "
                    f"{str(weight.dtype).removeprefix('torch.')}"
                )
