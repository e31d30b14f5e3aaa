"""The models of a study by their names in the table, trained or downloaded on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from leakrepro.benchmarks.base import Benchmark
from leakrepro.execution import local
from leakrepro.models import load
from leakrepro.models.nli import entailment_model
from leakrepro.models.tiny import TinyRecipe, find_tiny_model, tiny_model
from leakrepro.models.train import Progress
from leakrepro.profiles.schema import Hosted, Profile, Trained, Unlearned, fill, load_profile
from leakrepro.sampling.engines.table import ENGINES, Engine
from leakrepro.unlearning import UnlearnOptions, find_method, find_unlearned, unlearn


def make_models(
    profile: Profile, benchmark: Benchmark, names: Sequence[str] | None = None
) -> dict[str, Path]:
    """The folder of each model of a profile, trained, downloaded or reused.

    Models that do not build on each other are made side by side in ``profile.workers`` processes.

    Args:
        profile: Which models, and how they are made.
        benchmark: Trained on; usually ``load_benchmark(profile.benchmark, ...)``.
        names: Only these of its models, in this order; None for all.

    Raises:
        ValueError: for a recipe, method or option that does not exist.
        FileNotFoundError: for a checkpoint that cannot be found.
        FloatingPointError: when a training diverges.
    """
    wanted_names = list(profile.models) if names is None else names
    specs = {n: profile.models[n] for n in wanted_names if n in profile.models}
    recipe = fill(TinyRecipe, profile.training, f"profile {profile.name!r}, training")
    unlearned = {name: spec for name, spec in specs.items() if isinstance(spec, Unlearned)}
    options = {name: method_options(profile, name) for name in unlearned}
    # First: a missing checkpoint should not be found out after hours of training.
    made = {
        name: load.locate(spec.hub, spec.revision)
        for name, spec in specs.items()
        if isinstance(spec, Hosted)
    }
    wanted = {spec.train for spec in specs.values() if isinstance(spec, Trained)}
    sides = sorted(wanted | ({"full"} if unlearned else set()))  # "full" before "retain"

    labels = {"full": "Original", "retain": "Retrain"}
    trained = _make(
        find_tiny_model,
        _train,
        {side: (benchmark, side, recipe) for side in sides},
        labels,
        profile,
    )
    made |= _make(
        find_unlearned,
        _unlearn,
        {
            name: (trained["full"], benchmark, spec.unlearn, options[name])
            for name, spec in unlearned.items()
        },
        {},
        profile,
    )
    made |= {name: trained[spec.train] for name, spec in specs.items() if isinstance(spec, Trained)}
    return {name: made[name] for name in specs}


def make_entailment(benchmark: Benchmark) -> Path:
    """The folder of the fictional worlds' entailment model, trained now or before.

    Raises:
        ValueError: for a benchmark that is no fictional world.
    """
    if not benchmark.name.startswith("fictional("):
        raise ValueError(
            f"entailment/embedded reads the sentences of a fictional world, not {benchmark.name}"
        )
    return entailment_model()


def make_engine(profile: Profile) -> Engine:
    """The sampling engine of a profile with its options.

    Raises:
        ValueError: for an option that the engine has not.
    """
    options: Engine = fill(
        ENGINES[profile.engine], profile.engine_options, f"profile {profile.name!r}, engine_options"
    )
    return options


def resolve(model: str | Path, benchmark: Benchmark) -> Path:
    """The folder of a model: a name of the benchmark's profile, a folder, or a hub id.

    Raises:
        FileNotFoundError: when it is none of these; the message lists the names.
    """
    names: Sequence[str] = ()
    if isinstance(model, str) and benchmark.profile:
        profile = load_profile(benchmark.profile, study=benchmark.study)
        names = list(profile.models)
        if model in names:
            return make_models(profile, benchmark, [model])[model]
    try:
        return load.locate(model)
    except FileNotFoundError as error:
        known = f"; {benchmark.name} knows the names {', '.join(names)}" if names else ""
        raise FileNotFoundError(f"{error}{known}") from error


def method_options(
    profile: Profile, name: str, changes: Mapping[str, Any] | None = None
) -> UnlearnOptions:
    """The options of an unlearned model of a profile, or of a base method of its RULE.

    >>> from leakrepro.profiles import load_profile
    >>> method_options(load_profile("embedded"), "NPO", {"epochs": 3}).epochs
    3

    Args:
        profile: The profile.
        name: Of the model or method.
        changes: Options that differ from the profile's.

    Raises:
        ValueError: for a name that is neither, and for an unknown or wrong option.
    """
    spec = profile.models.get(name)
    base = profile.rule.bases.get(name) if profile.rule else None
    given = base.options if base else None
    if isinstance(spec, Unlearned):
        method, values = spec.unlearn, spec.options if given is None else given
    elif given is not None:
        method, values = name, given
    else:
        known = [n for n, s in profile.models.items() if isinstance(s, Unlearned)]
        raise ValueError(
            f"profile {profile.name!r} has no unlearning options for {name!r}; it has them for: "
            f"{', '.join(known)}"
        )
    where = f"profile {profile.name!r}, options of {name}"
    return fill(find_method(method).options, {**values, **(changes or {})}, where)


def _make(
    find: Callable[..., Path | None],
    make: Callable[..., Path],
    tasks: dict[str, tuple[Any, ...]],
    labels: dict[str, str],
    profile: Profile,
) -> dict[str, Path]:
    """Folders by name; those that are not there yet are made side by side."""
    # Looked for here first: a worker takes seconds to start.
    found = {name: find(*task) for name, task in tasks.items()}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        made = local.run(
            make,
            [tasks[name] for name in missing],
            workers=profile.workers,
            threads=profile.threads or 1,
            labels=[labels.get(name, name) for name in missing],
        )
        found |= dict(zip(missing, made, strict=True))
    return {name: path for name, path in found.items() if path is not None}


def _train(benchmark: Benchmark, side: str, recipe: TinyRecipe, progress: Progress) -> Path:
    return tiny_model(benchmark, side, recipe, progress=progress)  # type: ignore[arg-type]


def _unlearn(
    model: Path, benchmark: Benchmark, method: str, options: UnlearnOptions, progress: Progress
) -> Path:
    return unlearn(model, benchmark, method, options, progress=progress)
