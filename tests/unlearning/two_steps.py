"""One small step of each method: as a function, and as a script for ``torchrun``.

Called as ``two_steps.py MODEL BATCH_SIZE ACCUMULATION OUTPUT``.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import torch
from torch import Tensor

from leakrepro.models import chat, load, train
from leakrepro.unlearning.methods import METHODS, GradDiffOptions, NPOOptions, find_method
from leakrepro.unlearning.trainer import UnlearnItem, collate

# Forget answers of 1 to 29 tokens, so that a mean of batch means is not the mean.
LENGTHS = (1, 29, 2, 3, 1, 17, 5, 2)


def items(vocabulary: int) -> list[UnlearnItem]:
    """Eight forget answers with two retain answers each, random and the same in each call."""
    generator = torch.Generator().manual_seed(3)

    def pair(tokens: int) -> chat.Pair:
        ids = torch.randint(5, vocabulary, (4 + tokens,), generator=generator)
        return chat.Pair(tuple(ids.tolist()), 4)

    return [
        UnlearnItem(pair(tokens), 5.0 * tokens, (pair(2 * i + 1), pair(30 - 4 * i + 1)))
        for i, tokens in enumerate(LENGTHS)
    ]


def step(model: Path, method: str, batch_size: int, accumulation: int) -> dict[str, Tensor]:
    """The weights after one pass over the items, from the model at ``model``."""
    loaded = load.load_model(model, device="cpu", dtype="float32")
    sizes = {"batch_size": batch_size, "accumulation": accumulation}
    options = (
        NPOOptions(**sizes, beta=0.3, retain_weight=2.0, forget_weight=0.7)
        if method == "NPO"
        else GradDiffOptions(**sizes, retain_weight=2.0, forget_weight=0.7)
    )
    train.run(
        functools.partial(find_method(method).trainer, options),
        loaded,
        items(loaded.config.vocab_size),
        lambda batch: collate(batch, 0),
        {
            "per_device_train_batch_size": batch_size,
            "gradient_accumulation_steps": accumulation,
            # Plain gradient descent without clipping: the step is the gradient, in its true size.
            "optim": "sgd",
            "learning_rate": 0.1,
            "lr_scheduler_type": "constant",
            "max_grad_norm": 0.0,
            "seed": 0,
        },
        label=method,
        progress=lambda done, total: None,
    )
    return {name: value.detach().clone() for name, value in loaded.state_dict().items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    model, batch_size, accumulation, output = sys.argv[1:]
    weights = {
        name: step(Path(model), name, int(batch_size), int(accumulation)) for name in METHODS
    }
    if torch.distributed.get_rank() == 0:
        torch.save({"weights": weights, "world": torch.distributed.get_world_size()}, output)
