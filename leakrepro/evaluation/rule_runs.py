"""``rule``: RULE around a base method, and what each of its rounds leaks and keeps."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from leakrepro.benchmarks.base import Benchmark
from leakrepro.evaluation.evaluator import Metric, evaluate, load_metrics
from leakrepro.evaluation.leak_report import LeakReport
from leakrepro.evaluation.rule_result import RuleResult, RuleRound, rule_name, rule_table
from leakrepro.models.train import Progress
from leakrepro.profiles.models import resolve
from leakrepro.sampling import read_samples
from leakrepro.stats.estimator import LeakDifference, compare_leak
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
