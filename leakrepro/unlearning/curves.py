"""Training curves: losses and leak@k on a few prompts during unlearning."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from leakrepro.benchmarks.base import Benchmark
from leakrepro.metrics import load_metric
from leakrepro.metrics.base import checked_scores
from leakrepro.sampling.engines.hf import HFSampler
from leakrepro.sampling.store import Request
from leakrepro.stats.estimator import leak_at_k
from leakrepro.storage.atomic import write_atomically

_LOSSES = ("loss", "forget_loss", "retain_loss", "grad_norm", "learning_rate")
_SECONDS = 1.0  # minimum time between two updates of the file

Probe = Callable[[PreTrainedModel], dict[str, float]]


@dataclass(frozen=True)
class LeakWatch:
    """Follows leak@k on a few forget prompts during training. The weights do not change by it.

    The samples come from the model in memory and are not saved. Use ``evaluate`` to measure the
    saved model.

    Attributes:
        every: Optimiser steps between two measurements.
        prompts: Number of forget prompts, spread evenly over those of the benchmark.
        n: Samples per prompt, and the largest k.

    Raises:
        ValueError: when a number is below 1.
    """

    every: int = 20
    prompts: int = 16
    n: int = 16

    def __post_init__(self) -> None:
        for name in ("every", "prompts", "n"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")

    def follow(self, benchmark: Benchmark, tokenizer: PreTrainedTokenizerBase) -> Probe:
        """Prepares the measurement.

        Args:
            benchmark: Its prompts are sampled, and its first metric scores the samples.
            tokenizer: The model's tokenizer.

        Returns:
            A function from a model to ``{"leak@1": ..., "leak@<n>": ...}``.
        """
        step = max(1, len(benchmark.forget) // self.prompts)
        chosen = benchmark.forget[::step][: self.prompts]
        metric = load_metric(benchmark.metrics[0], benchmark)
        decoding = benchmark.decoding.replace(n=self.n)
        requests = [Request(prompt, 0, self.n) for prompt in chosen]

        def probe(model: PreTrainedModel) -> dict[str, float]:
            table = HFSampler.around(model, tokenizer).draw(requests, decoding)
            texts = table["text"].to_pylist()
            rows = [texts[i : i + self.n] for i in range(0, len(texts), self.n)]
            curve = leak_at_k(checked_scores(metric, chosen, rows), sorted({1, self.n}))
            return {f"leak@{k}": float(v) for k, v in zip(curve.k, curve.value, strict=True)}

        return probe


class Curves(TrainerCallback):
    """Adds leak@k to the training log and writes the log to a CSV file during training.

    Args:
        work: Folder of the checkpoints. The file is next to it, under the name of the model.
        probe: Measures leak@k; None adds nothing.
        every: Optimiser steps between two measurements.
    """

    def __init__(self, work: Path, probe: Probe | None, every: int) -> None:
        name = work.name.removeprefix(".").removesuffix(".checkpoints")
        self.path = work.with_name(f"{name}.curves.csv")
        self.probe, self.every = probe, every
        self.written = 0.0

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **kwargs: Any,
    ) -> None:
        entry = state.log_history[-1]
        if self.probe and "loss" in entry and state.global_step % self.every == 0:
            # Samples are drawn from the model inside a data-parallel wrapper.
            plain = getattr(model, "module", model)
            training = plain.training
            entry |= self.probe(plain.eval())
            plain.train(training)
        if state.is_world_process_zero and time.monotonic() - self.written > _SECONDS:
            write_atomically(self.path, curves_csv(state.log_history).encode())
            self.written = time.monotonic()

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        if state.is_world_process_zero:
            self.path.unlink(missing_ok=True)  # replaced by curves.csv in the model's folder


def curves_csv(log: Sequence[Mapping[str, float]]) -> str:
    """The steps of a training log as CSV.

    Args:
        log: The trainer's log.

    Returns:
        A header and one row per step: step, losses, gradient norm, learning rate and leak@k.
    """
    steps = pd.DataFrame([entry for entry in log if "loss" in entry])
    leaks = [column for column in steps.columns if column.startswith("leak@")]
    columns = ["step", *(name for name in _LOSSES if name in steps.columns), *leaks]
    out = io.StringIO()
    steps[columns].to_csv(out, index=False, float_format="%.6g")
    return out.getvalue()
