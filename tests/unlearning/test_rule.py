"""RULE's rounds: what they search, what they add, and what they never touch."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import leakrepro as lr
from leakrepro.benchmarks import Benchmark
from leakrepro.metrics import load_metric
from leakrepro.models import load
from leakrepro.sampling.seeds import sample_seed
from leakrepro.types import Prompt
from leakrepro.unlearning import GradDiffOptions, NPOOptions, RuleOptions
from leakrepro.unlearning.rule import SEARCH_SEEDS, Round, _collect, rule_rounds

SIZES: dict[str, Any] = {"batch_size": 10, "accumulation": 1, "warmup_epochs": 0, "beta": 0.5}
WEAK = NPOOptions(**SIZES, learning_rate=3e-4, epochs=2, retain_weight=2.0)
STRONG = dataclasses.replace(WEAK, learning_rate=1e-3, steps=12)
OPTIONS = RuleOptions(base=WEAK, round=STRONG, n=16, cap=2)


@pytest.fixture(autouse=True)
def _home(small_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKREPRO_HOME", str(small_home))


def searched_rounds(
    model: Path, world: Benchmark, base: str, rounds: int, options: RuleOptions
) -> list[Round]:
    """RULE with the metric that ``leakrepro.rule`` passes on."""
    metric = load_metric(options.metric or world.metrics[0], world)
    return rule_rounds(model, world, base, rounds, options, metric=metric)


@pytest.fixture
def rounds(small_original: Path, small_world: Benchmark) -> list[Round]:
    return searched_rounds(small_original, small_world, "NPO", 2, OPTIONS)


def test_each_round_adds_what_leaked(
    small_original: Path, small_world: Benchmark, rounds: list[Round]
) -> None:
    assert [each.index for each in rounds] == [0, 1, 2]
    assert rounds[0].added == ()
    assert rounds[0].samples == 0
    assert rounds[1].added
    metric = load_metric("fact_match", small_world)
    asked = {p.messages[-1]["content"]: p for p in small_world.forget}
    known = {(p.messages[-1]["content"], p.reference) for p in small_world.train_forget}
    size = len(small_world.train_forget)
    for before, each in itertools.pairwise(rounds):
        decoding = OPTIONS.decoding(each.index, small_world.decoding.max_new_tokens)
        drawn = lr.sample(before.checkpoint, small_world.forget, decoding)
        assert drawn.drawn == 0  # these are the samples that the round has searched
        said = {p.id: set(t) for p, t in zip(small_world.forget, drawn.texts, strict=True)}
        scores = metric.score(small_world.forget, drawn.texts)
        assert each.samples == len(small_world.forget) * OPTIONS.n == scores.values.size
        assert each.leaking_samples == int(scores.values.sum())
        assert each.leaking_prompts == sum(bool(row.any()) for row in scores)
        assert each.tokens == sum(drawn.table["n_tokens"].to_pylist())
        for prompt in each.added:
            question = prompt.messages[-1]["content"]
            assert prompt.reference in said[asked[question].id]
            assert metric.score([asked[question]], [[prompt.reference]]).values.tolist() == [1.0]
            assert (question, prompt.reference) not in known
            known.add((question, prompt.reference))
        per_prompt = Counter(p.messages[-1]["content"] for p in each.added)
        assert max(per_prompt.values(), default=0) <= 2
        size += len(each.added)
        assert each.forget_set_size == size
        assert each.steps == 12
        assert load.fingerprint(each.checkpoint) != load.fingerprint(before.checkpoint)


def test_leaks_are_taken_by_how_often_they_were_drawn() -> None:
    prompt = Prompt("p", ({"role": "user", "content": "q"},), "secret", cluster="a", side="forget")
    texts = ["x", "y", "z", "y", "secret", "", "z", "y", "w", "w", "w", "w"]
    leaks = np.array([t != "w" for t in texts])
    options = RuleOptions(cap=2)
    added = _collect(3, [prompt], [texts], [leaks], [prompt], options, None)
    # "secret" is in the forget set, the empty answer teaches nothing, and "w" does not leak.
    assert [p.reference for p in added] == ["y", "z"]
    assert [p.id for p in added] == ["p/3.0", "p/3.1"]
    assert all(p.messages == prompt.messages for p in added)
    everything = _collect(
        3, [prompt], [texts], [leaks], [prompt], dataclasses.replace(options, cap=None), None
    )
    assert [p.reference for p in everything] == ["y", "z", "x"]
    control = dataclasses.replace(options, added="non_leaks")
    wanted = {"user\0q": 5}
    others = _collect(3, [prompt], [texts], [leaks], [prompt], control, wanted)
    assert [p.reference for p in others] == ["w"]
    assert _collect(3, [prompt], [texts], [leaks], [prompt], control, {}) == []
    nothing = dataclasses.replace(options, added="none")
    assert _collect(3, [prompt], [texts], [leaks], [prompt], nothing, wanted) == []


@pytest.mark.parametrize("added", ["none", "non_leaks"])
def test_controls_take_rules_steps_and_add_none_of_its_leaks(
    small_original: Path, small_world: Benchmark, rounds: list[Round], added: Any
) -> None:
    options = dataclasses.replace(OPTIONS, added=added)
    control = searched_rounds(small_original, small_world, "NPO", 2, options)
    assert control[0].checkpoint == rounds[0].checkpoint
    assert [each.steps for each in control] == [each.steps for each in rounds]
    metric = load_metric("fact_match", small_world)
    asked = {p.messages[-1]["content"]: p for p in small_world.forget}
    for each, guide in zip(control[1:], rounds[1:], strict=True):
        if added == "none":
            assert each.added == ()
            assert each.forget_set_size == len(small_world.train_forget)
        else:
            count = Counter(p.messages[-1]["content"] for p in each.added)
            assert count <= Counter(p.messages[-1]["content"] for p in guide.added)
            for prompt in each.added:
                question = asked[prompt.messages[-1]["content"]]
                assert metric.score([question], [[prompt.reference]]).values.tolist() == [0.0]
    if added == "non_leaks":
        assert control[1].added
        assert control[1].checkpoint != rounds[1].checkpoint


def test_a_second_call_trains_and_samples_nothing(
    small_original: Path,
    small_world: Benchmark,
    rounds: list[Round],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("leakrepro.models.train.run", lambda *args, **kwargs: 1 / 0)
    monkeypatch.setattr("leakrepro.sampling.draw._fill", lambda *args, **kwargs: 1 / 0)
    assert searched_rounds(small_original, small_world, "NPO", 2, OPTIONS) == rounds


def test_restart_trains_from_the_original_model(
    small_original: Path, small_world: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Path, Path]] = []
    original = rule_rounds.__globals__["unlearn"]

    def record(start: Path, *args: Any, reference: Path, **kwargs: Any) -> Path:
        calls.append((start, reference))
        path: Path = original(start, *args, reference=reference, **kwargs)
        return path

    monkeypatch.setitem(rule_rounds.__globals__, "unlearn", record)
    done = {}
    for start in ("continue", "restart"):
        for reference in ("original", "current"):
            calls.clear()
            options = dataclasses.replace(OPTIONS, start=start, reference=reference)  # type: ignore[arg-type]
            done[start, reference] = searched_rounds(small_original, small_world, "NPO", 1, options)
            base = done[start, reference][0].checkpoint
            begun = base if start == "continue" else small_original
            held = small_original if reference == "original" else begun
            assert calls == [(small_original, small_original), (begun, held)]
    assert len({each[1].checkpoint for each in done.values()}) == 3


def test_the_retain_weight_may_grow_with_the_forget_set(
    small_original: Path, small_world: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights: list[float] = []
    original = rule_rounds.__globals__["unlearn"]

    def record(start: Path, world: Any, base: str, chosen: Any, **kwargs: Any) -> Path:
        weights.append(chosen.retain_weight)
        path: Path = original(start, world, base, chosen, **kwargs)
        return path

    monkeypatch.setitem(rule_rounds.__globals__, "unlearn", record)
    options = dataclasses.replace(OPTIONS, retain_growth="proportional")
    done = searched_rounds(small_original, small_world, "NPO", 1, options)
    growth = done[1].forget_set_size / len(small_world.train_forget)
    assert growth > 1
    assert weights == [2.0, pytest.approx(2.0 * growth)]


def test_no_leak_ends_it(small_original: Path, small_world: Benchmark) -> None:
    nothing = dataclasses.replace(
        small_world,
        forget=tuple(
            dataclasses.replace(p, facts=("nobody says this",)) for p in small_world.forget
        ),
    )
    for added in ("leaks", "none"):
        options = dataclasses.replace(OPTIONS, added=added)  # type: ignore[arg-type]
        done = searched_rounds(small_original, nothing, "NPO", 2, options)
        assert len({each.checkpoint for each in done}) == 1
        assert [each.steps for each in done[1:]] == [0, 0]
        assert [each.leaking_samples for each in done] == [0, 0, 0]


def test_the_search_may_ask_the_trained_questions(
    small_original: Path, small_world: Benchmark
) -> None:
    options = dataclasses.replace(OPTIONS, prompts="trained", n=8)
    done = searched_rounds(small_original, small_world, "NPO", 1, options)
    assert done[1].samples == 8 * len(small_world.train_forget)
    trained = {p.messages[-1]["content"] for p in small_world.train_forget}
    assert {p.messages[-1]["content"] for p in done[1].added} <= trained


def test_held_out_prompts_are_never_searched(small_world: Benchmark, rounds: list[Round]) -> None:
    held_out = {p.messages[-1]["content"] for p in small_world.held_out}
    assert not held_out & {p.messages[-1]["content"] for each in rounds for p in each.added}


def test_search_seeds_never_meet_evaluation_seeds(small_world: Benchmark) -> None:
    assert OPTIONS.decoding(1, 8).seed >= SEARCH_SEEDS
    runs = [OPTIONS.decoding(i, 8).seed for i in range(4)]
    runs += [dataclasses.replace(OPTIONS, seed=1).decoding(i, 8).seed for i in range(4)]
    assert len(set(runs)) == 8
    ids = [p.id for p in small_world.forget + small_world.held_out]
    # A prompt's samples take the seeds from this one on, fewer than 2**20 of them.
    first = [sample_seed(run, id, 0) for run in [*range(20), *runs] for id in ids]
    assert len({seed >> 20 for seed in first}) == len(first)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cap": 0}, "cap must be at least 1 or None, not 0"),
        ({"threshold": 0.0}, r"threshold must be in \(0, 1\], not 0"),
        ({"threshold": 1.5}, "threshold must be in"),
        ({"temperature": 0.0, "n": 1}, "a greedy search finds one answer"),
        ({"n": 0}, "n must be from 1"),
        ({"seed": -1}, "seed must be from 0"),
        ({"seed": 1 << 60}, "seed must be from 0"),
        ({"prompts": "all"}, "prompts must be one of asked, trained, not 'all'"),
        ({"start": "again"}, "start must be one of continue, restart"),
        ({"reference": "last"}, "reference must be one of original, current"),
        ({"retain_growth": "some"}, "retain_growth must be one of fixed, proportional"),
        ({"added": "all"}, "added must be one of leaks, none, non_leaks"),
    ],
)
def test_options_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RuleOptions(**changes)


def test_what_cannot_run_is_told_before_training(
    small_original: Path, small_world: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("leakrepro.models.train.run", lambda *args, **kwargs: 1 / 0)
    wrong = dataclasses.replace(OPTIONS, round=GradDiffOptions())
    with pytest.raises(ValueError, match="NPO takes NPOOptions in its rounds, not GradDiffOptions"):
        searched_rounds(small_original, small_world, "NPO", 1, wrong)
    unknown = dataclasses.replace(OPTIONS, metric="bleu")
    with pytest.raises(ValueError, match="unknown core metric 'bleu'"):
        searched_rounds(small_original, small_world, "NPO", 1, unknown)
    without = dataclasses.replace(
        small_world, forget=tuple(dataclasses.replace(p, facts=()) for p in small_world.forget)
    )
    with pytest.raises(ValueError, match="has no facts to look for"):
        searched_rounds(small_original, without, "NPO", 1, OPTIONS)
