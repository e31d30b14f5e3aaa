"""Training runs in the given order, tells how far it is, and leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer

from leakrepro.models import chat, load, train


def run(model: Any, items: list[chat.Pair], **changes: Any) -> tuple[list[Any], list[list[int]]]:
    """The log, and the first token of each item in the order of the batches."""
    batches: list[list[int]] = []

    def collate(batch: list[chat.Pair]) -> dict[str, torch.Tensor]:
        batches.append([item.input_ids[0] for item in batch])
        return chat.collate(batch, 0)

    settings = {"per_device_train_batch_size": 4, "learning_rate": 1e-3, "seed": 0}
    log = train.run(Trainer, model, items, collate, settings, label="bar", **changes)
    return log, batches


@pytest.fixture
def items() -> list[chat.Pair]:
    return [chat.Pair((10 + i, 20, 30 + i, 1), 2) for i in range(22)]


def test_items_are_seen_once_in_their_order(tiny_llama: Path, items: list[chat.Pair]) -> None:
    steps: list[tuple[int, int]] = []
    model = load.load_model(tiny_llama, device="cpu")
    _, batches = run(model, items, progress=lambda done, total: steps.append((done, total)))
    assert batches == [[10 + i for i in range(22)][at : at + 4] for at in range(0, 22, 4)]
    assert steps == [(i, 6) for i in range(1, 7)]
    assert not model.training


def test_the_log_is_returned_and_nothing_is_written_or_printed(
    tiny_llama: Path,
    items: list[chat.Pair],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    model = load.load_model(tiny_llama, device="cpu")
    capfd.readouterr()
    log, _ = run(model, items * 2, progress=lambda done, total: None)
    assert [entry["step"] for entry in log if "loss" in entry] == list(range(1, 12))
    assert log[-1]["train_loss"] > 0
    assert os.listdir(tmp_path) == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("stop", [1, 2, 3, 5, 7, 10, 11])
def test_the_log_of_a_resumed_run_is_that_of_an_uninterrupted_one(
    tiny_llama: Path, items: list[chat.Pair], tmp_path: Path, stop: int
) -> None:
    class Stop(Exception):
        pass

    def end(done: int, total: int) -> None:
        if done == stop:
            raise Stop

    def entries(folder: Path, progress: Any = lambda done, total: None) -> list[dict[str, float]]:
        model = load.load_model(tiny_llama, device="cpu")
        checkpoints = train.Checkpoints(tmp_path / folder, every=2)
        log, _ = run(model, items * 2, progress=progress, checkpoints=checkpoints)
        return [
            {k: v for k, v in e.items() if not k.endswith(("_runtime", "_per_second"))} for e in log
        ]

    whole = entries(Path("whole"))
    losses = [entry["loss"] for entry in whole if "loss" in entry]
    assert len(losses) == 11
    assert whole[-1]["train_loss"] == pytest.approx(sum(losses) / 11)
    with pytest.raises(Stop):
        entries(Path("killed"), end)
    assert entries(Path("killed")) == whole


def test_without_a_callback_there_is_a_bar(
    tiny_llama: Path, items: list[chat.Pair], capfd: pytest.CaptureFixture[str]
) -> None:
    run(load.load_model(tiny_llama, device="cpu"), items)
    out, err = capfd.readouterr()
    assert out == ""
    assert "bar: 100%" in err
    assert "6/6" in err


def test_a_diverging_run_is_ended_where_the_log_shows_it(
    tiny_llama: Path, items: list[chat.Pair]
) -> None:
    model = load.load_model(tiny_llama, device="cpu")
    steps: list[int] = []
    with torch.no_grad():
        model.model.embed_tokens.weight[20].fill_(torch.inf)
    with pytest.raises(FloatingPointError, match=r"the loss became nan by step 1: training div"):
        run(model, items * 4, progress=lambda done, total: steps.append(done))
    assert steps == []
