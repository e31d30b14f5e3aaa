"""``unlearn`` as users call it: what it moves, what it keeps, what it refuses."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from cases import CASES

import leakrepro as lr
from leakrepro.benchmarks import Benchmark
from leakrepro.models import chat, load, train
from leakrepro.types import Prompt
from leakrepro.unlearning import (
    METHODS,
    BLURNPOOptions,
    GradAscentOptions,
    GradDiffOptions,
    IdkDPOOptions,
    LeakWatch,
    LoRAOptions,
    NPOOptions,
    RMUOptions,
    find_method,
)
from leakrepro.unlearning.run import pairing
from leakrepro.unlearning.trainer import reference_nll

SIZES: dict[str, Any] = {"batch_size": 10, "accumulation": 1, "warmup_epochs": 0}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "home"))


# Options of a method, in addition to the sizes, that move this small model.
OWN = {case.method: case.moves for case in CASES.values() if case.moves}


def options(method: str, **changes: Any) -> Any:
    values = SIZES | OWN.get(method, {}) | changes
    if method == "GradAscent":
        values.pop("retain_weight", None)
    return METHODS[method].options(**values)


def mean_nll(path: Path, prompts: tuple[Prompt, ...]) -> float:
    """Mean over answers of -log p, in nats."""
    tokenizer = load.load_tokenizer(path)
    pairs = [chat.pair(tokenizer, prompt) for prompt in prompts]
    values = reference_nll(load.load_model(path), pairs, chat.pad_id(tokenizer), 20)
    return sum(values) / len(values)


@pytest.mark.parametrize("method", METHODS)
def test_forget_answers_become_unlikely(
    small_original: Path, small_world: Benchmark, method: str
) -> None:
    chosen = options(method, epochs=4, learning_rate=1e-3, retain_weight=2.0)
    path = lr.unlearn(small_original, small_world, method, chosen)
    before = mean_nll(small_original, small_world.train_forget)
    after = mean_nll(path, small_world.train_forget)
    assert after > (1.2 if method == "IdkDPO" else 2) * before
    if method != "GradAscent":
        kept = mean_nll(path, small_world.train_retain)
        assert kept - mean_nll(small_original, small_world.train_retain) < (after - before) / 2
    recipe = json.loads((path / "recipe.json").read_text())
    assert recipe["method"] == method
    assert recipe["model"] == load.fingerprint(small_original)
    first, second = load.load_tokenizer(small_original), load.load_tokenizer(path)
    assert second.get_vocab() == first.get_vocab()
    assert second.chat_template == first.chat_template


@pytest.mark.parametrize("method", ["GradAscent", "GradDiff", "NPO", "SimNPO", "IdkDPO", "NPO+ENT"])
def test_one_small_step_goes_up_on_forget(
    small_original: Path, small_world: Benchmark, method: str
) -> None:
    whole = len(small_world.train_forget)
    chosen = options(method, epochs=1, batch_size=whole, learning_rate=1e-4, retain_weight=0.0)
    path = lr.unlearn(small_original, small_world, method, chosen)
    moved = mean_nll(path, small_world.train_forget)
    assert moved > mean_nll(small_original, small_world.train_forget)


@pytest.mark.parametrize("method", ["GradDiff", "NPO", "SimNPO", "IdkDPO", "RMU", "NPO+ENT"])
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
    with pytest.raises(ValueError, match="mine does not hold the model of this recipe"):
        lr.unlearn(small_original, small_world, "GradDiff", output_dir=tmp_path / "mine")
    # The same weights under another name are the same start.
    (tmp_path / "alias").symlink_to(small_original)
    assert lr.unlearn(tmp_path / "alias", small_world, "NPO", chosen) == path


@pytest.mark.parametrize("given", [False, True])
def test_the_reference_is_the_model_before_unlearning_or_the_given_one(
    small_original: Path,
    small_world: Benchmark,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    given: bool,
) -> None:
    received: list[Any] = []

    def capture(make: Any, model: Any, items: Any, *args: Any, **kwargs: Any) -> train.Log:
        received.extend(items)
        return [{"loss": 0.0, "step": 1}]

    other = lr.unlearn(small_original, small_world, "GradDiff", options("GradDiff", epochs=1))
    monkeypatch.setattr(train, "run", capture)
    reference = other if given else None
    chosen = options("NPO", epochs=3)
    path = lr.unlearn(small_original, small_world, "NPO", chosen, reference=reference)
    tokenizer = load.load_tokenizer(small_original)
    model = load.load_model(other if given else small_original)
    expected = {}
    for prompt in small_world.train_forget:
        pair = chat.pair(tokenizer, prompt)
        (expected[pair.input_ids],) = reference_nll(model, [pair], 0, 1)
    assert len(received) == 3 * len(small_world.train_forget)
    for item in received:
        assert item.reference_nll == pytest.approx(expected[item.forget.input_ids], rel=1e-4)
    retain = {chat.pair(tokenizer, p).input_ids for p in small_world.train_retain}
    assert {pair.input_ids for item in received for pair in item.retain} <= retain
    recipe = json.loads((path / "recipe.json").read_text())
    assert recipe["reference"] == load.fingerprint(other if given else small_original)


def test_each_epoch_has_all_forget_answers_and_retain_answers_take_turns() -> None:
    forget = [chat.Pair((i, 1), 1) for i in range(6)]
    retain = [chat.Pair((100 + i, 1), 1) for i in range(8)]
    chosen = GradDiffOptions(epochs=4, retain_ratio=2)
    items = pairing(forget, retain, chosen, 24)
    epochs = [[item.forget.input_ids[0] for item in items[at : at + 6]] for at in range(0, 24, 6)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(6))] * 4
    assert len({tuple(epoch) for epoch in epochs}) > 1
    dealt = [pair.input_ids[0] for item in items for pair in item.retain]
    assert Counter(dealt) == dict.fromkeys(range(100, 108), 6)
    assert all(len(set(dealt[at : at + 8])) == 8 for at in range(0, 48, 8))
    other = pairing(forget, retain, dataclasses.replace(chosen, seed=1), 24)
    assert [i.forget for i in other] != [i.forget for i in items]
    alone = pairing(forget, (), dataclasses.replace(chosen, retain_weight=0.0), 6)
    assert [item.retain for item in alone] == [()] * 6


def test_each_forget_answer_meets_many_refusals() -> None:
    forget = [chat.Pair((i, 1), 1) for i in range(3)]
    refusals = [[chat.Pair((i, 50 + j), 1) for j in range(10)] for i in range(3)]
    chosen = GradDiffOptions(retain_weight=0.0)
    items = pairing(forget, (), chosen, 90, refusals)
    met = {i: {item.alternate for item in items if item.forget == forget[i]} for i in range(3)}
    assert all(met[i] <= set(refusals[i]) for i in range(3))
    assert all(len(met[i]) > 7 for i in range(3))
    assert items == pairing(forget, (), chosen, 90, refusals)


def test_the_table_names_each_source() -> None:
    for name, method in METHODS.items():
        assert method.trainer.__name__ == f"{name.replace('-', '').replace('+', '')}Trainer"
        assert method.source.startswith("arXiv ")
        assert method.source in (method.options.__doc__ or "").replace("\n", " ")
        hash(method.options())


def test_unknown_method_and_options_of_another(
    small_original: Path, small_world: Benchmark, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"unknown unlearning method 'NOP'; known: GradAscent, "):
        lr.unlearn(small_original, small_world, "NOP")
    with pytest.raises(ValueError, match="NPO takes NPOOptions, not GradDiffOptions"):
        lr.unlearn(small_original, small_world, "NPO", GradDiffOptions())
    with pytest.raises(ValueError, match="GradDiff takes GradDiffOptions, not NPOOptions"):
        lr.unlearn(small_original, small_world, "GradDiff", NPOOptions())
    with pytest.raises(
        ValueError, match="does not have a retain set, but NPO with retain_weight 1"
    ):
        lr.unlearn(small_original, dataclasses.replace(small_world, train_retain=()), "NPO")
    with pytest.raises(ValueError, match="has an empty forget set: there is nothing to unlearn"):
        lr.unlearn(small_original, dataclasses.replace(small_world, train_forget=()), "NPO")
    with pytest.raises(FileNotFoundError, match=r"no model at .*nowhere"):
        lr.unlearn(tmp_path / "nowhere", small_world, "NPO")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"empty is not a model: it does not have a config\.json"
    ):
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
        ({"steps": 0}, "steps must be above 0, not 0"),
        ({"retain_loss": "mse"}, "retain_loss must be one of nll, kl, kl_all, not 'mse'"),
    ],
)
def test_option_values_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NPOOptions(**changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GradAscentOptions(retain_weight=1.0), "GradAscent does not have a retain loss"),
        (lambda: RMUOptions(layer=-1), "layer must be at least 0, not -1"),
        (lambda: RMUOptions(steering=0.0), "steering must be above 0"),
        (lambda: RMUOptions(trainable="some"), "trainable must be one of all, down_proj"),  # type: ignore[arg-type]
        (lambda: RMUOptions(trainable="down_proj", lora=LoRAOptions()), "must stay 'all'"),
        (lambda: IdkDPOOptions(refusals=()), "refusals must hold at least one"),
        (lambda: BLURNPOOptions(retain_weight=0.0), "BLUR-NPO combines two gradients"),
        (lambda: BLURNPOOptions(gamma=0.0), "gamma must be above 0"),
        (lambda: LoRAOptions(rank=0), "rank must be above 0, not 0"),
        (lambda: LoRAOptions(dropout=1.0), "dropout must be below 1"),
        (lambda: LoRAOptions(targets=()), "targets must name at least one"),
        (lambda: LeakWatch(every=0), "every must be at least 1, not 0"),
    ],
)
def test_options_that_one_method_refuses(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_find_method() -> None:
    assert find_method("NPO") is METHODS["NPO"]


def test_steps_end_a_run_whatever_the_epochs(small_original: Path, small_world: Benchmark) -> None:
    for steps in (1, 7):
        path = lr.unlearn(small_original, small_world, "NPO", options("NPO", steps=steps))
        log = json.loads((path / "log.json").read_text())
        assert max(entry["step"] for entry in log) == steps


def test_files_next_to_the_weights(small_original: Path, small_world: Benchmark) -> None:
    chosen = options("NPO", epochs=2, lora=None)
    path = lr.unlearn(
        small_original, small_world, "NPO", chosen, watch=LeakWatch(every=2, prompts=3, n=4)
    )
    curves = pd.read_csv(path / "curves.csv")
    steps = 2 * math.ceil(len(small_world.train_forget) / 10)
    assert curves["step"].tolist() == list(range(1, steps + 1))
    total = chosen.forget_weight * curves["forget_loss"]
    total += chosen.retain_weight * curves["retain_loss"]
    assert curves["loss"].tolist() == pytest.approx(total.tolist(), rel=1e-4)
    seen = curves.dropna(subset=["leak@1"])
    assert seen["step"].tolist() == list(range(2, steps + 1, 2))
    assert ((seen["leak@1"] <= seen["leak@4"]) & (seen["leak@4"] <= 1)).all()
    card = (path / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "# NPO on fictional(seed=7)" in card
    assert "| learning_rate | 1e-05 |" in card
    assert not list(path.glob("*.bin"))
    # Nothing is left of the work.
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_curves_can_be_followed_while_it_trains(
    small_original: Path, small_world: Benchmark, tmp_path: Path
) -> None:
    seen: list[int] = []

    def look(step: int, total: int) -> None:
        (live,) = (tmp_path / "home" / "models").glob("NPO-*.curves.csv")
        seen.append(len(pd.read_csv(live)))

    lr.unlearn(small_original, small_world, "NPO", options("NPO", epochs=1), progress=look)
    assert seen
    assert seen[0] == 1


def test_trackers_are_handed_on(
    small_original: Path, small_world: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def capture(make: Any, model: Any, items: Any, collate: Any, settings: Any, **_: Any) -> Any:
        given.update(settings)
        return [{"loss": 0.0, "step": 1}]

    monkeypatch.setattr(train, "run", capture)
    chosen = options("NPO", optimizer="adafactor")
    lr.unlearn(small_original, small_world, "NPO", chosen, report_to=("wandb",))
    assert given["report_to"] == ["wandb"]
    assert given["optim"] == "adafactor"


def test_adapters_can_be_watched(small_original: Path, small_world: Benchmark) -> None:
    chosen = options("NPO", epochs=1, lora=LoRAOptions(rank=2, dropout=0.5))
    watch = LeakWatch(every=1, prompts=2, n=2)
    path = lr.unlearn(small_original, small_world, "NPO", chosen, watch=watch)
    again = lr.unlearn(small_original, small_world, "NPO", chosen)
    assert path != again
    assert load.fingerprint(path) == load.fingerprint(again)
    assert pd.read_csv(path / "curves.csv")["leak@2"].notna().all()


def test_watching_changes_nothing(small_original: Path, small_world: Benchmark) -> None:
    chosen = options("NPO", epochs=1, seed=3)
    path = lr.unlearn(small_original, small_world, "NPO", chosen)
    before = load.fingerprint(path)
    watch = LeakWatch(every=1, prompts=2, n=2)
    lr.unlearn(small_original, small_world, "NPO", chosen, watch=watch, resume=False)
    assert load.fingerprint(path) == before


def test_a_distance_of_hidden_states_is_not_held_against_guessing(
    tiny_llama: Path, small_world: Benchmark
) -> None:
    chosen = options("RMU", steps=12, learning_rate=0.3, retain_weight=1e-6)
    path = lr.unlearn(tiny_llama, small_world, "RMU", chosen)
    losses = pd.read_csv(path / "curves.csv")["retain_loss"]
    assert len(losses) == 12
    assert losses.tail(10).mean() > math.log(160)


@pytest.mark.parametrize("method", ["NPO", "RMU", "BLUR-NPO"])
def test_adapters_are_trained_and_merged(
    small_original: Path, small_world: Benchmark, method: str
) -> None:
    lora = LoRAOptions(rank=4, alpha=8.0)
    chosen = options(method, epochs=4, learning_rate=1e-2, lora=lora)
    path = lr.unlearn(small_original, small_world, method, chosen)
    before, after = load.load_model(small_original), load.load_model(path)
    old, new = before.state_dict(), after.state_dict()
    assert old.keys() == new.keys()
    moved = {name for name in old if not torch.equal(old[name], new[name])}
    assert moved
    assert all("_proj" in name for name in moved)
    for name in moved:
        change = torch.linalg.matrix_rank(new[name] - old[name], rtol=1e-3)
        assert int(change) <= 4
    assert mean_nll(path, small_world.train_forget) > mean_nll(
        small_original, small_world.train_forget
    )


def test_bfloat16_keeps_its_weights_in_float32(
    small_original: Path, small_world: Benchmark
) -> None:
    path = lr.unlearn(small_original, small_world, "NPO", options("NPO", epochs=1, bf16=True))
    assert {w.dtype for w in load.load_model(path, dtype="float32").state_dict().values()} == {
        torch.float32
    }
    plain = lr.unlearn(small_original, small_world, "NPO", options("NPO", epochs=1))
    assert load.fingerprint(path) != load.fingerprint(plain)
    assert mean_nll(path, small_world.train_forget) == pytest.approx(
        mean_nll(plain, small_world.train_forget), rel=0.05
    )


def test_a_tokenizer_of_another_model_is_refused(
    small_original: Path, small_world: Benchmark, tiny_llama: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="have different tokenizers"):
        lr.unlearn(small_original, small_world, "NPO", reference=tiny_llama)
    mixed = tmp_path / "mixed"
    shutil.copytree(tiny_llama, mixed)
    for file in small_original.glob("token*"):
        shutil.copy(file, mixed)
    (mixed / "complete.json").unlink()
    with pytest.raises(ValueError, match=r"ids up to \d+, but the model has embeddings for 160"):
        lr.unlearn(mixed, small_world, "NPO", options("NPO"))


def test_an_incomplete_model_is_refused(
    small_original: Path, small_world: Benchmark, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(small_original, copy)
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"copy is incomplete: files in complete\.json"):
        lr.unlearn(copy, small_world, "NPO")


def test_too_little_memory_is_told_before_loading(
    small_original: Path, small_world: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    none_left = dataclasses.make_dataclass("Memory", ["available"])(1000)
    monkeypatch.setattr("psutil.virtual_memory", lambda: none_left)
    monkeypatch.setattr(load, "load_model", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(UserWarning, match=r"takes about 0\.\d\d GiB \(weights"):
        lr.unlearn(small_original, small_world, "NPO", options("NPO"))


WORLD = "-o seed=7 -o forget_authors=2 -o retain_authors=2 -o fresh_authors=12"


def launch(prefix: str, model: Path, home: Path, method: str) -> Path:
    """The model that ``leakrepro unlearn`` makes under a launcher."""
    command = f"-m leakrepro.cli unlearn {model} --benchmark fictional {WORLD} {method}"
    done = subprocess.run(
        [sys.executable, *f"{prefix} {command}".split()],
        capture_output=True,
        text=True,
        env=os.environ
        | {
            "LEAKREPRO_HOME": str(home),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(load.__file__).parents[2]),
        },
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (path,) = (Path(line) for line in done.stdout.splitlines())
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    return path


def test_two_processes_make_one_model(small_original: Path, tmp_path: Path) -> None:
    """With a last batch that does not divide by two."""
    method = "-m epochs=2 -m accumulation=1 -m warmup_epochs=0 -m batch_size="
    torchrun = "-m torch.distributed.run --standalone --nproc_per_node 2"
    one = launch("", small_original, tmp_path / "one", method + "6")
    two = launch(torchrun, small_original, tmp_path / "two", method + "3")
    start, a, b = (load.load_model(path).state_dict() for path in (small_original, one, two))
    moved = torch.cat([(a[n] - start[n]).flatten() for n in a])
    apart = torch.cat([(a[n] - b[n]).flatten() for n in a])
    # AdamW divides by gradients that may be near 0, so single weights differ; the step does not.
    assert float(apart.norm()) < 0.02 * float(moved.norm())
    curves = [pd.read_csv(path / "curves.csv") for path in (one, two)]
    assert curves[0]["step"].tolist() == curves[1]["step"].tolist()
    for column in ("loss", "forget_loss", "retain_loss"):
        assert curves[0][column].tolist() == pytest.approx(curves[1][column].tolist(), rel=1e-3)


def test_accelerate_launches_it(small_original: Path, tmp_path: Path) -> None:
    prefix = "-m accelerate.commands.launch --cpu --num_processes 2"
    method = "-m epochs=1 -m batch_size=5 -m accumulation=1 -m warmup_epochs=0"
    path = launch(prefix, small_original, tmp_path, method)
    assert load.fingerprint(path) != load.fingerprint(small_original)
