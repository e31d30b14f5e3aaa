"""Run transformers' Trainer in a given order, without side effects, and resumable."""

from __future__ import annotations

import contextlib
import math
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
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

from leakrepro.execution.distributed import processes
from leakrepro.models.reading import no_progress_bars
from leakrepro.storage.atomic import is_sealed, scratch, seal

Progress = Callable[[int, int], None]
Log = list[dict[str, float]]
_METHOD_STATE = "method.safetensors"
_SMOOTHED = 10  # steps over which the retain loss is averaged


@dataclass(frozen=True)
class Checkpoints:
    """Checkpoints from which a killed run continues.

    Attributes:
        folder: Folder of the ``checkpoint-<step>`` folders; a run continues from the newest
            complete one.
        every: Steps between two checkpoints.
    """

    folder: Path
    every: int = 50

    def newest(self) -> Path | None:
        """Return the newest complete checkpoint; incomplete ones are skipped with a warning."""
        found = sorted(self.folder.glob("checkpoint-*"), key=lambda path: -_step(path))
        for path in found:
            if is_sealed(path):
                return path
            warnings.warn(f"{path} is incomplete: it is ignored", stacklevel=2)
        return None


class _Commit(TrainerCallback):
    """Renames a checkpoint to its final name when it is complete and on the disk."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self.trainer: Trainer | None = None

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        assert self.trainer is not None
        wait = self.trainer.accelerator.wait_for_everyone
        wait()  # all processes have written their random state
        if state.is_world_process_zero:
            draft = Path(args.output_dir or "") / f"checkpoint-{state.global_step}"
            if tensors := getattr(self.trainer, "state_tensors", {}):
                save_file(tensors, draft / _METHOD_STATE)
            seal(draft)
            final = self.checkpoints.folder / draft.name
            shutil.rmtree(final, ignore_errors=True)  # an incomplete one
            draft.rename(final)
            for path in self.checkpoints.folder.glob("checkpoint-*"):
                if path != final:
                    shutil.rmtree(path, ignore_errors=True)
        wait()


class _WholeRun(TrainerCallback):
    """Makes the logged ``train_loss`` the mean loss of all steps.

    Trainer averages only the steps since it was resumed.
    """

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        if logs is not None and "train_loss" in logs and losses:
            logs["train_loss"] = math.fsum(losses) / len(losses)
            state.log_history[-1]["train_loss"] = logs["train_loss"]


class _Watch(TrainerCallback):
    """Reports steps and losses, and stops a run that has diverged."""

    def __init__(self, report: Callable[[TrainerState], None], guess: float) -> None:
        self.report = report
        self.guess = guess

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        # "train_loss" of the last entry belongs to the whole run.
        for name in ("loss", "grad_norm", "train_loss"):
            value = (logs or {}).get(name, 0.0)
            if not math.isfinite(value):
                what = "the gradient's norm" if name == "grad_norm" else "the loss"
                raise FloatingPointError(
                    f"{what} became {value} by step {state.global_step}: training diverged; "
                    "lower the learning rate"
                )
        recent = [e["retain_loss"] for e in state.log_history if "retain_loss" in e][-_SMOOTHED:]
        if len(recent) == _SMOOTHED and sum(recent) / _SMOOTHED > self.guess:
            raise FloatingPointError(
                f"the retain loss of the last {_SMOOTHED} steps, {sum(recent) / _SMOOTHED:.2f} at "
                f"step {state.global_step}, is above {self.guess:.2f}, that of uniform guessing: "
                "training diverged; lower the learning rate or raise retain_weight"
            )
        if "loss" in (logs or {}):
            self.report(state)


def run(
    make_trainer: Callable[..., Trainer],
    model: PreTrainedModel,
    items: Sequence[Any],
    collate: Callable[[list[Any]], Mapping[str, Any]],
    settings: Mapping[str, Any],
    *,
    label: str,
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    retain_in_nats: bool = True,
) -> Log:
    """Train ``model`` in place on ``items``, once and in their order.

    Epochs are part of the order, so that the arguments determine the items of each step. Under
    ``accelerate launch`` all processes call this with the same arguments.

    Args:
        make_trainer: ``transformers.Trainer``, or a subclass that overrides the loss.
        model: Model that is trained in place, on the GPU if there is one.
        items: Items for ``collate``; they are not shuffled.
        collate: Makes a batch from a list of items.
        settings: Fields of ``TrainingArguments`` that differ from its defaults.
        label: Name on the progress bar.
        progress: Called with the steps done and the total steps; None shows a progress bar with
            the losses.
        checkpoints: The run continues from the newest one and writes more. On the same host with
            the same threads the final weights equal those of an uninterrupted run.
        callbacks: Further callbacks.
        retain_in_nats: Whether the logged retain loss is per token in nats, so that it can be
            compared with that of uniform guessing.

    Returns:
        The trainer's log, one entry per step and one for the run. After a resume it equals that of
        an uninterrupted run, except for the times and speeds of the last entry, which are those of
        this call.

    Raises:
        FloatingPointError: If the loss or its gradient is not finite, or the retain loss is above
            that of uniform guessing.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(no_progress_bars())  # bars for saving
        hidden = progress is not None or not processes().is_main_process
        drafts = stack.enter_context(_drafts(checkpoints))
        bar = stack.enter_context(tqdm(desc=label, unit="step", disable=hidden))

        def report(state: TrainerState) -> None:
            if progress is not None:
                progress(state.global_step, state.max_steps)
                return
            bar.total = state.max_steps
            step = state.log_history[-1]
            parts = {n: v for n, v in step.items() if n in ("forget_loss", "retain_loss")}
            shown = parts or {"loss": step.get("loss", math.nan)}
            bar.set_postfix({n: f"{v:.3f}" for n, v in shown.items()}, refresh=False)
            bar.update(state.global_step - bar.n)

        arguments = TrainingArguments(
            output_dir=str(drafts),
            num_train_epochs=1,
            train_sampling_strategy="sequential",
            save_strategy="no" if checkpoints is None else "steps",
            save_steps=checkpoints.every if checkpoints else 500,
            logging_steps=1,
            logging_nan_inf_filter=False,
            disable_tqdm=True,
            remove_unused_columns=False,
            use_cpu=not torch.cuda.is_available(),
            dataloader_pin_memory=torch.cuda.is_available(),
            **{"report_to": [], **settings},
        )
        guess = math.log(model.config.get_text_config(decoder=True).vocab_size)
        # One GPU per process: a batch must not depend on the number of GPUs.
        arguments._n_gpu = min(arguments.n_gpu, 1)
        commit = [] if checkpoints is None else [_Commit(checkpoints)]
        trainer = make_trainer(
            model=model,
            args=arguments,
            train_dataset=_Items(items),
            data_collator=collate,
            callbacks=[
                *callbacks,  # first, so that their entries in the log are saved with the step
                _Watch(report, guess if retain_in_nats else math.inf),
                *commit,
            ],
        )
        for callback in commit:
            callback.trainer = trainer
        # First, so that trackers also get the value.
        trainer.callback_handler.callbacks.insert(0, _WholeRun())
        # Without its own bar Trainer prints its log as lines.
        trainer.remove_callback(PrinterCallback)
        last = checkpoints and checkpoints.newest()
        if last and (last / _METHOD_STATE).exists():
            tensors = load_file(last / _METHOD_STATE, device=str(arguments.device))
            trainer.state_tensors = tensors  # type: ignore[attr-defined]
        trainer.train(resume_from_checkpoint=str(last) if last else None)
        # Trainer replaces the forward pass by one with autocast; the saved model has the plain one.
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    model.eval()
    return list(trainer.state.log_history)


@contextlib.contextmanager
def _drafts(checkpoints: Checkpoints | None) -> Iterator[Path]:
    """Yield a folder for Trainer's output, on the file system of the checkpoints."""
    if checkpoints is None:
        with scratch("training") as folder:
            yield Path(folder)
        return
    # All processes of a run share this name, and no other run has it: the caller holds a lock.
    drafts = checkpoints.folder / ".drafts"
    drafts.mkdir(parents=True, exist_ok=True)
    yield drafts


def _step(path: Path) -> int:
    number = path.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


class _Items(torch.utils.data.Dataset[Any]):
    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]
