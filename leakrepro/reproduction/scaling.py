"""The measured workload of the notebooks, and how it scales with a profile.

The table is packaged; ``leakrepro.reproduction.workload`` measures it in a run of the profile
``embedded``. Another profile scales it with its number of models, prompts, samples per prompt,
decodings, seeds and rounds of RULE.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, NamedTuple

from leakrepro.benchmarks import Benchmark, load_benchmark
from leakrepro.errors import DataError
from leakrepro.profiles.schema import Hosted, Profile, Unlearned
from leakrepro.storage import paths
from leakrepro.types import Prompt

# Groups of models, by the name that the table uses.
MODELS = "models"  # all models of the profile
STUDIED = "studied"  # those that notebooks 05 to 11 use
LAST = "last"  # the last of these
ORIGINAL, RETRAIN = "Original", "Retrain"
METHOD = "method"  # the model that notebook 02 trains
BASES = "bases"  # RULE's base methods
ROUNDS = "rounds"  # models of RULE's rounds and of its controls
SEARCHED = "searched"  # those of them that a search samples
GROUPS = (MODELS, STUDIED, LAST, ORIGINAL, RETRAIN, METHOD, BASES, ROUNDS, SEARCHED)

SIDES = ("forget", "retain", "held out", "forget and retain", "held out and retain")
TABLE = "reference/measured/workload_embedded.json"
_METHOD = "NPO"  # the default method of notebook 02
_TOFU_FORGET = {"forget01": 40, "forget05": 200, "forget10": 400}
_WMDP = {"bio": 1273, "chem": 408, "cyber": 1987}
_TEXT = 200  # assumed bytes of a question with its answer, where the files are not available
_ASK_JUDGE = ("06_core_metrics", "13_wmdp")  # notebooks that ask the profile's judge
_COMPARE_METRICS = ("06_core_metrics", "09_evaluation_cost")  # that use its core_metrics
_ENTAILMENT = "entailment/embedded"  # trained here
_EVERY_WORLD = ", every world"  # end of the name of a number of prompts
_ASKING = ("task", "style", "items", "retain_items")  # options that change only the questions
_MUSE = "muse"  # the names of all studies of MUSE begin so


@dataclass(frozen=True)
class StoreGroup:
    """Sample stores of the measured run that scale alike.

    Attributes:
        study: Study of the profile; empty for the profile itself.
        used_by: Notebook -> the group of models whose number the stores scale with.
        factors: Other sizes that the samples scale with, names of ``sizes``.
        samples: Samples in the stores.
        tokens: Tokens of these samples.
    """

    study: str
    used_by: Mapping[str, str]
    factors: tuple[str, ...]
    samples: int
    tokens: int


@dataclass(frozen=True)
class Workload:
    """The workload of the notebooks in the measured run.

    Attributes:
        profile: Name of the measured profile.
        sizes: Study -> its ``sizes`` in the measured profile.
        stores: Groups of sample stores, each store in one of them.
    """

    profile: str
    sizes: Mapping[str, Mapping[str, float]]
    stores: tuple[StoreGroup, ...]

    def groups(self, stem: str) -> dict[str, list[str]]:
        """Study -> the groups of models that a notebook samples; empty for an unknown notebook."""
        found: dict[str, list[str]] = {}
        for stores in self.stores:
            if stem in stores.used_by:
                found.setdefault(stores.study, []).append(stores.used_by[stem])
        return found

    @property
    def notebooks(self) -> list[str]:
        """Stems of the measured notebooks."""
        return sorted({stem for stores in self.stores for stem in stores.used_by})

    def dump(self) -> str:
        """The table as JSON, one group of stores per line."""
        content = dataclasses.asdict(self)
        stores = ",\n".join(f"  {json.dumps(group)}" for group in content.pop("stores"))
        return json.dumps(content, indent=1)[:-2] + f',\n "stores": [\n{stores}\n ]\n}}\n'

    @classmethod
    def load(cls, text: str) -> Workload:
        """The inverse of ``dump``."""
        content = json.loads(text)
        groups = [StoreGroup(**g | {"factors": tuple(g["factors"])}) for g in content["stores"]]
        return cls(content["profile"], content["sizes"], tuple(groups))


@functools.cache
def load_workload() -> Workload:
    """The packaged table, of a run of the profile ``embedded``."""
    file = resources.files("leakrepro") / TABLE
    return Workload.load(file.read_text(encoding="utf-8"))


class Member(NamedTuple):
    """A model of a group.

    Attributes:
        name: Its name; models with the same name are the same model.
        hub: Hub id (``"org/name@revision"``) of the model, or of the model that it is trained from;
            None for a model that is trained from random weights.
        trained: Whether a run trains it.
        shared: Whether it is a model of the profile's table.
    """

    name: str
    hub: str | None
    trained: bool
    shared: bool


def members(profile: Profile, group: str) -> list[Member]:
    """The models of a group in a profile.

    Args:
        profile: A profile or one of its studies.
        group: One of ``GROUPS``.
    """
    specs = profile.models
    hubs = {
        name: f"{spec.hub}@{spec.revision}" if spec.revision else spec.hub
        for name, spec in specs.items()
        if isinstance(spec, Hosted)
    }
    studied = list(profile.studied or specs)
    tables = {
        MODELS: list(specs),
        STUDIED: studied,
        LAST: studied[-1:],
        ORIGINAL: [ORIGINAL],
        RETRAIN: [RETRAIN],
    }
    if group in tables:
        names = [name for name in tables[group] if name in specs]
        return [Member(name, hubs.get(name), name not in hubs, shared=True) for name in names]

    def made(name: str, shared: bool = False) -> Member:
        return Member(name, hubs.get(ORIGINAL), True, shared)

    rule = profile.rule
    bases = rule.bases if rule else {}

    def is_shared(base: str) -> bool:
        """Whether a base method's model is the profile's, not one with other options."""
        own = base in bases and bases[base].options is not None
        return isinstance(specs.get(base), Unlearned) and not own

    if group == METHOD:  # trained apart for its curves, with the weights of the profile's model
        return [made(f"{_METHOD}, watched", is_shared(_METHOD))]
    if group == BASES:
        return [made(b if is_shared(b) else f"{b}, own", is_shared(b)) for b in bases]
    if rule is None:
        return []
    rounds = range(1, rule.rounds + (group == ROUNDS))  # the last round's model is not searched
    runs = [("RULE", base) for base in bases]
    runs += [(kind, base) for base in rule.controls for kind in ("more steps", "non-leaks")]
    return [made(f"{kind} {base} {i}") for kind, base in runs for i in rounds]


class _Prompts(NamedTuple):
    """Prompts of a benchmark.

    Attributes:
        forget: Number of forget prompts.
        retain: Number of retain prompts.
        held_out: Number of held-out prompts.
        text: Mean bytes of a forget prompt's question with its answer.
    """

    forget: float
    retain: float
    held_out: float = 0.0
    text: float = _TEXT


def sizes(profile: Profile) -> dict[str, float]:
    """The sizes that a notebook's workload scales with, by name.

    Prompts are counted where the benchmark's files are available (``LEAKREPRO_DATA``, or a
    benchmark that is made from a seed). Otherwise the known sizes are used, and nan if there are
    none. Nothing is downloaded.

    Args:
        profile: A profile or one of its studies.
    """
    options = [{**profile.benchmark_options, **world} for world in profile.worlds]
    worlds = [_count(profile.benchmark, each) for each in options]
    decoding = profile.decoding
    found = {group: float(len(members(profile, group))) for group in GROUPS}
    for suffix, counted in (("", worlds[:1]), (_EVERY_WORLD, worlds)):
        forget = float(sum(world.forget for world in counted))
        retain = float(sum(world.retain for world in counted))
        held_out = float(sum(world.held_out for world in counted))
        found |= {
            f"forget{suffix}": forget,
            f"retain{suffix}": retain,
            f"held out{suffix}": held_out,
            f"forget and retain{suffix}": forget + retain,
            f"held out and retain{suffix}": held_out + retain,
        }
    return found | {
        "n": float(decoding.n),
        "retain_n": float(profile.retain_n),
        "grid_n": float(profile.grid_n or decoding.n),
        "search n": float(profile.rule.options.get("n", 200) if profile.rule else 0),
        "largest k": float(max(profile.k)),
        "other cells": float(len(other_cells(profile))),
        "other seeds": float(profile.seeds - 1),
        "max_new_tokens": float(decoding.max_new_tokens),
        "text": worlds[0].text,
    }


@dataclass(frozen=True)
class Task:
    """What a notebook does in one study.

    Attributes:
        stem: The notebook.
        measured: The study of the measured run.
        name: The study of the profile; empty for the profile itself.
        profile: The profile or its study.
        groups: Groups of models that the notebook samples.
    """

    stem: str
    measured: str
    name: str
    profile: Profile
    groups: tuple[str, ...]

    @property
    def is_every_world(self) -> bool:
        """Whether the notebook runs on every world: RULE on the profile, all models on MUSE."""
        if self.measured:
            return self.measured.startswith(_MUSE) and MODELS in self.groups
        return BASES in self.groups

    @property
    def worlds(self) -> list[str]:
        """The benchmark's worlds, without options that change the questions and not the models."""
        profile = self.profile
        worlds = profile.worlds if self.is_every_world else profile.worlds[:1]
        options = [{**profile.benchmark_options, **world} for world in worlds]
        own = [{key: v for key, v in each.items() if key not in _ASKING} for each in options]
        return list(dict.fromkeys(f"{profile.benchmark} {each}" for each in own))

    @property
    def models(self) -> list[Member]:
        """The models that the notebook samples."""
        return [member for group in self.groups for member in members(self.profile, group)]

    @property
    def trained(self) -> set[tuple[str, str]]:
        """World and name of the models that it trains, with those that they start from."""
        names = {member.name for member in self.models if member.trained}
        if names - {ORIGINAL, RETRAIN}:
            names |= {m.name for m in members(self.profile, ORIGINAL) if m.trained}
        trained = {(world, name) for world in self.worlds for name in names}
        # One entailment model serves all fictional worlds.
        return trained | {("", metric) for metric in self.metrics if metric == _ENTAILMENT}

    @property
    def metrics(self) -> list[str]:
        """Ids of the core metrics that score the samples, as far as the profile names them."""
        found = [*(self.profile.metrics or ())]
        if self.stem in _COMPARE_METRICS:
            found += self.profile.core_metrics
        if self.stem in _ASK_JUDGE and self.profile.judge:
            found.append(self.profile.judge)
        return found

    @property
    def judges(self) -> list[str]:
        """Ids of the LLM judges among the metrics."""
        return [metric for metric in self.metrics if metric.startswith("judge/")]


@dataclass(frozen=True)
class Draw:
    """A group of sample stores, scaled to the profile.

    Attributes:
        key: The same for what several notebooks share.
        task: The notebook and study.
        models: The models that are sampled, in every world.
        samples: Samples; nan if the number of prompts is not known.
        tokens: Tokens of these samples.
        text: Bytes of a question with its answer.
    """

    key: tuple[int, str, bool]
    task: Task
    models: tuple[Member, ...]
    samples: float
    tokens: float
    text: float


def find_tasks(workload: Workload, stem: str, studies: Mapping[str, Profile]) -> Iterator[Task]:
    """The studies of a notebook that the profile has; none for a notebook without a record."""
    for measured, used in workload.groups(stem).items():
        groups = tuple(dict.fromkeys(used))
        # Notebook 12 shows all studies of MUSE.
        is_family = measured.startswith(_MUSE) and MODELS in groups
        for name, profile in studies.items():
            if name == measured or (is_family and name.startswith(_MUSE)):
                yield Task(stem, measured, name, profile, groups)


def scale(workload: Workload, task: Task, now: Mapping[str, float]) -> Iterator[Draw]:
    """The sample stores of a task, scaled from the measured run."""
    then = workload.sizes[task.measured]
    for index, stores in enumerate(workload.stores):
        if task.stem not in stores.used_by or stores.study != task.measured:
            continue
        group = stores.used_by[task.stem]
        if models := tuple(members(task.profile, group)):
            factors = [group, *stores.factors]
            if task.is_every_world:
                factors = [f"{f}{_EVERY_WORLD}" if f in SIDES else f for f in factors]
            above, below = (math.prod(each[f] for f in factors) for each in (now, then))
            samples = stores.samples * above / below
            longer = now["max_new_tokens"] / then["max_new_tokens"]
            yield Draw(
                key=(index, task.name, all(model.shared for model in models)),
                task=task,
                models=models,
                samples=samples,
                tokens=max(stores.tokens * above / below * longer, samples),
                text=now["text"],
            )


def other_cells(profile: Profile) -> set[tuple[float, float]]:
    """The decoding grid without the profile's own decoding."""
    return set(profile.grid) - {(profile.decoding.temperature, profile.decoding.top_p)}


def _count(name: str, options: Mapping[str, Any]) -> _Prompts:
    """Prompts of one benchmark."""
    if name.startswith("fictional") or paths.data() is not None:
        try:
            return _counted(load_benchmark(name, **options))
        except DataError:
            pass
    if name == "tofu":
        forget = _TOFU_FORGET[options.get("forget", "forget10")]
        forget = 20 * options["authors"] if options.get("authors") else forget
        given = (options.get("retain_questions"), options.get("retain_eval"), 400)
        return _Prompts(forget, min(count for count in given if count), forget)
    if name in ("muse-news", "muse-books"):
        count = options.get("questions") or 100
        return _Prompts(count, count)
    if name == "wmdp":
        subsets = options.get("subsets") or list(_WMDP)
        each = [min(_WMDP[s], options.get("items") or _WMDP[s]) for s in subsets]
        return _Prompts(sum(each), options.get("retain_items", 400) or 14_042)
    return _Prompts(math.nan, math.nan, math.nan)


def _counted(benchmark: Benchmark) -> _Prompts:
    def size(prompt: Prompt) -> int:
        return len((prompt.messages[-1]["content"] + prompt.reference).encode("utf-8", "replace"))

    text = sum(map(size, benchmark.forget)) / len(benchmark.forget)
    forget, retain = len(benchmark.forget), len(benchmark.retain)
    return _Prompts(forget, retain, len(benchmark.held_out), text)
