"""One small step of each method: as a function, and as a script for ``torchrun``.

Called as ``two_steps.py MODEL BATCH_SIZE ACCUMULATION OUTPUT``.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import torch
from cases import CASES, options_of
from torch import Tensor
from transformers import PreTrainedModel

from leakrepro.models import chat, load, train
from leakrepro.types import Prompt
from leakrepro.unlearning.methods.table import find_method
from leakrepro.unlearning.run import _blank
from leakrepro.unlearning.trainer import UnlearnItem, collate

# Forget answers of 1 to 29 tokens, so that a mean of batch means is not the mean.
LENGTHS = (1, 29, 2, 3, 1, 17, 5, 2)
RATE = 0.1
QUESTION = Prompt("p", ({"role": "user", "content": "q"},), "a", cluster="c", side="forget")


def items(case: str, vocabulary: int) -> list[UnlearnItem]:
    """Eight forget answers with two retain answers each, random and the same in each call."""
    generator = torch.Generator().manual_seed(3)
    options, trainer = options_of(case), find_method(CASES[case].method).trainer
    alternates = trainer.alternate_answers(options, QUESTION)

    def pair(tokens: int) -> chat.Pair:
        ids = torch.randint(5, vocabulary, (4 + tokens,), generator=generator)
        return chat.Pair(tuple(ids.tolist()), 4)

    return [
        UnlearnItem(
            pair(tokens),
            (pair(2 * i + 1), pair(30 - 4 * i + 1)) if options.retain_weight else (),
            reference_nll=5.0 * tokens,
            alternate=pair(i + 3) if alternates else None,
            alternate_reference_nll=5.0 * (i + 3),
        )
        for i, tokens in enumerate(LENGTHS)
    ]


def reference_of(model: Path) -> PreTrainedModel:
    """A reference that is near the model and not the model."""
    reference = load.load_model(model, device="cpu", dtype="float32")
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.mul_(1.05)
    return reference


def step(
    model: Path, case: str, batch_size: int, accumulation: int, blanks: int = 0
) -> dict[str, Tensor]:
    """The weights after one pass over the items, from the model at ``model``."""
    loaded = load.load_model(model, device="cpu", dtype="float32")
    options = options_of(case, batch_size=batch_size, accumulation=accumulation)
    trainer = find_method(CASES[case].method).trainer
    trainer.check(options, loaded)
    reference = reference_of(model) if trainer.needs_reference_model(options) else None
    given = items(case, loaded.config.vocab_size)
    log = train.run(
        functools.partial(trainer, options, reference),
        loaded,
        given + [_blank(given[0])] * blanks,
        lambda batch: collate(batch, 0),
        {
            "per_device_train_batch_size": batch_size,
            "gradient_accumulation_steps": accumulation,
            # Plain gradient descent without clipping: the step is the gradient, in its true size.
            "optim": "sgd",
            "learning_rate": RATE,
            "lr_scheduler_type": "constant",
            "max_grad_norm": 0.0,
            "seed": 0,
        },
        label=case,
        progress=lambda done, total: None,
    )
    weights = {name: value.detach().clone() for name, value in loaded.state_dict().items()}
    first = log[0]
    losses = [first["loss"], first["forget_loss"], first.get("retain_loss", 0.0)]
    return weights | {"": torch.tensor(losses)}


if __name__ == "__main__":
    torch.set_num_threads(1)
    model, batch_size, accumulation, output = sys.argv[1:]
    weights = {case: step(Path(model), case, int(batch_size), int(accumulation)) for case in CASES}
    if torch.distributed.get_rank() == 0:
        torch.save({"weights": weights, "world": torch.distributed.get_world_size()}, output)
