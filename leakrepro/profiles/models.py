"""Resolve a profile's model names to local folders, training or downloading as needed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from leakrepro.benchmarks.base import Benchmark
from leakrepro.execution import local
from leakrepro.models import load
from leakrepro.models.tiny import TinyRecipe, find_tiny_model, tiny_model
from leakrepro.models.train import Progress
from leakrepro.profiles.schema import Hosted, Profile, Trained, Unlearned, fill, load_profile
from leakrepro.sampling.engines.table import Engine
from leakrepro.unlearning import UnlearnOptions, find_method, find_unlearned, unlearn
from leakrepro.unlearning.rule import Added, RuleOptions

# Benchmark -> the profile and study that define the benchmark's models.
MADE_BY: dict[str, tuple[str, str | None]] = {
    "fictional": ("embedded", None),
    "fictional-news": ("embedded", "muse-news"),
    "fictional-chemistry": ("embedded", "wmdp"),
    "tofu": ("paper", None),
    "muse-news": ("paper", "muse-news"),
    "muse-books": ("paper", "muse-books"),
    "wmdp": ("paper", "wmdp"),
}
# The same for models trained from random weights on real text.
FROM_SCRATCH: dict[str, tuple[str, str | None]] = {
    "tofu": ("scratch-cpu", None),
    "muse-news": ("scratch-cpu", "muse-news"),
}


def make_models(
    profile: Profile, benchmark: Benchmark, names: Sequence[str] | None = None
) -> dict[str, Path]:
    """Train, download or reuse the models of a profile.

    Models that do not depend on each other are trained in parallel, in ``profile.workers``
    processes.

    Args:
        profile: The profile that defines the models.
        benchmark: The benchmark to train on; usually ``load_benchmark(profile.benchmark, ...)``.
        names: Names of the models to make, in this order; None for all.

    Returns:
        The folder of each model by name.

    Raises:
        ValueError: for an unknown recipe, method or option.
        FileNotFoundError: for a checkpoint that cannot be found.
        FloatingPointError: if training diverges.
    """
    wanted_names = list(profile.models) if names is None else names
    specs = {n: profile.models[n] for n in wanted_names if n in profile.models}
    recipe = fill(TinyRecipe, profile.training, f"profile {profile.name!r}, training")
    unlearned = {name: spec for name, spec in specs.items() if isinstance(spec, Unlearned)}
    options = {name: method_options(profile, name) for name in unlearned}
    # Located first, so that a missing checkpoint is reported before hours of training.
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


def make_engine(profile: Profile) -> Engine:
    """The sampling engine of a profile with its options, as in ``profile.backend``.

    Args:
        profile: The profile.

    Returns:
        The engine.

    Raises:
        ValueError: for an option that the engine does not have.
    """
    engine: Engine = profile.backend.engine
    return engine


def profile_of(benchmark: Benchmark) -> Profile | None:
    """The profile that defines a benchmark's models.

    A benchmark is meant for models trained from random weights if it has pretraining text
    (``fresh``) and its training set contains all forget prompts.

    Args:
        benchmark: The benchmark.

    Returns:
        The profile, or None if there is no profile for the benchmark.
    """
    kind = re.split(r"[ (]", benchmark.name)[0]
    asked, trained = ({p.id for p in part} for part in (benchmark.forget, benchmark.train_forget))
    from_scratch = bool(benchmark.fresh) and asked <= trained
    made_by = (FROM_SCRATCH.get(kind) if from_scratch else None) or MADE_BY.get(kind)
    return None if made_by is None else load_profile(made_by[0], study=made_by[1])


def known_names(benchmark: Benchmark) -> list[str]:
    """Model names of the profile that defines a benchmark's models; empty without a profile."""
    profile = profile_of(benchmark)
    return list(profile.models) if profile else []


def make_named(name: str, benchmark: Benchmark) -> Path:
    """Train, download or reuse a model of the profile that defines a benchmark's models.

    Args:
        name: A name from ``known_names(benchmark)``.
        benchmark: The benchmark.

    Returns:
        The folder of the model.

    Raises:
        KeyError: if the profile does not have a model of this name.
        ValueError: for an unknown recipe, method or option.
        FileNotFoundError: for a checkpoint that cannot be found.
        FloatingPointError: if training diverges.
    """
    profile = profile_of(benchmark)
    if profile is None:
        raise KeyError(name)
    return make_models(profile, benchmark, [name])[name]


def options_for(
    model: Any, benchmark: Benchmark, method: str, changes: Mapping[str, Any] | None = None
) -> tuple[UnlearnOptions, str]:
    """Choose the options of an unlearning method if the user does not give them.

    They come from the profile that defines the benchmark's models, if ``model`` is one of its names
    and the profile has options for the method. Otherwise they are the method's defaults.

    Args:
        model: As for ``leakrepro.unlearn``.
        benchmark: The benchmark of the model.
        method: A name in ``leakrepro.unlearning.METHODS``.
        changes: Options that replace the chosen ones.

    Returns:
        The options, and a description of where they come from.

    Raises:
        ValueError: for an unknown method, and for an unknown or wrong option.
    """
    kind = find_method(method).options
    if profile := _profile_with(model, benchmark, method):
        return method_options(profile, method, changes), f"options of profile {profile.name!r}"
    return fill(kind, changes or {}, f"options of {method}"), "its default options"


def rule_options(profile: Profile, base: str, added: Added = "leaks") -> RuleOptions:
    """The options of RULE around one base method, taken from a profile.

    Args:
        profile: The profile.
        base: Name of the base method.
        added: Which samples RULE adds to the forget set.

    Returns:
        The options.

    Raises:
        ValueError: if the profile does not have the section ``rule`` or options for the base
            method, and for an unknown or invalid option.
    """
    if profile.rule is None:
        raise ValueError(f"profile {profile.name!r} does not have a section `rule`")
    first, later = _base_options(profile, base)
    options = fill(RuleOptions, profile.rule.options, f"profile {profile.name!r}, rule")
    return dataclasses.replace(options, base=first, round=later, added=added)


def rule_options_for(
    model: Any, benchmark: Benchmark, base: str, options: RuleOptions | None
) -> tuple[RuleOptions, str]:
    """Fill in the options of RULE that the user does not give.

    They come from the profile that defines the benchmark's models, if ``model`` is one of its names
    and the profile has options for the base method. Otherwise they are the defaults.

    Args:
        model: As for ``leakrepro.rule``.
        benchmark: The benchmark of the model.
        base: Name of the base method.
        options: The given options; None if there are none.

    Returns:
        The complete options, and a description of where those of the base method come from.

    Raises:
        ValueError: for an unknown method, and for an unknown or invalid option of the profile.
    """
    profile = _profile_with(model, benchmark, base)
    if profile is None:
        options = options or RuleOptions()
        chosen = options.base or find_method(base).options()
        return dataclasses.replace(options, base=chosen), f"default options of {base}"
    if options is None:
        section = profile.rule
        where = f"profile {profile.name!r}, rule"
        options = fill(RuleOptions, section.options if section else {}, where)
    if options.base is None:
        first, later = _base_options(profile, base)
        options = dataclasses.replace(options, base=first, round=options.round or later)
    return options, f"options of profile {profile.name!r}"


def methods_of(profile: Profile) -> set[str]:
    """Names of the unlearned models and RULE base methods for which a profile has options."""
    unlearned = {name for name, spec in profile.models.items() if isinstance(spec, Unlearned)}
    bases = profile.rule.bases if profile.rule else {}
    return unlearned | {name for name, base in bases.items() if base.options is not None}


def method_options(
    profile: Profile, name: str, changes: Mapping[str, Any] | None = None
) -> UnlearnOptions:
    """The options of an unlearned model of a profile, or of one of its RULE base methods.

    >>> from leakrepro.profiles import load_profile
    >>> method_options(load_profile("embedded"), "NPO", {"epochs": 3}).epochs
    3

    Args:
        profile: The profile.
        name: Name of the model or base method.
        changes: Options that replace the profile's.

    Returns:
        The options of the method.

    Raises:
        ValueError: for an unknown name, and for an unknown or invalid option.
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
            f"profile {profile.name!r} does not have unlearning options for {name!r}; known: "
            f"{', '.join(known)}"
        )
    where = f"profile {profile.name!r}, options of {name}"
    return fill(find_method(method).options, {**values, **(changes or {})}, where)


def _profile_with(model: Any, benchmark: Benchmark, method: str) -> Profile | None:
    """The profile that has a model of this name and options for the method, or None."""
    profile = profile_of(benchmark) if isinstance(model, str) else None
    if profile is None or model not in profile.models or method not in methods_of(profile):
        return None
    return profile


def _base_options(profile: Profile, base: str) -> tuple[UnlearnOptions, UnlearnOptions]:
    """Options of a RULE base method for round 0 and for the later rounds."""
    bases = profile.rule.bases if profile.rule else {}
    changes = bases[base].round if base in bases else {}
    return method_options(profile, base), method_options(profile, base, changes)


def _make(
    find: Callable[..., Path | None],
    make: Callable[..., Path],
    tasks: dict[str, tuple[Any, ...]],
    labels: dict[str, str],
    profile: Profile,
) -> dict[str, Path]:
    """Return folders by name; missing models are made in parallel."""
    # Existing models are found here, because starting a worker takes seconds.
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
