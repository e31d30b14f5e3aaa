"""Low-rank adapters (LoRA) around a model that is unlearned."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from leakrepro.errors import require
from leakrepro.models.reading import reading
from leakrepro.unlearning.methods.options import UnlearnOptions


def with_adapters(model: PreTrainedModel, options: UnlearnOptions) -> Any:
    """Wraps a model with the adapters of ``options.lora``.

    Args:
        model: The model.
        options: Options with ``lora``; ``seed`` sets the initial values of the adapters.

    Returns:
        PEFT's wrapper around the model.

    Raises:
        MissingExtra: when peft is not installed.
        ModelError: when the model does not have the target modules.
        ValueError: when the weight of a target is tied to another module.
    """
    require("peft", "LoRA", "train")
    from peft import LoraConfig, get_peft_model

    assert options.lora is not None
    lora = options.lora
    targets: Any = "all-linear" if lora.targets == ("all-linear",) else list(lora.targets)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    name = model.name_or_path or type(model).__name__
    with torch.random.fork_rng(), reading(name, f"lora target {list(lora.targets)}"):
        torch.manual_seed(options.seed)  # for the initial values of the adapters
        adapted = get_peft_model(model, config)
    _check_untied(adapted, name)
    return adapted


def _check_untied(adapted: Any, name: str) -> None:
    """Raise ValueError if an adapted module shares its weight with another one.

    Merging an adapter changes one of the two. The weight is saved once, so the saved model would
    not be the trained one.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    owners: dict[int, list[str]] = {}
    for place, module in adapted.named_modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, torch.nn.Parameter) and not isinstance(module, BaseTunerLayer):
            owners.setdefault(id(weight), []).append(place)
    for place, module in adapted.named_modules():
        if isinstance(module, BaseTunerLayer):
            shared = owners.get(id(getattr(module.get_base_layer(), "weight", None)), [])
            if len(shared) > 1:
                raise ValueError(
                    f"lora.targets adapts {place.removeprefix('base_model.model.')} of {name}, "
                    "whose weight is tied to another module: name other targets, or save the model "
                    "with tie_word_embeddings=False and two copies of the weight"
                )
