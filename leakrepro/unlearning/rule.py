"""RULE: sample the unlearned model, add the leaking answers to the forget set, unlearn again.

Reisizadeh et al., arXiv 2511.04934, version 2 and later. The paper says that RULE wraps any base
method, that it adds leaking generations found by sampling the current model, and that it runs
three rounds. Everything else is an option of ``RuleOptions`` with a default of this project.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from leakrepro.benchmarks.base import Benchmark
from leakrepro.execution.backend import Backend
from leakrepro.metrics.base import CoreMetric, checked_scores
from leakrepro.sampling import sample
from leakrepro.types import Decoding, Prompt
from leakrepro.unlearning.methods.options import UnlearnOptions
from leakrepro.unlearning.methods.table import find_method
from leakrepro.unlearning.run import unlearn

# Run seeds from 2**62 on are reserved for the search for leaks; evaluation uses the seeds below.
SEARCH_SEEDS = 1 << 62
_ROUNDS = 1 << 10  # run seeds per search seed, one per round

Added = Literal["leaks", "none", "non_leaks"]
Stage = Callable[[], None]


@dataclass(frozen=True)
class RuleOptions:
    """The choices that the paper leaves open.

    Attributes:
        base: Options of the base method in round 0; None for the method's defaults.
        round: Options of the base method in each later round, with its steps or epochs, learning
            rate and retain weight; None for those of round 0.
        n: Samples per prompt in each search.
        temperature: Sampling temperature of the search, above 0.
        top_p: Nucleus sampling threshold of the search.
        top_k: The search samples from this many tokens; None for all tokens.
        prompts: Prompts of the search. ``"asked"``: the forget prompts that leak@k is measured on.
            ``"trained"``: the prompts of the forget set. The held-out prompts are never searched.
        metric: Id of the core metric that finds leaks; None for the primary metric of the
            evaluation.
        threshold: A sample leaks when its score is at least this value, in (0, 1].
        cap: Maximum number of new answers per prompt and round, the most frequent first; None for
            no limit.
        start: ``"continue"`` starts a round from the model of the round before. ``"restart"``
            starts from the original model with all leaks found so far.
        reference: Reference of the losses that need one. ``"original"``: the original model.
            ``"current"``: the model that the round starts from.
        retain_growth: ``"fixed"`` keeps the retain weight. ``"proportional"`` multiplies it by the
            growth of the forget set since round 0.
        added: Which answers are added. ``"leaks"`` is RULE. The other values are controls:
            ``"none"`` takes as many steps as RULE and does not add answers; ``"non_leaks"`` adds
            as many samples per prompt and round as RULE, but samples that do not leak.
        seed: Seed of the searches.

    Raises:
        ValueError: when a value is out of range.
    """

    base: UnlearnOptions | None = None
    round: UnlearnOptions | None = None
    n: int = 200
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    prompts: Literal["asked", "trained"] = "asked"
    metric: str | None = None
    threshold: float = 0.5
    cap: int | None = 8
    start: Literal["continue", "restart"] = "continue"
    reference: Literal["original", "current"] = "original"
    retain_growth: Literal["fixed", "proportional"] = "fixed"
    added: Added = "leaks"
    seed: int = 0

    def __post_init__(self) -> None:
        choices = {
            "prompts": ("asked", "trained"),
            "start": ("continue", "restart"),
            "reference": ("original", "current"),
            "retain_growth": ("fixed", "proportional"),
            "added": ("leaks", "none", "non_leaks"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}"
                )
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold must be in (0, 1], not {self.threshold}")
        if self.cap is not None and self.cap < 1:
            raise ValueError(f"cap must be at least 1 or None, not {self.cap}")
        if self.temperature == 0:
            raise ValueError(
                "a greedy search finds one answer per prompt: temperature must be above 0"
            )
        self.decoding(0, 1)

    def decoding(self, index: int, max_new_tokens: int) -> Decoding:
        """The decoding settings of a search; no evaluation uses its seed.

        Args:
            index: The round that follows the search, from 1.
            max_new_tokens: Maximum length of a sample, in tokens.

        Raises:
            ValueError: when a sampling option or the seed is out of range.
        """
        if not 0 <= self.seed < SEARCH_SEEDS // _ROUNDS:
            raise ValueError(f"seed must be from 0 to {SEARCH_SEEDS // _ROUNDS - 1}")
        return Decoding(
            self.temperature,
            self.top_p,
            self.top_k,
            max_new_tokens,
            self.n,
            SEARCH_SEEDS + self.seed * _ROUNDS + index,
        )


@dataclass(frozen=True)
class Round:
    """One round of RULE. Round 0 is the base method.

    Attributes:
        index: Number of the round, from 0.
        checkpoint: Folder of the round's model.
        added: Prompts with the answers that this round added to the forget set.
        forget_set_size: Number of answers in the forget set that the round trained on.
        steps: Optimiser steps of the round; 0 when its search did not find a leak.
        samples: Number of samples in the round's search.
        tokens: Number of tokens in these samples.
        leaking_samples: Number of these samples that leaked.
        leaking_prompts: Number of prompts with at least one leaking sample.
    """

    index: int
    checkpoint: Path
    added: tuple[Prompt, ...]
    forget_set_size: int
    steps: int
    samples: int = 0
    tokens: int = 0
    leaking_samples: int = 0
    leaking_prompts: int = 0


def rule_rounds(
    model: Path,
    benchmark: Benchmark,
    base: str,
    rounds: int,
    options: RuleOptions,
    *,
    metric: CoreMetric,
    backend: Backend | None = None,
    output_dir: Path | None = None,
    resume: bool = True,
    quiet: bool = False,
    stage: Stage = lambda: None,
) -> list[Round]:
    """Runs RULE or one of its controls and returns its models; ``leakrepro.rule`` measures them.

    Samples and models are stored under content keys: the same call reuses them and continues where
    it stopped. When a search does not find a leak, the remaining rounds keep the last model.

    Args:
        model: Folder of the original model.
        benchmark: The benchmark with the prompts, training sets and metric.
        base: Base method, a name of ``METHODS``.
        rounds: Number of rounds after the base method.
        options: Options of RULE.
        metric: The core metric that finds leaks.
        backend: Where the search runs; None for one process.
        output_dir: Folder for the models ``round-0``, ``round-1`` ...; None for
            ``LEAKREPRO_HOME/models``.
        resume: Whether to reuse finished models. False trains them again.
        quiet: Whether to hide the progress bars of training.
        stage: Called after each search and each training.

    Returns:
        ``rounds + 1`` rounds, the base method first.

    Raises:
        ValueError: when the options belong to another method, when the metric is unknown or cannot
            score the prompts, or when ``unlearn`` refuses its arguments.
        FloatingPointError: when training diverges.
    """
    first = options.base if options.base is not None else find_method(base).options()
    later = options.round if options.round is not None else first
    if type(later) is not find_method(base).options:
        raise ValueError(
            f"{base} takes {find_method(base).options.__name__} in its rounds, not "
            f"{type(later).__name__}"
        )
    prompts = benchmark.forget if options.prompts == "asked" else benchmark.train_forget
    checked_scores(metric, prompts[:1], [[""]])  # a metric that cannot score fails before training
    guide: list[Round] = []
    if options.added != "leaks":
        guide = rule_rounds(
            model,
            benchmark,
            base,
            rounds,
            dataclasses.replace(options, added="leaks"),
            metric=metric,
            backend=backend,
            resume=True,
            quiet=quiet,
        )

    def train(index: int, start: Path, forget: Sequence[Prompt], chosen: UnlearnOptions) -> Path:
        return unlearn(
            start,
            dataclasses.replace(benchmark, train_forget=tuple(forget)),
            base,
            chosen,
            reference=start if options.reference == "current" else model,
            output_dir=output_dir and output_dir / f"round-{index}",
            resume=resume,
            progress=(lambda done, total: None) if quiet else None,
        )

    forget = list(benchmark.train_forget)
    size = len(forget)
    done = [
        Round(0, train(0, model, forget, first), (), size, _steps(first, size)),
    ]
    stage()
    for index in range(1, rounds + 1):
        last = done[-1]
        decoding = options.decoding(index, benchmark.decoding.max_new_tokens)
        found = sample(last.checkpoint, prompts, decoding, backend=backend)
        scores = checked_scores(metric, prompts, found.texts)
        leaks = [row >= options.threshold for row in scores]
        stage()
        searched = Round(
            index,
            last.checkpoint,
            (),
            last.forget_set_size,
            0,
            samples=sum(map(len, leaks)),
            tokens=found.tokens,
            leaking_samples=sum(int(row.sum()) for row in leaks),
            leaking_prompts=sum(bool(row.any()) for row in leaks),
        )
        # A control stops when RULE stops, and takes the same number of steps.
        if not (guide[index].steps if guide else searched.leaking_samples):
            done.append(searched)
            stage()
            continue
        wanted = Counter(_question(p) for p in guide[index].added) if guide else None
        added = _collect(index, prompts, found.texts, leaks, forget, options, wanted)
        forget += added
        chosen = later
        if guide:
            chosen = dataclasses.replace(chosen, steps=guide[index].steps)
        if options.retain_growth == "proportional":
            weight = later.retain_weight * len(forget) / size
            chosen = dataclasses.replace(chosen, retain_weight=weight)
        start = last.checkpoint if options.start == "continue" else model
        done.append(
            dataclasses.replace(
                searched,
                checkpoint=train(index, start, forget, chosen),
                added=tuple(added),
                forget_set_size=len(forget),
                steps=_steps(chosen, len(forget)),
            )
        )
        stage()
    return done


def _collect(
    index: int,
    prompts: Sequence[Prompt],
    texts: Sequence[Sequence[str]],
    leaks: Sequence[np.ndarray],
    forget: Iterable[Prompt],
    options: RuleOptions,
    wanted: Mapping[str, int] | None,
) -> list[Prompt]:
    """New answers for the forget set: without duplicates, the most frequent first.

    Args:
        index: The round that adds them.
        prompts: The searched prompts.
        texts: The samples of each prompt.
        leaks: For each prompt, [samples], whether the sample leaks.
        forget: The forget set so far.
        options: Options of RULE.
        wanted: For a control, the number of answers by question; None for RULE itself, which adds
            up to ``options.cap`` answers per prompt.

    Returns:
        Prompts with the new answers as references.
    """
    known: dict[str, set[str]] = {}
    for prompt in forget:
        known.setdefault(_question(prompt), set()).add(prompt.reference)
    added = []
    for prompt, answers, leaking in zip(prompts, texts, leaks, strict=True):
        question = _question(prompt)
        pick = leaking if wanted is None else ~leaking
        counts = Counter(a for a, chosen in zip(answers, pick, strict=True) if chosen and a)
        new = [a for a, _ in counts.most_common() if a not in known.get(question, set())]
        limit = options.cap if wanted is None else wanted.get(question, 0)
        if options.added == "none":
            limit = 0
        for number, answer in enumerate(new[:limit]):
            added.append(
                dataclasses.replace(prompt, id=f"{prompt.id}/{index}.{number}", reference=answer)
            )
            known.setdefault(question, set()).add(answer)
    return added


def _question(prompt: Prompt) -> str:
    """The messages of a prompt as one string: equal for prompts that ask the same."""
    return "\0".join(f"{m['role']}\0{m['content']}" for m in prompt.messages)


def _steps(options: UnlearnOptions, size: int) -> int:
    """Optimiser steps that one process takes on a forget set of ``size`` answers."""
    if options.steps is not None:
        return options.steps
    return math.ceil(options.epochs * size / (options.batch_size * options.accumulation))
