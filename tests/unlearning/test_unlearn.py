"""``unlearn`` as users call it: what it moves, what it keeps, what it refuses."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

import leakrepro as lr
from leakrepro.benchmarks import Benchmark
from leakrepro.models import chat, load, train
from leakrepro.types import Prompt
from leakrepro.unlearning import METHODS, GradDiffOptions, NPOOptions, find_method
from leakrepro.unlearning.api import pairing
from leakrepro.unlearning.trainer import answer_nll

SIZES: dict[str, Any] = {"batch_size": 10, "accumulation": 1, "warmup_epochs": 0}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "home"))


def options(method: str, **changes: Any) -> GradDiffOptions:
    return METHODS[method].options(**(SIZES | changes))


def mean_nll(path: Path, prompts: tuple[Prompt, ...]) -> float:
    """Mean over answers of -log p, in nats."""
    tokenizer = load.load_tokenizer(path)
    pairs = [chat.pair(tokenizer, prompt) for prompt in prompts]
    values = answer_nll(load.load_model(path), pairs, chat.pad_id(tokenizer), 20)
    return sum(values) / len(values)


@pytest.mark.parametrize("method", METHODS)
def test_forget_answers_become_unlikely(
    small_original: Path, small_world: Benchmark, method: str
) -> None:
    chosen = options(method, epochs=4, learning_rate=1e-3, retain_weight=2.0)
    path = lr.unlearn(small_original, small_world, method, chosen)
    before = mean_nll(small_original, small_world.train_forget)
    after = mean_nll(path, small_world.train_forget)
    assert after > 2 * before
    kept = mean_nll(path, small_world.train_retain)
    assert kept - mean_nll(small_original, small_world.train_retain) < (after - before) / 2
    recipe = json.loads((path / "recipe.json").read_text())
    assert recipe["method"] == method
    assert recipe["model"] == load.fingerprint(small_original)
    first, second = load.load_tokenizer(small_original), load.load_tokenizer(path)
    assert second.get_vocab() == first.get_vocab()
    assert second.chat_template == first.chat_template


@pytest.mark.parametrize("method", METHODS)
def test_one_small_step_goes_up_on_forget(
    small_original: Path, small_world: Benchmark, method: str
) -> None:
    whole = len(small_world.train_forget)
    chosen = options(method, epochs=1, batch_size=whole, learning_rate=1e-4, retain_weight=0.0)
    path = lr.unlearn(small_original, small_world, method, chosen)
    moved = mean_nll(path, small_world.train_forget)
    assert moved > mean_nll(small_original, small_world.train_forget)


@pytest.mark.parametrize("method", METHODS)
def test_the_retain_weight_holds_the_retain_answers(
    small_original: Path, small_world: Benchmark, method: str
) -> None:
    kept = []
    for weight in (0.0, 20.0):
        sizes = {"epochs": 8, "learning_rate": 1e-3, "retain_ratio": 3}
        chosen = options(method, retain_weight=weight, **sizes)
        path = lr.unlearn(small_original, small_world, method, chosen)
        kept.append(mean_nll(path, small_world.train_retain))
    assert kept[1] < 0.5 * kept[0]


def test_no_forget_loss_is_more_training(small_original: Path, small_world: Benchmark) -> None:
    chosen = options("GradDiff", epochs=2, learning_rate=1e-3, forget_weight=0.0)
    path = lr.unlearn(small_original, small_world, "GradDiff", chosen)
    before = mean_nll(small_original, small_world.train_retain)
    assert mean_nll(path, small_world.train_retain) < before


def test_it_is_done_once_and_the_same_each_time(
    small_original: Path,
    small_world: Benchmark,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = options("NPO", epochs=1)
    path = lr.unlearn(small_original, small_world, "NPO", chosen)
    torch.manual_seed(99)
    again = lr.unlearn(small_original, small_world, "NPO", chosen, output_dir=tmp_path / "mine")
    assert again == tmp_path / "mine"
    assert load.fingerprint(again) == load.fingerprint(path)

    class Trained(Exception):
        pass

    def stop(*args: Any, **kwargs: Any) -> None:
        raise Trained

    monkeypatch.setattr(train, "run", stop)
    assert lr.unlearn(small_original, small_world, "NPO", chosen) == path
    fewer = dataclasses.replace(small_world, train_forget=small_world.train_forget[1:])
    for world, method, changed in (
        (small_world, "NPO", options("NPO", epochs=1, beta=0.2)),
        (small_world, "NPO", options("NPO", epochs=1, seed=1)),
        (small_world, "GradDiff", options("GradDiff", epochs=1)),
        (fewer, "NPO", chosen),
    ):
        with pytest.raises(Trained):
            lr.unlearn(small_original, world, method, changed)
    with pytest.raises(Trained):
        lr.unlearn(small_original, small_world, "NPO", chosen, resume=False)
    with pytest.raises(ValueError, match="mine holds something else"):
        lr.unlearn(small_original, small_world, "GradDiff", output_dir=tmp_path / "mine")
    # The same weights under another name are the same start.
    (tmp_path / "alias").symlink_to(small_original)
    assert lr.unlearn(tmp_path / "alias", small_world, "NPO", chosen) == path


def test_the_reference_is_the_model_before_unlearning(
    small_original: Path, small_world: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: list[Any] = []

    def capture(make: Any, model: Any, items: Any, *args: Any, **kwargs: Any) -> list[Any]:
        received.extend(items)
        return []

    monkeypatch.setattr(train, "run", capture)
    lr.unlearn(small_original, small_world, "NPO", options("NPO", epochs=3))
    tokenizer = load.load_tokenizer(small_original)
    model = load.load_model(small_original)
    expected = {}
    for prompt in small_world.train_forget:
        pair = chat.pair(tokenizer, prompt)
        (expected[pair.input_ids],) = answer_nll(model, [pair], 0, 1)
    assert len(received) == 3 * len(small_world.train_forget)
    for item in received:
        assert item.reference_nll == pytest.approx(expected[item.forget.input_ids], rel=1e-4)
    retain = {chat.pair(tokenizer, p).input_ids for p in small_world.train_retain}
    assert {pair.input_ids for item in received for pair in item.retain} <= retain


def test_each_epoch_has_all_forget_answers_and_retain_answers_take_turns() -> None:
    forget = [chat.Pair((i, 1), 1) for i in range(6)]
    retain = [chat.Pair((100 + i, 1), 1) for i in range(8)]
    chosen = GradDiffOptions(epochs=4, retain_ratio=2)
    items = pairing(forget, [float(i) for i in range(6)], retain, chosen)
    epochs = [[item.forget.input_ids[0] for item in items[at : at + 6]] for at in range(0, 24, 6)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(6))] * 4
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert all(item.reference_nll == item.forget.input_ids[0] for item in items)
    dealt = [pair.input_ids[0] for item in items for pair in item.retain]
    assert Counter(dealt) == dict.fromkeys(range(100, 108), 6)
    assert all(len(set(dealt[at : at + 8])) == 8 for at in range(0, 48, 8))
    assert pairing(forget, [0.0] * 6, retain, chosen)[3].forget == items[3].forget
    other = pairing(forget, [0.0] * 6, retain, dataclasses.replace(chosen, seed=1))
    assert [i.forget for i in other] != [i.forget for i in items]


def test_the_table_names_each_source() -> None:
    assert list(METHODS) == ["GradDiff", "NPO"]
    for name, method in METHODS.items():
        assert method.trainer.__name__ == f"{name}Trainer"
        assert method.source.startswith("arXiv ")
        assert method.source in (method.options.__doc__ or "").replace("\n", " ")
        hash(method.options())


def test_unknown_method_and_options_of_another(
    small_original: Path, small_world: Benchmark, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"unknown unlearning method 'NOP'; known: GradDiff, NPO"):
        lr.unlearn(small_original, small_world, "NOP")
    with pytest.raises(ValueError, match="NPO takes NPOOptions, not GradDiffOptions"):
        lr.unlearn(small_original, small_world, "NPO", GradDiffOptions())
    with pytest.raises(ValueError, match="GradDiff takes GradDiffOptions, not NPOOptions"):
        lr.unlearn(small_original, small_world, "GradDiff", NPOOptions())
    with pytest.raises(ValueError, match="no forget and retain sets"):
        lr.unlearn(small_original, dataclasses.replace(small_world, train_retain=()), "NPO")
    with pytest.raises(FileNotFoundError, match=r"no model at .*nowhere"):
        lr.unlearn(tmp_path / "nowhere", small_world, "NPO")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty is not a model: it has no config\.json"):
        lr.unlearn(tmp_path / "empty", small_world, "NPO")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be above 0, not 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0, not nan"),
        ({"learning_rate": float("inf")}, "learning_rate must be above 0, not inf"),
        ({"epochs": 0}, "epochs must be above 0, not 0"),
        ({"batch_size": -1}, "batch_size must be above 0, not -1"),
        ({"accumulation": 0}, "accumulation must be above 0, not 0"),
        ({"retain_ratio": 0}, "retain_ratio must be above 0, not 0"),
        ({"forget_weight": -0.1}, "forget_weight must be at least 0, not -0.1"),
        ({"retain_weight": -1.0}, "retain_weight must be at least 0, not -1.0"),
        ({"weight_decay": -1.0}, "weight_decay must be at least 0, not -1.0"),
        ({"warmup_epochs": -1.0}, "warmup_epochs must be at least 0, not -1.0"),
        ({"max_grad_norm": -1.0}, "max_grad_norm must be at least 0, not -1.0"),
        ({"beta": 0.0}, "beta must be above 0, not 0.0"),
        ({"seed": -1}, "seed must be at least 0, not -1"),
    ],
)
def test_option_values_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NPOOptions(**changes)


def test_find_method() -> None:
    assert find_method("NPO") is METHODS["NPO"]
