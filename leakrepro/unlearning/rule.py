"""RULE: sample the unlearned model, add what leaks to the forget set, unlearn again.

Reisizadeh et al., arXiv 2511.04934, from version 2 on. What is known of it is that it wraps any
base method, adds leaking generations found by sampling the current model, and takes three rounds;
all else is an option of ``RuleOptions`` with a default of this project.
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
from leakrepro.metrics.base import CoreMetric
from leakrepro.sampling import sample
from leakrepro.types import Decoding, Prompt
from leakrepro.unlearning.methods.options import UnlearnOptions
from leakrepro.unlearning.methods.table import find_method
from leakrepro.unlearning.run import unlearn

# Run seeds from here on belong to the search for leaks, those below to evaluation.
SEARCH_SEEDS = 1 << 62
_ROUNDS = 1 << 10  # seeds of one search seed

Added = Literal["leaks", "none", "non_leaks"]
Stage = Callable[[], None]


@dataclass(frozen=True)
class RuleOptions:
    """What the paper leaves open about RULE.

    Attributes:
        base: Options of the base method for round 0; None: the method's defaults.
        round: Options of the base method in each round; None: as in round 0. They hold the steps or
            epochs, learning rate and retain weight of a round.
        n: Samples a prompt in each search.
        temperature: Of the search.
        top_p: Of the search.
        top_k: Of the search; None keeps all tokens.
        prompts: What is sampled: ``"asked"``, the forget prompts that leak@k is measured on, or
            ``"trained"``, the questions of the forget set. Neither touches the held-out prompts.
        metric: Id of the core metric that finds leaks; None: the primary metric of the evaluation.
        threshold: A sample leaks when its score is at least this, in (0, 1].
        cap: New leaks a prompt and round at most, the most frequent first; None: no limit.
        start: ``"continue"`` from the last round's model, or ``"restart"`` from the original one
            with all leaks found so far.
        reference: Reference of the losses that have one: the ``"original"`` model, or the
            ``"current"`` one, which each round starts from.
        retain_growth: Retain weight of a round: ``"fixed"``, or ``"proportional"`` to the size of
            the forget set.
        added: What is added. ``"leaks"`` is RULE. The controls: ``"none"`` takes as many steps as
            RULE does and adds nothing; ``"non_leaks"`` adds, for each prompt and round, as many
            samples as RULE adds, but such that do not leak.
        seed: Of the searches.

    Raises:
        ValueError: for a value out of range.
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
                "a greedy search finds one answer a prompt: temperature must be above 0"
            )
        self.decoding(0, 1)

    def decoding(self, index: int, max_new_tokens: int) -> Decoding:
        """How round ``index`` is searched; its seed is no evaluation's.

        Raises:
            ValueError: for a sampling option or seed out of range.
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
    """One round of RULE, or round 0: the base method.

    Attributes:
        index: 0 for the base method.
        checkpoint: Folder of its model.
        added: Answers that this round added to the forget set, as questions with answers.
        forget_set_size: Answers in the forget set that it trained on.
        steps: Optimiser steps that it took; 0 where the search had found nothing.
        samples: Samples of the search before it.
        tokens: Tokens of these samples.
        leaking_samples: How many of them leaked.
        leaking_prompts: How many prompts they were of.
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
    """Runs RULE, or one of its controls, and returns its models; ``leakrepro.rule`` measures them.

    Everything is kept by content: the same call reads what is there and goes on where it stopped.
    When a search finds no leak at all, the rounds that are left keep the last model.

    Args:
        model: The original model.
        benchmark: Gives the prompts, training sets and metric.
        base: A name of ``METHODS``.
        rounds: Rounds after the base method.
        options: Of RULE.
        metric: Finds leaks.
        backend: Where the search runs; None for one process.
        output_dir: Models go to ``round-0``, ``round-1`` ... of this folder.
        resume: False trains everything from the start.
        quiet: No progress bars of training.
        stage: Called after each search and each training.

    Returns:
        ``rounds + 1`` rounds, the base method first.

    Raises:
        ValueError: for options of another method, a metric that is not known or cannot score the
            prompts, and as ``unlearn``.
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
    metric.score(prompts[:1], [[""]])  # one that cannot score is an error before any training
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
        scores = metric.score(prompts, found.texts)
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
        # A control stops where RULE does, so that it takes no more steps.
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
    """New answers for the forget set: de-duplicated, the most frequent first, capped a prompt.

    ``wanted`` gives a control's number of answers by question; None is RULE itself.
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
    return "\0".join(f"{m['role']}\0{m['content']}" for m in prompt.messages)


def _steps(options: UnlearnOptions, size: int) -> int:
    """Optimiser steps on a forget set of ``size`` answers, one process."""
    if options.steps is not None:
        return options.steps
    return math.ceil(options.epochs * size / (options.batch_size * options.accumulation))
