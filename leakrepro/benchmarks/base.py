"""What a benchmark is: who is asked what, and what its models are trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from leakrepro.types import Decoding, Prompt, check_prompts


@dataclass(frozen=True)
class Benchmark:
    """Prompts and training sets of one benchmark.

    Attributes:
        name: Name and options in one string; it goes into captions.
        forget: Prompts on which leakage is measured.
        retain: Prompts on which retained knowledge is measured.
        metrics: Ids of the core metrics (``leakrepro.metrics.load_metric``), headline first.
        decoding: Default decoding.
        train_forget: Question-answer pairs of the forget set, as they are trained.
        train_retain: The same for the retain set.
        held_out: The forget questions under another prompt key: asked to see whether what was
            found on ``forget`` holds for them, and never searched by RULE.
        fresh: Text seen once by every trained model, never evaluated: it stands for pre-training.
        subjects: Cluster -> full name of its subject; empty where the benchmark has none.
        pool_sizes: Prompt id -> number of values that its fact is drawn from uniformly. Prompts
            listed here are *easy*: a guesser hits with 1 / pool. The others are *hard*.
    """

    name: str
    forget: tuple[Prompt, ...]
    retain: tuple[Prompt, ...]
    metrics: tuple[str, ...]
    decoding: Decoding
    train_forget: tuple[Prompt, ...] = ()
    train_retain: tuple[Prompt, ...] = ()
    held_out: tuple[Prompt, ...] = ()
    fresh: tuple[Prompt, ...] = field(default=(), repr=False)
    subjects: Mapping[str, str] = field(default_factory=dict, repr=False)
    pool_sizes: Mapping[str, int] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        check_prompts(self.forget + self.retain + self.held_out)
        if not self.metrics:
            raise ValueError(f"benchmark {self.name!r} names no core metric")

    def __str__(self) -> str:
        return f"{self.name}: {len(self.forget)} forget, {len(self.retain)} retain prompts"
