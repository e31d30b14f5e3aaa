"""One way to run transformers' Trainer: a given order, no side effects, a progress callback."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from tqdm import tqdm
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

Progress = Callable[[int, int], None]


class _Watch(TrainerCallback):
    """Reports steps and ends a run whose loss is no longer a number."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        self.progress(state.global_step, state.max_steps)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        # "loss" is the mean since the last entry; the last entry's "train_loss" is that of the run.
        for name in ("loss", "train_loss"):
            loss = (logs or {}).get(name, 0.0)
            if not math.isfinite(loss):
                raise FloatingPointError(
                    f"the loss became {loss} by step {state.global_step}: training diverged; "
                    "lower the learning rate"
                )


def run(
    make_trainer: Callable[..., Trainer],
    model: PreTrainedModel,
    items: Sequence[Any],
    collate: Callable[[list[Any]], Mapping[str, Any]],
    settings: Mapping[str, Any],
    *,
    label: str,
    progress: Progress | None = None,
) -> list[dict[str, float]]:
    """Trains ``model`` in place on ``items`` in their order, once through.

    Epochs are part of the order, so that what a step sees follows from the arguments alone.

    Args:
        make_trainer: ``transformers.Trainer``, or a subclass that overrides the loss.
        model: Trained in place, on the GPU when there is one.
        items: What ``collate`` understands; nothing is shuffled here.
        collate: Makes a batch from a list of items.
        settings: Fields of ``TrainingArguments`` that differ from its defaults.
        label: Name on the progress bar.
        progress: Called with steps done and steps in all; None shows a bar.

    Returns:
        The trainer's log, one entry every ten steps.

    Raises:
        FloatingPointError: when the loss becomes infinite or nan.
    """
    with (
        tempfile.TemporaryDirectory() as scratch,
        tqdm(desc=label, unit="step", disable=progress is not None) as bar,
    ):

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        arguments = TrainingArguments(
            output_dir=scratch,
            num_train_epochs=1,
            train_sampling_strategy="sequential",
            save_strategy="no",
            report_to=[],
            logging_steps=10,
            logging_nan_inf_filter=False,
            disable_tqdm=True,
            remove_unused_columns=False,
            use_cpu=not torch.cuda.is_available(),
            dataloader_pin_memory=torch.cuda.is_available(),
            **settings,
        )
        trainer = make_trainer(
            model=model,
            args=arguments,
            train_dataset=_Items(items),
            data_collator=collate,
            callbacks=[_Watch(progress or show)],
        )
        # With its own bar off, Trainer prints its log as lines.
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    model.eval()
    return list(trainer.state.log_history)


class _Items(torch.utils.data.Dataset[Any]):
    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]
