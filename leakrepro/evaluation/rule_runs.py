"""``rule``: run RULE with a base method and evaluate every round."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from leakrepro.benchmarks.base import Benchmark
from leakrepro.evaluation.evaluator import evaluate
from leakrepro.evaluation.frames import save_table
from leakrepro.evaluation.leak_report import LeakReport
from leakrepro.evaluation.rule_result import RuleResult, RuleRound, rule_name, rule_table
from leakrepro.execution.backend import Backend, takes_backend
from leakrepro.metrics.registry import Metric, load_metric, load_metrics
from leakrepro.models.resolve import Model, resolve, resolve_folder
from leakrepro.models.train import Progress
from leakrepro.profiles.models import rule_options_for
from leakrepro.types import Decoding
from leakrepro.unlearning.rule import SEARCH_SEEDS, RuleOptions, rule_rounds


@takes_backend
def rule(
    model: Model,
    benchmark: Benchmark,
    base: str = "NPO",
    rounds: int = 3,
    options: RuleOptions | None = None,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    retrain: Model | None = None,
    decoding: Decoding | None = None,
    metric: Metric | Sequence[Metric] | None = None,
    k: Sequence[int] | None = None,
    retain_n: int = 8,
    backend: Backend | None = None,
    output_dir: str | Path | None = None,
    resume: bool = True,
    progress: Progress | None = None,
) -> RuleResult:
    """Run RULE (arXiv 2511.04934) and evaluate the base method and every round.

    RULE trains on samples of the same prompts on which leak@k is measured. Compare the results on
    the held-out prompts, which it never samples. The search and the evaluation use different
    seeds. An interrupted run continues where it stopped if the same call is repeated.

    Args:
        model: The original model: a folder, a hub id, a name of the profile that makes the
            benchmark's models, or a ``PreTrainedModel``, of which a copy is saved under
            ``LEAKREPRO_HOME/models``.
        benchmark: Its forget prompts are searched and evaluated; its held-out prompts are only
            evaluated.
        base: Name of the base method, see ``leakrepro.unlearning.METHODS``.
        rounds: Number of rounds after the base method.
        options: Options of RULE and of its base method. If ``options`` or ``options.base`` is None
            and ``model`` is a name of the profile that makes the benchmark's models, that profile
            supplies them; otherwise the defaults apply. A line on stderr reports the source.
        tokenizer: Tokenizer of a loaded model; also used for a loaded ``retrain``.
        retrain: Model that never saw the forget set; every round is compared with it.
        decoding: Decoding settings of the evaluation; None for the benchmark's default.
        metric: Core metrics or their ids, the primary one first; None for the benchmark's own. The
            search uses the primary one unless ``options.metric`` names another.
        k: Values of k; None for powers of two up to ``decoding.n``.
        retain_n: Samples per retain prompt.
        backend: Where the search, the evaluation and the metrics' models run; None for one process.
        output_dir: Folder for the models (``round-0``, ``round-1`` ...) and the table
            (``rounds.csv``); None saves only the models, under ``LEAKREPRO_HOME/models``.
        resume: False ignores saved models and trains all rounds again.
        progress: Called with the number of finished stages and the total; None for a progress bar.

    Returns:
        The evaluated rounds; ``leakrepro.report.rule_table`` makes a table of several results.

    Raises:
        ValueError: for a negative number of rounds, an unknown method or metric, options of
            another method, an evaluation seed of 2**62 or above, or a metric that cannot score the
            prompts.
        FileNotFoundError: when a model does not exist.
        FloatingPointError: when training diverges.
    """
    decoding = decoding or benchmark.decoding
    if rounds < 0:
        raise ValueError(f"rounds must be at least 0, not {rounds}")
    if decoding.seed >= SEARCH_SEEDS:
        raise ValueError(
            f"evaluation seeds must be below 2**62, not {decoding.seed}: seeds from 2**62 on are "
            "reserved for RULE's search"
        )
    chosen, source = rule_options_for(model, benchmark, base, options)
    if options is None or options.base is None:
        tqdm.write(f"RULE around {base}: {source}", file=sys.stderr)
    path = resolve_folder(model, benchmark, _of_loaded(model, tokenizer))
    baseline = None
    if retrain is not None:
        baseline = resolve(retrain, benchmark, _of_loaded(retrain, tokenizer))
    metrics = load_metrics(metric, benchmark, backend)
    search = load_metric(chosen.metric, benchmark, backend) if chosen.metric else metrics[0]
    folder = None if output_dir is None else Path(output_dir)
    # One stage for training round 0, two per later round (search, training), one per evaluation.
    stages = _stages(1 + 2 * rounds + rounds + 1, rule_name(base, chosen.added), progress)
    shared: dict[str, Any] = {
        "decoding": decoding,
        "metric": metrics,
        "k": k,
        "retain_n": retain_n,
        "backend": backend,
    }

    def measure(index: int, checkpoint: Path) -> tuple[LeakReport, LeakReport | None]:
        name = f"{rule_name(base, chosen.added)}, round {index}" if index else base
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
            chosen,
            metric=search,
            backend=backend,
            output_dir=folder,
            resume=resume,
            quiet=progress is not None,
            stage=stage,
        )
        target = None
        if baseline is not None:
            target = evaluate(baseline, benchmark, name="Retrain", **shared)
        measured = []
        for each in done:
            report, held_out = measure(each.index, each.checkpoint)
            measured.append(
                RuleRound(
                    index=each.index,
                    checkpoint=each.checkpoint,
                    report=report,
                    held_out_report=held_out,
                    to_retrain=None if target is None else report.compare(target),
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
    result = RuleResult(base, chosen.added, benchmark.name, tuple(measured))
    if folder is not None:
        save_table(rule_table([result]), folder / "rounds.csv")
    return result


def _of_loaded(
    model: Model, tokenizer: PreTrainedTokenizerBase | None
) -> PreTrainedTokenizerBase | None:
    """The tokenizer of a loaded model; None for a folder, hub id or name, which includes one."""
    return None if isinstance(model, str | Path) else tokenizer


@contextlib.contextmanager
def _stages(total: int, label: str, progress: Progress | None) -> Iterator[Callable[[], None]]:
    """Yield a function that reports a finished stage to a progress bar or a callback."""
    with tqdm(total=total, desc=label, unit="stage", disable=progress is not None) as bar:
        done = 0

        def step() -> None:
            nonlocal done
            done += 1
            bar.update()
            if progress is not None:
                progress(done, total)

        yield step
