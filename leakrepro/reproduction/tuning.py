"""Choose the options of a profile's unlearning methods on validation seeds (``leakrepro tune``).

The validation seeds are never reported. The options of a method are chosen by greedy answers only,
as is common without leak@k: among the settings that keep the retain score, the one whose greedy
leak is closest to Retrain's. Leaks that only sampling shows do not influence the choice.

The options of RULE's rounds are chosen by sampling: among the settings that keep the base method's
retain score, the one that leaks least at the largest k after the last round.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from leakrepro.benchmarks import Benchmark, load_benchmark
from leakrepro.metrics import load_metric
from leakrepro.metrics.base import checked_scores
from leakrepro.profiles.models import make_models
from leakrepro.profiles.schema import ModelSpec, Profile, Trained, Unlearned
from leakrepro.reproduction.rules import make_rules
from leakrepro.sampling import sample

Setting = dict[str, Any]
_RULE_N = 64  # samples per prompt: enough to rank RULE's settings, in a third of the time


def tune(profile: Profile) -> pd.DataFrame:
    """Unlearns with every setting of the profile's grids on every validation seed.

    Models and samples are reused, so an interrupted call continues where it stopped.

    Args:
        profile: A profile with a section ``tuning``.

    Returns:
        One row per model, setting and seed: ``model``, ``world`` (the benchmark with its seed),
        ``setting``, ``greedy leak`` and ``retain score`` (primary metric, greedy, means over
        prompts), ``from Retrain``: distance from Retrain's greedy leak on that seed, and ``retain
        kept``: the retain score as a share of Original's.

    Raises:
        ValueError: for a profile without a section ``tuning``, and for a grid of a model that the
            profile does not unlearn.
    """
    tuning = profile.tuning
    if tuning is None:
        raise ValueError(f"profile {profile.name!r} does not have a section `tuning`")
    variants: dict[str, tuple[str, Setting, ModelSpec]] = {
        "Original": ("Original", {}, Trained(train="full")),
        "Retrain": ("Retrain", {}, Trained(train="retain")),
    } | {
        f"{name} {setting}": (name, setting, _with(profile, name, setting))
        for name, grid in tuning.grids.items()
        for setting in _points(grid)
    }
    rows = []
    for world in tuning.worlds:
        benchmark = load_benchmark(profile.benchmark, **(profile.benchmark_options | world))
        models = make_models(
            profile.model_copy(update={"models": {k: v for k, (_, _, v) in variants.items()}}),
            benchmark,
        )
        scores = {label: _greedy(path, benchmark, profile) for label, path in models.items()}
        for label, (leak, retain) in scores.items():
            name, setting, _ = variants[label]
            rows.append(
                {
                    "model": name,
                    "world": benchmark.name,
                    "setting": str(setting),
                    "greedy leak": leak,
                    "retain score": retain,
                    "from Retrain": abs(leak - scores["Retrain"][0]),
                    "retain kept": retain / scores["Original"][1],
                }
            )
    return pd.DataFrame(rows)


def tune_rules(profile: Profile) -> pd.DataFrame:
    """Runs RULE with every setting of the profile's grids on every validation seed.

    Args:
        profile: A profile with sections ``rule`` and ``tuning.rule_grids``.

    Returns:
        One row per base method, setting and seed: ``model``, ``world`` (the benchmark with its
        seed), ``setting``, ``leak`` (leak@k of the primary metric at the largest k, on the prompts
        that are searched), ``base leak`` (the same before RULE), and ``retain loss`` and ``sampled
        retain loss``: the base method's retain score less that of the last round, greedy and
        sampled.

    Raises:
        ValueError: for a profile without these sections.
    """
    tuning, section = profile.tuning, profile.rule
    if tuning is None or section is None or not tuning.rule_grids:
        raise ValueError(
            f"profile {profile.name!r} does not have sections `rule` and `tuning.rule_grids`"
        )
    rows = []
    for world in tuning.worlds:
        benchmark = load_benchmark(profile.benchmark, **(profile.benchmark_options | world))
        benchmark = dataclasses.replace(benchmark, held_out=())  # not needed for the choice
        decoding = profile.decoding.replace(n=_RULE_N)
        k = tuple(k for k in profile.k if k <= _RULE_N)
        models = make_models(profile, benchmark)
        for name, grid in tuning.rule_grids.items():
            base = section.bases[name]
            changed = [
                base.model_copy(update={"round": base.round | point}) for point in _points(grid)
            ]
            tried = [
                profile.model_copy(
                    update={
                        "rule": section.model_copy(update={"bases": {name: each}, "controls": ()}),
                        "decoding": decoding,
                        "k": k,
                    }
                )
                for each in changed
            ]
            results = make_rules(tried, benchmark, models)
            for point, result in zip(_points(grid), results, strict=True):
                first, last = result.rounds[0], result.rounds[-1]
                largest = max(last.leak)
                rows.append(
                    {
                        "model": name,
                        "world": benchmark.name,
                        "setting": str(point),
                        "leak": last.leak[largest],
                        "base leak": first.leak[largest],
                        "retain loss": first.retain - last.retain,
                        "sampled retain loss": first.retain_sampled - last.retain_sampled,
                    }
                )
    return pd.DataFrame(rows)


def choose_rules(trials: pd.DataFrame, max_retain_loss: float) -> pd.DataFrame:
    """The best setting of RULE around each base method: least leak, retain scores kept.

    Args:
        trials: From ``tune_rules``.
        max_retain_loss: Largest mean loss allowed, greedy and sampled. If every setting loses more,
            the one that loses least is chosen.

    Returns:
        One row per base method.
    """
    means = trials.groupby(["model", "setting"], sort=False).mean(numeric_only=True).reset_index()
    means["loss"] = means[["retain loss", "sampled retain loss"]].max(axis=1)
    chosen = []
    for _, group in means.groupby("model", sort=False):
        fit = group[group["loss"] <= max_retain_loss]
        best = fit.sort_values("leak") if len(fit) else group.sort_values("loss")
        chosen.append(best.iloc[0])
    return pd.DataFrame(chosen).reset_index(drop=True)


def choose(trials: pd.DataFrame, min_retain: float) -> pd.DataFrame:
    """The best setting of each model: closest to Retrain's greedy leak, retain score kept.

    Args:
        trials: From ``tune``.
        min_retain: Smallest ``retain kept`` allowed on every validation seed, in [0, 1].

    Returns:
        One row per model: the setting, its mean leak, its mean distance and its smallest ``retain
        kept``.

    Raises:
        ValueError: when every setting of a model keeps less.
    """
    trials = trials[~trials["model"].isin(["Original", "Retrain"])]
    means = trials.groupby(["model", "setting"], sort=False).agg(
        leak=("greedy leak", "mean"), distance=("from Retrain", "mean"), kept=("retain kept", "min")
    )
    chosen = []
    for model, group in means.reset_index().groupby("model", sort=False):
        fit = group[group["kept"] >= min_retain]
        if fit.empty:
            raise ValueError(
                f"no setting of {model} keeps {min_retain:.0%} of the retain score; the best keeps "
                f"{group['kept'].max():.1%}"
            )
        chosen.append(fit.sort_values(["distance", "kept"], ascending=[True, False]).iloc[0])
    return pd.DataFrame(chosen).reset_index(drop=True)


def _points(grid: dict[str, tuple[Any, ...]]) -> Iterator[Setting]:
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _with(profile: Profile, name: str, setting: Setting) -> Unlearned:
    spec = profile.models.get(name)
    if not isinstance(spec, Unlearned):
        raise ValueError(f"profile {profile.name!r} tunes {name!r}, which it does not unlearn")
    return spec.model_copy(update={"options": spec.options | setting})


def _greedy(model: Path, benchmark: Benchmark, profile: Profile) -> tuple[float, float]:
    """Greedy leak and greedy retain score under the headline metric."""
    answers = sample(
        model,
        benchmark.forget + benchmark.retain,
        profile.decoding.greedy(),
        backend=profile.backend,
    )
    metric = load_metric((profile.metrics or benchmark.metrics)[0], benchmark, profile.backend)
    scores = checked_scores(metric, answers.prompts, answers.texts).values
    count = len(benchmark.forget)
    return float(scores[:count].mean()), float(scores[count:].mean())
