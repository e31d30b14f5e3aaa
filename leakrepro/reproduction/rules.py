"""RULE around the base methods of a profile."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from leakrepro.benchmarks.base import Benchmark
from leakrepro.evaluation.rule_result import RuleResult, rule_name
from leakrepro.evaluation.rule_runs import rule
from leakrepro.execution import local
from leakrepro.execution.backend import Backend
from leakrepro.models.train import Progress
from leakrepro.profiles.models import rule_options
from leakrepro.profiles.schema import Profile
from leakrepro.unlearning.rule import Added


def make_rules(
    profile: Profile | Sequence[Profile], benchmark: Benchmark, models: Mapping[str, Path]
) -> list[RuleResult]:
    """RULE around each base method of a profile, and the controls that it asks for.

    What is there is reused. On this machine with the engine ``"hf"`` they run at the same time in
    ``profile.workers`` processes. Another engine, or Ray, is one resource for all of them: they run
    one after another, and each uses the profile's whole backend.

    Args:
        profile: With a section ``rule``; several of one benchmark are run together.
        benchmark: One world of the profile.
        models: ``Original`` and ``Retrain``, as ``make_models`` returns them.

    Returns:
        The results, base methods in the profile's order, each followed by its controls.

    Raises:
        ValueError: for a profile without the section, and as ``rule``.
    """
    profiles = [profile] if isinstance(profile, Profile) else list(profile)
    wanted: list[tuple[Profile, str, Added]] = []
    for each in profiles:
        if each.rule is None:
            raise ValueError(f"profile {each.name!r} has no section `rule`")
        for base in each.rule.bases:
            wanted.append((each, base, "leaks"))
            if base in each.rule.controls:
                wanted += [(each, base, "none"), (each, base, "non_leaks")]
    backend = profiles[0].backend
    workers = 1
    if backend.executor == "local" and backend.engine.name == "hf":
        workers, backend = backend.workers, dataclasses.replace(backend, workers=1)
    made: dict[int, RuleResult] = {}
    # A control follows RULE's own rounds, so it waits for them.
    for controls in (False, True):
        group = [i for i, (_, _, added) in enumerate(wanted) if (added != "leaks") is controls]
        results = local.run(
            _rule_of,
            [
                (models["Original"], models["Retrain"], benchmark, *wanted[i], backend)
                for i in group
            ],
            workers=workers,
            threads=profiles[0].threads or 1,
            labels=[rule_name(*wanted[i][1:]) for i in group],
            unit="stage",
        )
        made |= dict(zip(group, results, strict=True))
    return [made[i] for i in range(len(wanted))]


def _rule_of(
    original: Path,
    retrain: Path,
    benchmark: Benchmark,
    profile: Profile,
    base: str,
    added: Added,
    backend: Backend,
    progress: Progress,
) -> RuleResult:
    """One task of ``make_rules``, in a worker."""
    assert profile.rule is not None
    return rule(
        original,
        benchmark,
        base,
        profile.rule.rounds,
        rule_options(profile, base, added),
        retrain=retrain,
        decoding=profile.decoding,
        metric=profile.metrics,
        k=profile.k,
        retain_n=profile.retain_n,
        backend=backend,
        progress=progress,
    )
