"""A new method: options, a trainer with ``forget_loss`` and a row of the table are enough."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import leakrepro as lr
from leakrepro.benchmarks import Benchmark
from leakrepro.models import chat, load
from leakrepro.types import Prompt
from leakrepro.unlearning import METHODS, Method, UnlearnOptions
from leakrepro.unlearning.trainer import (
    Batch,
    Counts,
    UnlearnTrainer,
    answer_nll,
    mean_over_answers,
    reference_nll,
)

SIZES: dict[str, Any] = {
    "batch_size": 5,
    "accumulation": 2,
    "steps": 12,
    "warmup_epochs": 0.0,
    "learning_rate": 3e-3,
}


@dataclasses.dataclass(frozen=True)
class ToyOptions(UnlearnOptions):
    """Pulls the NLL of each forget answer to a target.

    Attributes:
        target: In nats per answer.
    """

    target: float = 60.0


class ToyTrainer(UnlearnTrainer):
    """Implements the forget loss and nothing else."""

    options: ToyOptions

    def forget_loss(self, model: nn.Module, batch: Batch, counts: Counts) -> Tensor:
        values = (answer_nll(model, batch["forget"]) - self.options.target).abs()
        return mean_over_answers(values, batch, counts)


class NeedyTrainer(ToyTrainer):
    """Needs everything that a method can declare."""

    needs_reference_nll = True

    @classmethod
    def needs_reference_model(cls, options: Any) -> bool:
        return True

    @classmethod
    def alternate_answers(cls, options: Any, prompt: Prompt) -> Sequence[str]:
        return (prompt.reference.upper(),)

    def forget_loss(self, model: nn.Module, batch: Batch, counts: Counts) -> Tensor:
        assert self.reference is not None
        for kind, known in (("forget", "reference_nll"), ("alternate", "alternate_reference_nll")):
            with torch.no_grad():
                given = answer_nll(self.reference, batch[kind])
            torch.testing.assert_close(batch[known], given, rtol=1e-5, atol=1e-5)
            assert (given > 0).all()
        values = answer_nll(model, batch["alternate"]) - answer_nll(model, batch["forget"])
        return mean_over_answers(values, batch, counts)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "home"))


def add(monkeypatch: pytest.MonkeyPatch, trainer: type[UnlearnTrainer]) -> None:
    monkeypatch.setitem(METHODS, "Toy", Method(ToyOptions, trainer, "arXiv 0000.00000"))


def nll(path: Path, world: Benchmark, answers: Sequence[str]) -> Tensor:
    tokenizer = load.load_tokenizer(path)
    pairs = [
        chat.pair(tokenizer, dataclasses.replace(prompt, reference=answer))
        for prompt, answer in zip(world.train_forget, answers, strict=True)
    ]
    return torch.tensor(reference_nll(load.load_model(path), pairs, chat.pad_id(tokenizer), 20))


def test_a_forget_loss_is_enough(
    small_original: Path, small_world: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(monkeypatch, ToyTrainer)
    path = lr.unlearn(small_original, small_world, "Toy", ToyOptions(**SIZES))
    answers = [prompt.reference for prompt in small_world.train_forget]
    before = nll(small_original, small_world, answers)
    after = nll(path, small_world, answers)
    assert (after - 60.0).abs().mean() < 0.7 * (before - 60.0).abs().mean()
    recipe = json.loads((path / "recipe.json").read_text())
    assert (recipe["method"], recipe["source"]) == ("Toy", "arXiv 0000.00000")
    assert recipe["options"]["target"] == 60.0
    curves = pd.read_csv(path / "curves.csv")
    total = curves["forget_loss"] + curves["retain_loss"]
    assert curves["loss"].tolist() == pytest.approx(total.tolist(), rel=1e-4)


def test_the_retain_loss_is_the_nll_per_token(
    small_original: Path, small_world: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(monkeypatch, ToyTrainer)
    whole = len(small_world.train_forget)
    world = dataclasses.replace(small_world, train_retain=small_world.train_retain[:1])
    chosen = ToyOptions(**SIZES | {"steps": 1, "batch_size": whole})
    path = lr.unlearn(small_original, world, "Toy", chosen)
    tokenizer = load.load_tokenizer(small_original)
    pair = chat.pair(tokenizer, world.train_retain[0])
    (value,) = reference_nll(load.load_model(small_original), [pair], chat.pad_id(tokenizer), 1)
    logged = pd.read_csv(path / "curves.csv")["retain_loss"][0]
    assert logged == pytest.approx(value / (len(pair.input_ids) - pair.prompt_tokens), rel=1e-4)


def test_what_a_method_declares_is_in_its_batches(
    small_original: Path,
    small_world: Benchmark,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    plain = lr.unlearning.estimate_unlearning(small_original, small_world, "NPO")
    add(monkeypatch, NeedyTrainer)
    other = lr.unlearn(
        small_original, small_world, "GradAscent", METHODS["GradAscent"].options(**SIZES)
    )
    path = lr.unlearn(small_original, small_world, "Toy", ToyOptions(**SIZES), reference=other)
    answers = [prompt.reference for prompt in small_world.train_forget]
    shouted = [answer.upper() for answer in answers]
    assert nll(path, small_world, shouted).sum() < nll(small_original, small_world, shouted).sum()
    assert nll(path, small_world, answers).sum() > nll(small_original, small_world, answers).sum()
    # Three rows per forget answer instead of two, and a second model in memory.
    needy = lr.unlearning.estimate_unlearning(small_original, small_world, "Toy")
    assert needy.activations * 2 == plain.activations * 3
    assert (plain.reference, needy.reference) == (0, needy.weights)


def test_alternate_answers_for_some_prompts_are_refused(
    small_original: Path, small_world: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forgetful(NeedyTrainer):
        @classmethod
        def alternate_answers(cls, options: Any, prompt: Prompt) -> Sequence[str]:
            return () if prompt == small_world.train_forget[1] else ("No.",)

    add(monkeypatch, Forgetful)
    message = "Toy has alternate answers for other prompts, but not for {}"
    with pytest.raises(ValueError, match=message.format(small_world.train_forget[1].id)):
        lr.unlearn(small_original, small_world, "Toy", ToyOptions(**SIZES))
