"""What each notebook samples, trains and asks, declared: a dry run runs no notebook."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from leakrepro.benchmarks import Benchmark, load_benchmark
from leakrepro.errors import DataError
from leakrepro.profiles.schema import Hosted, Profile
from leakrepro.storage import paths
from leakrepro.types import Decoding, Prompt

Kind = Literal["forget", "retain", "both", "held out"]
Load = Callable[[str | None], Profile]  # of a study, or with None of the profile itself

_TOFU_FORGET = {"forget01": 40, "forget05": 200, "forget10": 400}
_WMDP = {"bio": 1273, "chem": 408, "cyber": 1987}
_RETAIN_CELL = 3  # samples a retain prompt in a cell of notebook 10
_TEXT = 200  # bytes of a question with its answer, where the files are not here


@dataclass(frozen=True)
class Sizes:
    """Prompts of a benchmark.

    Attributes:
        forget: How many ...
        retain: ... of each side ...
        held_out: ... and of those that RULE never searches.
        text: Bytes of a question with its answer, the mean over the forget prompts.
    """

    forget: int
    retain: int
    held_out: int = 0
    text: float = _TEXT

    def count(self, kind: Kind) -> int:
        counts = {
            "forget": self.forget,
            "retain": self.retain,
            "both": self.forget + self.retain,
            "held out": self.held_out,
        }
        return counts[kind]


@dataclass(frozen=True)
class Task:
    """A benchmark under a profile or one of its studies.

    Attributes:
        profile: The study's.
        benchmark: Name of the benchmark with its options.
        sizes: Its prompts; None when neither the files nor the sizes are known.
    """

    profile: Profile
    benchmark: str
    sizes: Sizes | None


@dataclass(frozen=True)
class Draw:
    """Samples of one model; the same draw of two notebooks is drawn once."""

    benchmark: str
    model: str
    kind: Kind
    decoding: Decoding
    prompts: int | None

    @property
    def samples(self) -> float:
        """nan where the number of prompts is not known."""
        return math.nan if self.prompts is None else self.prompts * self.decoding.n

    @property
    def tokens(self) -> float:
        """At most so many are generated."""
        return self.samples * self.decoding.max_new_tokens


@dataclass
class Needs:
    """What a notebook needs.

    Attributes:
        draws: Samples, each with the hub id of its model where it has one.
        models: (benchmark, name) -> the model's entry in the profile.
        trainings: Models that are trained, by benchmark and name.
        metrics: Ids of core metrics.
        judged: (id of a judge, what it reads, bytes of a question with its answer).
        tasks: Benchmarks.
    """

    draws: dict[Draw, str | None] = field(default_factory=dict)
    models: dict[tuple[str, str], Any] = field(default_factory=dict)
    trainings: set[tuple[str, str]] = field(default_factory=set)
    metrics: dict[str, None] = field(default_factory=dict)
    judged: set[tuple[str, Draw, float]] = field(default_factory=set)
    tasks: dict[str, Task] = field(default_factory=dict)

    def __or__(self, other: Needs) -> Needs:
        return Needs(
            self.draws | other.draws,
            self.models | other.models,
            self.trainings | other.trainings,
            self.metrics | other.metrics,
            self.judged | other.judged,
            self.tasks | other.tasks,
        )

    def take(self, task: Task, names: Iterable[str]) -> list[str]:
        """Models of a task that a notebook makes, by name; those that there are."""
        self.tasks[task.benchmark] = task
        taken = [name for name in names if name in task.profile.models]
        for name in taken:
            spec = task.profile.models[name]
            self.models[task.benchmark, name] = spec
            if not isinstance(spec, Hosted):
                # Methods start from the model that is trained on everything.
                self.trainings |= {(task.benchmark, "Original"), (task.benchmark, name)}
        return taken

    def sample(self, task: Task, model: str, kind: Kind, decoding: Decoding) -> Draw:
        """A call of ``leakrepro.sample``."""
        prompts = None if task.sizes is None else task.sizes.count(kind)
        draw = Draw(task.benchmark, model, kind, decoding, prompts)
        spec = task.profile.models.get(model) or task.profile.models.get("Original")
        self.draws[draw] = spec.hub if isinstance(spec, Hosted) else None
        return draw

    def evaluate(
        self,
        task: Task,
        model: str,
        decoding: Decoding | None = None,
        *,
        retain_n: int | None = None,
        metrics: Iterable[str] | None = None,
        forget: Kind = "forget",
    ) -> None:
        """A call of ``leakrepro.evaluate``."""
        how = decoding or task.profile.decoding
        retain = how.replace(n=retain_n or task.profile.retain_n)
        drawn = [
            self.sample(task, model, kind, each)
            for kind, each in ((forget, how), ("retain", retain), ("both", how.greedy()))
        ]
        asked = (task.profile.metrics or ()) if metrics is None else metrics
        self.metrics |= dict.fromkeys(asked)
        size = task.sizes.text if task.sizes else _TEXT
        self.judged |= {(id, d, size) for id in asked if id.startswith("judge/") for d in drawn}

    def rule(self, task: Task) -> None:
        """A call of ``leakrepro.make_rules``: base methods, rounds, controls and their searches."""
        profile = task.profile
        if profile.rule is None:
            return
        options = profile.rule.options
        search = profile.decoding.replace(n=options.get("n", 200))
        for base in profile.rule.bases:
            controls = ["more steps", "non-leaks added"] if base in profile.rule.controls else []
            # With options of its own it is another model than the profile's of this name.
            first = base if profile.rule.bases[base].options is None else f"{base}, trained here"
            for kind in ["RULE", *controls]:
                for index in range(profile.rule.rounds + 1):
                    name = f"{kind} {base} {index}" if index else first
                    self.trainings.add((task.benchmark, name))
                    self.evaluate(task, name)
                    if task.sizes is None or task.sizes.held_out:
                        self.evaluate(task, name, forget="held out")
                    if index < profile.rule.rounds:
                        self.sample(task, name, "forget", search.replace(seed=(1 << 62) + index))


def _task(profile: Profile, world: Mapping[str, Any] | None = None) -> Task:
    options = {**profile.benchmark_options, **(world or {})}
    shown = ", ".join(f"{key}={value}" for key, value in options.items())
    name = f"{profile.benchmark}({shown})"
    return Task(profile, name, _sizes(profile.benchmark, options))


def _studied(profile: Profile) -> list[str]:
    return list(profile.studied or profile.models)


def _quickstart(load: Load) -> Needs:
    """A third of the forget prompts of one model; here all of them, which is more."""
    needs, task = Needs(), _task(load(None))
    (name,) = needs.take(task, _studied(task.profile)[-1:])
    for decoding in (task.profile.decoding, task.profile.decoding.greedy()):
        needs.sample(task, name, "forget", decoding)
    return needs


def _leak_curves(load: Load) -> Needs:
    needs, task = Needs(), _task(load(None))
    for name in needs.take(task, task.profile.models):
        needs.evaluate(task, name)
    return needs


def _unlearn(load: Load) -> Needs:
    needs, task = Needs(), _task(load(None))
    needs.take(task, ["Original", "Retrain"])
    needs.trainings.add((task.benchmark, "NPO, watched"))
    for name in ("Original", "Retrain", "NPO, watched"):
        needs.evaluate(task, name)
    return needs


def _rule(load: Load) -> Needs:
    needs, profile = Needs(), load(None)
    for world in profile.worlds:
        task = _task(profile, world)
        needs.take(task, ["Original", "Retrain"])
        needs.evaluate(task, "Retrain")
        needs.rule(task)
    return needs


def _grid(load: Load) -> Needs:
    needs, task = Needs(), _task(load(None))
    n = task.profile.grid_n or task.profile.decoding.n
    for name in needs.take(task, _studied(task.profile)):
        for temperature, top_p in task.profile.grid:
            cell = task.profile.decoding.replace(temperature=temperature, top_p=top_p, n=n)
            needs.evaluate(task, name, cell, retain_n=1)
    return needs


def _core_metrics(load: Load) -> Needs:
    needs, task = Needs(), _task(load(None))
    judge = [task.profile.judge] if task.profile.judge else []
    for name in needs.take(task, _studied(task.profile)):
        needs.evaluate(task, name, metrics=[*task.profile.core_metrics, *judge])
    return needs


def _forget_alone(load: Load) -> Needs:
    """The forget prompts, sampled and greedily: notebooks 07 and 11."""
    needs, task = Needs(), _task(load(None))
    needs.metrics |= dict.fromkeys(task.profile.metrics or ())
    for name in needs.take(task, _studied(task.profile)):
        for decoding in (task.profile.decoding, task.profile.decoding.greedy()):
            needs.sample(task, name, "forget", decoding)
    return needs


def _variance(load: Load) -> Needs:
    needs, task = Needs(), _task(load(None))
    needs.metrics |= dict.fromkeys(task.profile.metrics or ())
    (name,) = needs.take(task, _studied(task.profile)[-1:])
    first = task.profile.decoding.seed
    for seed in range(first, first + task.profile.seeds):
        needs.sample(task, name, "forget", task.profile.decoding.replace(seed=seed))
    return needs


def _cost(load: Load) -> Needs:
    """Two cells, the headline one, and the adaptive plan, which ends at the largest k."""
    needs, task = Needs(), _task(load(None))
    how = task.profile.decoding
    needs.metrics |= dict.fromkeys([*(task.profile.metrics or ()), *task.profile.core_metrics])
    for name in needs.take(task, _studied(task.profile)):
        for temperature, top_p in ((0.8, 0.8), (0.8, 1.0), (how.temperature, how.top_p)):
            cell = how.replace(temperature=temperature, top_p=top_p)
            needs.sample(task, name, "forget", cell)
        needs.sample(task, name, "forget", how.replace(n=max(task.profile.k)))
    return needs


def _retain_quality(load: Load) -> Needs:
    """Retain prompts under the headline decoding, and a few samples under the grid's others."""
    needs, task = Needs(), _task(load(None))
    needs.metrics |= dict.fromkeys(task.profile.metrics or ())
    how = task.profile.decoding.replace(n=task.profile.retain_n)
    cells = [how.replace(temperature=t, top_p=p) for t, p in task.profile.grid]
    cells = [cell if cell == how else cell.replace(n=_RETAIN_CELL) for cell in cells]
    for name in needs.take(task, _studied(task.profile)):
        for decoding in (how.greedy(), *cells):
            needs.sample(task, name, "retain", decoding)
    return needs


def _studies(prefix: str) -> Callable[[Load], Needs]:
    """All models of the studies whose names begin so, on each of their worlds."""

    def need(load: Load) -> Needs:
        needs = Needs()
        for name in load(None).studies:
            profile = load(name) if name.startswith(prefix) else None
            for world in profile.worlds if profile else ():
                assert profile is not None
                task = _task(profile, world)
                metrics = [profile.judge] if profile.judge else []
                for model in needs.take(task, profile.models):
                    needs.evaluate(task, model, metrics=[*metrics, *(profile.metrics or ())])
        return needs

    return need


def _rule_muse(load: Load) -> Needs:
    needs = Needs()
    if "muse-news" in load(None).studies:
        profile = load("muse-news")
        task = _task(profile, profile.worlds[0])
        for name in needs.take(task, ["Original", "Retrain"]):
            needs.evaluate(task, name)
        needs.rule(task)
    return needs


# Every notebook of the package by its stem.
NEEDS: Mapping[str, Callable[[Load], Needs]] = {
    "00_quickstart": _quickstart,
    "01_leak_curves": _leak_curves,
    "02_unlearn": _unlearn,
    "03_rule_trajectories": _rule,
    "04_rule_before_after": _rule,
    "05_decoding_grid": _grid,
    "06_core_metrics": _core_metrics,
    "07_leak_histograms": _forget_alone,
    "08_estimator_variance": _variance,
    "09_evaluation_cost": _cost,
    "10_retain_quality": _retain_quality,
    "11_example_generations": _forget_alone,
    "12_muse": _studies("muse"),
    "13_wmdp": _studies("wmdp"),
    "14_rule_muse": _rule_muse,
}


def _sizes(name: str, options: Mapping[str, Any]) -> Sizes | None:
    """Prompts of a benchmark: counted where its files are here, else as they are known.

    Nothing is downloaded.
    """
    if name.startswith("fictional") or paths.data() is not None:
        try:
            return _counted(load_benchmark(name, **options))
        except DataError:
            pass
    if name == "tofu":
        forget = _TOFU_FORGET[options.get("forget", "forget10")]
        forget = 20 * options["authors"] if options.get("authors") else forget
        given = (options.get("retain_questions"), options.get("retain_eval"), 400)
        return Sizes(forget, min(count for count in given if count), forget)
    if name in ("muse-news", "muse-books"):
        count = options.get("questions") or 100
        return Sizes(count, count)
    if name == "wmdp":
        subsets = options.get("subsets") or list(_WMDP)
        each = [min(_WMDP[s], options.get("items") or _WMDP[s]) for s in subsets]
        return Sizes(sum(each), options.get("retain_items", 400) or 14_042)
    return None


def _counted(benchmark: Benchmark) -> Sizes:
    def size(prompt: Prompt) -> int:
        return len((prompt.messages[-1]["content"] + prompt.reference).encode("utf-8", "replace"))

    text = sum(map(size, benchmark.forget)) / len(benchmark.forget)
    forget, retain = len(benchmark.forget), len(benchmark.retain)
    return Sizes(forget, retain, len(benchmark.held_out), text)
