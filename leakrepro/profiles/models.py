"""The models of a study by their names in the table, trained or downloaded on demand."""

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

# Benchmark -> the profile, and its study, that makes the benchmark's models.
MADE_BY: dict[str, tuple[str, str | None]] = {
    "fictional": ("embedded", None),
    "fictional-news": ("embedded", "muse-news"),
    "fictional-chemistry": ("embedded", "wmdp"),
    "tofu": ("paper", None),
    "muse-news": ("paper", "muse-news"),
    "muse-books": ("paper", "muse-books"),
    "wmdp": ("paper", "wmdp"),
}
# The same for models that are trained from random weights on real text.
FROM_SCRATCH: dict[str, tuple[str, str | None]] = {
    "tofu": ("scratch-cpu", None),
    "muse-news": ("scratch-cpu", "muse-news"),
}


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


def make_engine(profile: Profile) -> Engine:
    """The sampling engine of a profile with its options; ``profile.backend`` holds it too.

    Raises:
        ValueError: for an option that the engine does not have.
    """
    engine: Engine = profile.backend.engine
    return engine


def profile_of(benchmark: Benchmark) -> Profile | None:
    """The profile that makes a benchmark's models, or None.

    A benchmark whose questions are trained together with text that is seen once is one for models
    from random weights.
    """
    kind = re.split(r"[ (]", benchmark.name)[0]
    asked, trained = ({p.id for p in part} for part in (benchmark.forget, benchmark.train_forget))
    from_scratch = bool(benchmark.fresh) and asked <= trained
    made_by = (FROM_SCRATCH.get(kind) if from_scratch else None) or MADE_BY.get(kind)
    return None if made_by is None else load_profile(made_by[0], study=made_by[1])


def known_names(benchmark: Benchmark) -> list[str]:
    """Names of the models of the profile that makes a benchmark's models."""
    profile = profile_of(benchmark)
    return list(profile.models) if profile else []


def make_named(name: str, benchmark: Benchmark) -> Path:
    """The folder of a model of that profile, trained, downloaded or reused.

    Raises:
        KeyError: for a name that the profile does not have.
        ValueError, FileNotFoundError, FloatingPointError: see ``make_models``.
    """
    profile = profile_of(benchmark)
    if profile is None:
        raise KeyError(name)
    return make_models(profile, benchmark, [name])[name]


def options_for(
    model: Any, benchmark: Benchmark, method: str, changes: Mapping[str, Any] | None = None
) -> tuple[UnlearnOptions, str]:
    """Options of a method where none are given, and where they come from.

    Those of the profile that makes the benchmark's models, where the model is one of its names and
    the profile has the method; else the method's defaults.

    Args:
        model: As for ``leakrepro.unlearn``.
        benchmark: Its benchmark.
        method: A name of ``leakrepro.unlearning.METHODS``.
        changes: Options that differ from these.

    Raises:
        ValueError: for an unknown method, and for an unknown or wrong option.
    """
    kind = find_method(method).options
    profile = profile_of(benchmark) if isinstance(model, str) else None
    if profile and model in profile.models and method in methods_of(profile):
        return method_options(profile, method, changes), f"options of profile {profile.name!r}"
    return fill(kind, changes or {}, f"options of {method}"), "its default options"


def rule_options(profile: Profile, base: str, added: Added = "leaks") -> RuleOptions:
    """The options of RULE around one base method as a profile gives them.

    Raises:
        ValueError: for a profile without the section ``rule``, a base that the profile does not
            unlearn, and an unknown or wrong option.
    """
    if profile.rule is None:
        raise ValueError(f"profile {profile.name!r} has no section `rule`")
    changes = profile.rule.bases[base].round if base in profile.rule.bases else {}
    return dataclasses.replace(
        fill(RuleOptions, profile.rule.options, f"profile {profile.name!r}, rule"),
        base=method_options(profile, base),
        round=method_options(profile, base, changes),
        added=added,
    )


def rule_options_for(
    model: Any, benchmark: Benchmark, base: str, options: RuleOptions | None
) -> tuple[RuleOptions, str]:
    """RULE's options, with what is not given filled in, and where the base method's come from.

    The profile that makes the benchmark's models fills in where the model is one of its names, the
    defaults otherwise.

    Raises:
        ValueError: for an unknown method, and for an unknown or wrong option of the profile.
    """
    profile = profile_of(benchmark) if isinstance(model, str) else None
    if profile is None or model not in profile.models or base not in methods_of(profile):
        options = options or RuleOptions()
        chosen = options.base or find_method(base).options()
        return dataclasses.replace(options, base=chosen), f"default options of {base}"
    section = profile.rule
    if options is None:
        where = f"profile {profile.name!r}, rule"
        options = fill(RuleOptions, section.options if section else {}, where)
    if options.base is None:
        changes = section.bases[base].round if section and base in section.bases else {}
        options = dataclasses.replace(
            options,
            base=method_options(profile, base),
            round=options.round or method_options(profile, base, changes),
        )
    return options, f"options of profile {profile.name!r}"


def methods_of(profile: Profile) -> set[str]:
    """Names for which a profile has options of an unlearning method."""
    unlearned = {name for name, spec in profile.models.items() if isinstance(spec, Unlearned)}
    bases = profile.rule.bases if profile.rule else {}
    return unlearned | {name for name, base in bases.items() if base.options is not None}


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
