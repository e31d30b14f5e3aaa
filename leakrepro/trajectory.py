"""``rule``: RULE around a base method, and what each of its rounds leaks and keeps."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from leakrepro import parallel
from leakrepro.benchmarks.base import Benchmark
from leakrepro.evaluation import Metric, evaluate, load_metrics
from leakrepro.leak import LeakDifference, compare_leak
from leakrepro.models.train import Progress
from leakrepro.profiles import Profile, fill
from leakrepro.report import LeakReport
from leakrepro.report.rulereport import Added, RuleResult, RuleRound, rule_name, rule_table
from leakrepro.sampling import read_samples
from leakrepro.subjects import method_options, resolve
from leakrepro.types import Decoding, Scores
from leakrepro.unlearning.rule import SEARCH_SEEDS, RuleOptions, rule_rounds


def rule(
    model: str | Path,
    benchmark: Benchmark,
    base: str = "NPO",
    rounds: int = 3,
    options: RuleOptions | None = None,
    *,
    retrain: str | Path | None = None,
    decoding: Decoding | None = None,
    metric: Metric | Sequence[Metric] | None = None,
    k: Sequence[int] | None = None,
    retain_n: int = 8,
    workers: int = 1,
    output_dir: str | Path | None = None,
    resume: bool = True,
    progress: Progress | None = None,
) -> RuleResult:
    """Runs RULE (arXiv 2511.04934) and evaluates the base method and every round.

    Sampling the very prompts that leak@k is measured on is training on the test: read the held-out
    prompts beside them. The search draws from other seeds than the evaluation. The call can be
    killed at any time, and the same call goes on where it stopped.

    Args:
        model: The original model: a folder, a hub id, or a name of the benchmark's profile.
        benchmark: Its forget prompts are searched and evaluated, its held-out ones evaluated alone.
        base: The base method, a name of ``leakrepro.unlearning.METHODS``.
        rounds: Rounds after the base method.
        options: Of RULE, and of the base method in it; None for the defaults.
        retrain: The model that never saw the forget set, to compare each round with.
        decoding: Of the evaluation; None for the benchmark's default.
        metric: Core metrics or their ids, headline first; None for the benchmark's own.
        k: Values of k; None for powers of two up to ``decoding.n``.
        retain_n: Samples of each retain prompt.
        workers: Sampling processes.
        output_dir: Models go to ``round-0``, ``round-1`` ... there, and the table to
            ``rounds.csv``; None keeps the models under ``LEAKREPRO_HOME/models``.
        resume: False trains everything from the start.
        progress: Called with stages done and stages in all; None for a progress bar.

    Returns:
        The rounds; ``leakrepro.report.rule_table`` makes a table of one or more results.

    Raises:
        ValueError: as ``evaluate`` and ``unlearn``, for a negative number of rounds, options of
            another method, an evaluation seed that belongs to the search (2**62 and above), and a
            metric that cannot score the prompts.
        FileNotFoundError: for a missing model.
        FloatingPointError: when training diverges.
    """
    options = options or RuleOptions()
    decoding = decoding or benchmark.decoding
    if rounds < 0:
        raise ValueError(f"rounds must be at least 0, not {rounds}")
    if decoding.seed >= SEARCH_SEEDS:
        raise ValueError(
            f"evaluation seeds must be below 2**62, not {decoding.seed}: those above find leaks"
        )
    path = resolve(model, benchmark)
    yardstick = None if retrain is None else resolve(retrain, benchmark)
    folder = None if output_dir is None else Path(output_dir)
    # Round 0 is trained; the others are searched and trained; all are evaluated.
    stages = _stages(1 + 2 * rounds + rounds + 1, rule_name(base, options.added), progress)
    shared: dict[str, Any] = {
        "decoding": decoding,
        "metric": metric,
        "k": k,
        "retain_n": retain_n,
        "workers": workers,
    }

    def measure(index: int, checkpoint: Path) -> tuple[LeakReport, LeakReport | None]:
        name = f"{rule_name(base, options.added)}, round {index}" if index else base
        report = evaluate(checkpoint, benchmark, name=name, **shared)
        if not benchmark.held_out:
            return report, None
        other = dataclasses.replace(
            benchmark,
            name=f"{benchmark.name}, held-out prompts",
            forget=benchmark.held_out,
            held_out=(),
        )
        return report, evaluate(checkpoint, other, name=name, **shared)

    with stages as stage:
        done = rule_rounds(
            path,
            benchmark,
            base,
            rounds,
            options,
            output_dir=folder,
            resume=resume,
            workers=workers,
            quiet=progress is not None,
            stage=stage,
        )
        target = None
        if yardstick is not None:
            target = _scores(evaluate(yardstick, benchmark, name="Retrain", **shared), benchmark)
        measured = []
        for each in done:
            report, held_out = measure(each.index, each.checkpoint)
            measured.append(
                RuleRound(
                    index=each.index,
                    checkpoint=each.checkpoint,
                    report=report,
                    held_out_report=held_out,
                    to_retrain=_difference(report, target, benchmark),
                    added=len(each.added),
                    forget_set_size=each.forget_set_size,
                    steps=each.steps,
                    search_samples=each.samples,
                    search_tokens=each.tokens,
                    leaking_samples=each.leaking_samples,
                    leaking_prompts=each.leaking_prompts,
                )
            )
            stage()
    result = RuleResult(base, options.added, benchmark.name, tuple(measured))
    if folder is not None:
        rule_table([result]).to_csv(folder / "rounds.csv", index=False)
    return result


def make_rules(
    profile: Profile | Sequence[Profile], benchmark: Benchmark, models: Mapping[str, Path]
) -> list[RuleResult]:
    """RULE around each base method of a profile, and the controls that it asks for.

    They run side by side in ``profile.workers`` processes, and what is there is reused.

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
    made: dict[int, RuleResult] = {}
    # A control follows RULE's own rounds, so it waits for them.
    for controls in (False, True):
        group = [i for i, (_, _, added) in enumerate(wanted) if (added != "leaks") is controls]
        results = parallel.run(
            _rule_of,
            [(models["Original"], models["Retrain"], benchmark, *wanted[i]) for i in group],
            workers=profiles[0].workers,
            threads=profiles[0].threads or 1,
            labels=[rule_name(*wanted[i][1:]) for i in group],
            unit="stage",
        )
        made |= dict(zip(group, results, strict=True))
    return [made[i] for i in range(len(wanted))]


def rule_options(profile: Profile, base: str, added: Added = "leaks") -> RuleOptions:
    """The options of RULE around one base method as a profile gives them.

    Raises:
        ValueError: for a base that the profile does not unlearn, and an unknown or wrong option.
    """
    assert profile.rule is not None
    common = fill(RuleOptions, profile.rule.options, f"profile {profile.name!r}, rule")
    return dataclasses.replace(
        common,
        base=method_options(profile, base),
        round=method_options(profile, base, profile.rule.bases[base].round),
        # What is searched for is what is reported.
        metric=common.metric or (profile.metrics[0] if profile.metrics else None),
        added=added,
    )


def _rule_of(
    original: Path,
    retrain: Path,
    benchmark: Benchmark,
    profile: Profile,
    base: str,
    added: Added,
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
        progress=progress,
    )


def _scores(report: LeakReport, benchmark: Benchmark) -> Scores:
    """Scores of a report's samples under its headline metric."""
    samples = read_samples(report.samples)
    (metric,) = load_metrics(report.headline, benchmark)
    return metric.score(samples.prompts, samples.texts)


def _difference(
    report: LeakReport, target: Scores | None, benchmark: Benchmark
) -> LeakDifference | None:
    if target is None:
        return None
    return compare_leak(
        _scores(report, benchmark),
        target,
        report.curve().k.tolist(),
        clusters=[prompt.cluster for prompt in benchmark.forget],
    )


@contextlib.contextmanager
def _stages(total: int, label: str, progress: Progress | None) -> Iterator[Callable[[], None]]:
    """A function that counts a stage, on a progress bar or to a callback."""
    with tqdm(total=total, desc=label, unit="stage", disable=progress is not None) as bar:
        done = 0

        def step() -> None:
            nonlocal done
            done += 1
            bar.update()
            if progress is not None:
                progress(done, total)

        yield step
