"""A profile's engine and executor reach everything that samples: RULE's search, too."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import small_world as small

import leakrepro as lr
from leakrepro.benchmarks import Benchmark
from leakrepro.execution import executors
from leakrepro.execution import ray as cluster
from leakrepro.models.tiny import tiny_model
from leakrepro.profiles.schema import Profile
from leakrepro.reproduction.tuning import tune, tune_rules
from leakrepro.sampling.engines.hf import HFOptions, HFSampler
from leakrepro.sampling.engines.vllm import VLLMOptions
from leakrepro.unlearning.rule import SEARCH_SEEDS

METHOD = {"batch_size": 10, "accumulation": 1, "warmup_epochs": 0}
MODELS = {
    "Original": {"train": "full"},
    "Retrain": {"train": "retain"},
    "NPO": {"unlearn": "NPO", "options": {**METHOD, "learning_rate": 3e-4, "epochs": 2}},
}
RULE = {
    "rounds": 1,
    "options": {"n": 8, "cap": 2},
    "bases": {"NPO": {"round": {"learning_rate": 1e-3, "steps": 6}}},
    "controls": ["NPO"],
}
TUNING = {
    "min_retain": 0.5,
    "worlds": [{}],
    "grids": {"NPO": {"epochs": [2]}},
    "rule_grids": {"NPO": {"steps": [6]}},
}


def profile(**changes: Any) -> Profile:
    content = small.profile(models=MODELS, rule=RULE, tuning=TUNING, **changes)
    return Profile.model_validate({**content, "name": "small"})


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home: nothing may be read that another engine or executor has drawn."""
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def models(home: Path, small_world: Benchmark) -> dict[str, Path]:
    sides = {"Original": "full", "Retrain": "retain"}
    return {name: tiny_model(small_world, side, small.RECIPE) for name, side in sides.items()}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, str]]:
    """Counts the samples that each engine draws for search and for evaluation.

    vLLM is replaced by the other engine's sampler, since what matters is who is asked.
    """
    counts: Counter[tuple[str, str]] = Counter()

    class Counting(HFSampler):
        engine = ""

        def draw(self, requests: Sequence[Any], decoding: lr.Decoding, *args: Any) -> Any:
            part = "search" if decoding.seed >= SEARCH_SEEDS else "evaluation"
            counts[self.engine, part] += sum(r.stop - r.start for r in requests)
            return super().draw(requests, decoding, *args)

    def counting(options: Any, model: Path) -> Counting:
        sampler = Counting(model)
        sampler.engine = options.name
        return sampler

    monkeypatch.setattr(VLLMOptions, "check", lambda *_: None)
    monkeypatch.setattr(VLLMOptions, "open", counting)
    monkeypatch.setattr(VLLMOptions, "packages", HFOptions.packages)
    monkeypatch.setattr(HFOptions, "open", counting)
    return counts


def test_the_engine_draws_for_search_and_evaluation(
    small_world: Benchmark, models: dict[str, Path], drawn: Counter[tuple[str, str]]
) -> None:
    results = lr.make_rules(profile(engine="vllm"), small_world, models)
    assert len(results) == 3
    # The controls read the samples of RULE's search.
    assert drawn["vllm", "search"] == 8 * len(small_world.forget)
    # The forget prompts of five models at least: Retrain, NPO and each last round.
    assert drawn["vllm", "evaluation"] >= 5 * len(small_world.forget) * 8
    assert {engine for engine, _ in drawn} == {"vllm"}


def test_tuning_and_reports_draw_with_the_engine(
    small_world: Benchmark, models: dict[str, Path], drawn: Counter[tuple[str, str]]
) -> None:
    settings = profile(engine="vllm")
    tune(settings)
    tune_rules(settings)
    assert drawn["vllm", "search"] > 0
    before = drawn["vllm", "evaluation"]
    world = dataclasses.replace(small_world, forget=small_world.forget[:3])
    lr.make_reports(settings, world, models)
    lr.make_answers(settings, world, models, "fact_match")
    assert drawn["vllm", "evaluation"] > before
    assert {engine for engine, _ in drawn} == {"vllm"}


@pytest.fixture
def on_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The number of tasks of each call that ran on Ray; a call on local workers fails."""
    ray = pytest.importorskip("ray")
    tasks: list[int] = []
    stream = cluster.stream

    def counted(function: Any, arguments: Sequence[Any], **options: Any) -> Any:
        tasks.append(len(arguments))
        return stream(function, arguments, **options)

    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("a task ran on local workers")

    monkeypatch.setattr(cluster, "stream", counted)
    monkeypatch.setattr(executors, "local", SimpleNamespace(stream=refused))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield tasks
    ray.shutdown()


@pytest.mark.filterwarnings("default")  # Ray's own code
def test_rule_searches_and_evaluates_on_ray(
    small_world: Benchmark, models: dict[str, Path], on_ray: list[int]
) -> None:
    settings = profile(executor="ray", workers=2)
    rules = settings.model_dump()
    rules["rule"]["controls"] = []
    (result,) = lr.make_rules(Profile.model_validate(rules), small_world, models)
    # One search; three evaluations on two sets of prompts, each with forget, retain and greedy
    # samples, of which retain and greedy retain samples are shared by the two sets.
    assert result.rounds[1].search_samples == 8 * len(small_world.forget)
    assert len(on_ray) >= 1 + 3 * 2 * 2
    assert all(count > 0 for count in on_ray)
