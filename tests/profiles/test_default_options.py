"""``options=None`` takes the options of the profile that makes the benchmark's models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small_world as small
import yaml

import leakrepro as lr
from leakrepro.benchmarks import Benchmark
from leakrepro.evaluation import rule_runs
from leakrepro.profiles import models
from leakrepro.unlearning import NPOOptions, RuleOptions, SimNPOOptions, find_unlearned

METHOD = {"batch_size": 10, "accumulation": 1, "warmup_epochs": 0, "steps": 1}
NPO = NPOOptions(**METHOD, learning_rate=3e-4)  # type: ignore[arg-type]
PROFILE = small.profile(
    models={
        "Original": {"train": "full"},
        "NPO": {"unlearn": "NPO", "options": {**METHOD, "learning_rate": 3e-4}},
    },
    rule={
        "rounds": 1,
        "options": {"n": 8, "cap": 2},
        "bases": {"NPO": {"round": {"steps": 2}}},
    },
)


@pytest.fixture(autouse=True)
def _profile(
    tmp_path: Path, small_home: Path, small_original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A profile that makes the models of the small world."""
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(PROFILE))
    monkeypatch.setenv("LEAKREPRO_HOME", str(small_home))
    monkeypatch.setitem(models.MADE_BY, "fictional", (str(path), None))


def test_a_name_is_unlearned_with_the_options_of_its_profile(
    small_world: Benchmark, small_original: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = lr.unlearn("Original", small_world, "NPO")
    assert path == find_unlearned(small_original, small_world, "NPO", NPO)
    assert "NPO: options of profile 'small'" in capsys.readouterr().err


def test_a_method_without_options_in_the_profile_takes_its_defaults(
    small_world: Benchmark,
) -> None:
    options, source = models.options_for("Original", small_world, "SimNPO")
    assert options == SimNPOOptions()
    assert source == "its default options"


def test_a_folder_takes_the_defaults(small_world: Benchmark, small_original: Path) -> None:
    assert models.options_for(small_original, small_world, "NPO")[0] == NPOOptions()
    assert models.options_for(str(small_original), small_world, "NPO")[0] == NPOOptions()


@pytest.mark.parametrize("given", [None, RuleOptions(n=4)])
def test_rule_takes_them_for_round_0_and_the_rounds(
    small_world: Benchmark,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: RuleOptions | None,
) -> None:
    taken: list[RuleOptions] = []

    def record(*args: Any, **_: Any) -> list[Any]:
        taken.append(args[4])
        return []

    monkeypatch.setattr(rule_runs, "rule_rounds", record)
    lr.rule("Original", small_world, "NPO", 1, given)
    (options,) = taken
    assert options.base == NPO
    assert isinstance(options.round, NPOOptions)
    assert (options.round.learning_rate, options.round.steps) == (3e-4, 2)
    assert (options.n, options.cap) == ((8, 2) if given is None else (4, given.cap))
    assert "RULE around NPO: options of profile 'small'" in capsys.readouterr().err


def test_rule_around_a_folder_takes_the_defaults(
    small_world: Benchmark, small_original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[RuleOptions] = []
    monkeypatch.setattr(rule_runs, "rule_rounds", lambda *args, **_: taken.append(args[4]) or [])
    lr.rule(small_original, small_world, "NPO", 1)
    assert taken == [RuleOptions(base=NPOOptions())]


class SaysIt:
    """Scores 1 when an answer has the letter e; counts the calls on samples."""

    id = "says_e"
    higher_is_better = False

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def score(self, prompts: Any, candidates: Any) -> lr.Scores:
        self.sizes.append(len(candidates[0]) if candidates else 0)
        return lr.Scores.from_rows([[float("e" in t) for t in row] for row in candidates])


def test_rule_searches_by_the_metric_that_it_reports(
    small_world: Benchmark, small_original: Path
) -> None:
    options = RuleOptions(base=NPO, n=7, cap=1)
    metric = SaysIt()
    decoding = lr.Decoding(n=3, max_new_tokens=16)
    result = lr.rule(
        small_original,
        small_world,
        "NPO",
        1,
        options,
        decoding=decoding,
        metric=metric,
        retain_n=2,
    )
    assert 7 in metric.sizes  # the search draws seven samples per prompt
    assert list(result.rounds[0].report.curves) == ["says_e"]
    # Nearly every English answer has an e, so that all prompts leak by this metric.
    assert result.rounds[1].leaking_prompts == len(small_world.forget)
