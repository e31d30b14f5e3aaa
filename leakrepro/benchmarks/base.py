"""The ``Benchmark`` class: evaluation prompts and training sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from leakrepro.types import Decoding, Prompt, check_prompts


@dataclass(frozen=True)
class Benchmark:
    """Prompts and training sets of one benchmark.

    Attributes:
        name: Name and options in one string, as shown in captions.
        forget: Prompts on which leakage is measured.
        retain: Prompts on which retained knowledge is measured.
        metrics: Ids of the core metrics (see ``leakrepro.load_metric``), primary metric first.
        decoding: Default decoding.
        train_forget: Training examples (question and answer) of the forget set.
        train_retain: Training examples (question and answer) of the retain set.
        held_out: The forget questions under the other prompt key. They test whether results on
            ``forget`` carry over to other wordings; RULE never searches them.
        fresh: Pretraining text: every trained model sees it once, and it is never evaluated.
        subjects: Cluster -> full name of its subject; empty if the benchmark does not have names.
        pool_sizes: Prompt id -> number of values that its fact is drawn from uniformly. Prompts
            listed here are *easy*: a random guess is right with probability 1 / pool size. The
            others are *hard*.

    Raises:
        ValueError: if two prompts share an id, or ``metrics`` is empty.
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
