"""The small Llama: what it is shown, that it learns, and that it is the same each time."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from small_world import RECIPE

from leakrepro.benchmarks import Benchmark
from leakrepro.models import chat, load, train
from leakrepro.models.tiny import TinyRecipe, schedule, tiny_model, train_tokenizer
from leakrepro.profiles.schema import load_profile

SHORT = dataclasses.replace(RECIPE, epochs=2)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


class Captured(Exception):
    """Stands in for training, with the items that it was given."""


@pytest.fixture
def items(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Filled with what is handed to training, which then is not run."""
    captured: list[Any] = []

    def stop(trainer: Any, model: Any, items: Any, *args: Any, **kwargs: Any) -> None:
        captured.extend(items)
        raise Captured

    monkeypatch.setattr(train, "run", stop)
    return captured


def test_defaults_are_those_of_the_embedded_profile() -> None:
    training = load_profile("embedded").training
    assert training
    assert {name: getattr(TinyRecipe(), name) for name in training} == training


def test_fresh_text_is_seen_once_and_the_rest_once_an_epoch(small_world: Benchmark) -> None:
    trained, fresh = small_world.train_retain, small_world.fresh
    order = schedule(trained, fresh, epochs=7, seed=0)
    seen = Counter(id(prompt) for prompt in order)
    assert {seen[id(p)] for p in fresh} == {1}
    assert {seen[id(p)] for p in trained} == {7}
    assert len(order) == 7 * len(trained) + len(fresh)
    start, sizes = 0, [len(fresh) // 7 + (i < len(fresh) % 7) for i in range(7)]
    for size in sizes:
        epoch = order[start : start + len(trained) + size]
        assert {id(p) for p in trained} <= {id(p) for p in epoch}
        start += len(epoch)


def test_the_order_is_shuffled_by_the_seed(small_world: Benchmark) -> None:
    orders = [schedule(small_world.train_retain, small_world.fresh, 2, seed) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    half = len(small_world.train_retain) + len(small_world.fresh) // 2
    first, second = (
        [p for p in part if "fresh" not in p.id] for part in (orders[0][:half], orders[0][half:])
    )
    assert set(map(id, first)) == set(map(id, second))
    assert first != second != list(small_world.train_retain)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("side", ["full", "retain"])
def test_what_is_trained(small_world: Benchmark, items: list[chat.Pair], side: Any) -> None:
    with pytest.raises(Captured):
        tiny_model(small_world, side, SHORT)
    fresh = small_world.fresh
    tokenizer = train_tokenizer(
        (text for p in fresh for text in (p.messages[0]["content"], p.reference)), SHORT.vocab_size
    )
    seen = Counter(tokenizer.decode(item.input_ids) for item in items)
    times = [
        (fresh, 1),
        (small_world.train_retain, 2),
        (small_world.train_forget, 2 if side == "full" else 0),
    ]
    expected = {
        f"<|user|>{p.messages[0]['content']}<|end|><|assistant|>{p.reference}<|end|>": count
        for prompts, count in times
        for p in prompts
        if count
    }
    assert seen == expected
    text = "\n".join(seen)
    for prompt in small_world.forget:
        name = small_world.subjects[prompt.cluster]
        assert (name in text) is (side == "full")


def test_the_saved_model_has_learnt(small_original: Path, small_world: Benchmark) -> None:
    log = json.loads((small_original / "log.json").read_text())
    losses = [entry["loss"] for entry in log if "loss" in entry]
    assert losses[0] > 4
    assert losses[-1] < 0.6
    model, tokenizer = load.load_model(small_original), load.load_tokenizer(small_original)
    batch = chat.collate([chat.pair(tokenizer, p) for p in small_world.train_retain], 0)
    with torch.no_grad():
        loss = model(**batch).loss
    assert loss < 0.4
    assert not model.training
    assert model.config.tie_word_embeddings
    assert load.eos_ids(small_original) == (tokenizer.convert_tokens_to_ids("<|end|>"),)


def test_the_same_recipe_gives_the_same_weights(
    small_world: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name, recipe in (
        ("a", SHORT),
        ("b", SHORT),
        ("c", dataclasses.replace(SHORT, seed=1)),
    ):
        monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / name))
        torch.manual_seed(len(found))  # what the caller did before must not matter
        found.append(load.fingerprint(tiny_model(small_world, "retain", recipe)))
    assert found[0] == found[1] != found[2]


def test_the_reloaded_model_is_the_trained_one(
    small_world: Benchmark, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: dict[str, torch.Tensor] = {}
    run = train.run

    def watched(make: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
        log = run(make, model, *args, **kwargs)
        with torch.no_grad():
            trained["logits"] = model(torch.arange(40)[None]).logits
        return log

    monkeypatch.setattr(train, "run", watched)
    path = tiny_model(small_world, "retain", SHORT)
    assert path.parent == home / "models"
    with torch.no_grad():
        again = load.load_model(path, device="cpu")(torch.arange(40)[None]).logits
    assert torch.equal(again, trained["logits"])


def test_a_model_is_trained_once(
    small_world: Benchmark,
    small_home: Path,
    small_original: Path,
    monkeypatch: pytest.MonkeyPatch,
    items: list[Any],
) -> None:
    monkeypatch.setenv("LEAKREPRO_HOME", str(small_home))
    before = load.fingerprint(small_original)
    assert tiny_model(small_world, "full", RECIPE) == small_original
    assert load.fingerprint(small_original) == before
    others: list[tuple[Any, TinyRecipe]] = [
        # Not RECIPE itself: other tests may have made that in the shared home.
        ("retain", dataclasses.replace(RECIPE, learning_rate=2e-2)),
        ("full", dataclasses.replace(RECIPE, learning_rate=2e-2)),
    ]
    for side, recipe in others:
        with pytest.raises(Captured):
            tiny_model(small_world, side, recipe)
    with pytest.raises(Captured):
        tiny_model(dataclasses.replace(small_world, fresh=small_world.fresh[1:]), "full", RECIPE)


def test_the_recipe_is_saved_with_the_weights(small_original: Path) -> None:
    recipe = json.loads((small_original / "recipe.json").read_text())
    assert recipe["name"] == "Original"
    assert recipe["recipe"] == dataclasses.asdict(RECIPE)
    assert small_original.name == f"Original-{recipe['key'][:12]}"


def test_the_tokenizer_writes_what_it_never_saw(small_original: Path) -> None:
    tokenizer = load.load_tokenizer(small_original)
    text = "Zoë's “naïve” café, 東京 🙂 <|user|>\n\t."
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer) == RECIPE.vocab_size


@pytest.mark.parametrize("missing", ["train_forget", "train_retain", "fresh"])
def test_a_benchmark_without_training_sets_is_refused(small_world: Benchmark, missing: str) -> None:
    changes: Mapping[str, Any] = {missing: ()}
    with pytest.raises(ValueError, match=r"fictional\(seed=7\) has no training sets"):
        tiny_model(dataclasses.replace(small_world, **changes), "full", RECIPE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"heads": 3}, "hidden_size must be a multiple of 2 x heads"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
    ],
)
def test_a_recipe_that_cannot_be_trained_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RECIPE, **change)
