"""The result of evaluating one model: leak curves, greedy leak, retain score."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from leakrepro.stats.estimator import LeakCurve
from leakrepro.types import Decoding


@dataclass(frozen=True, eq=False)
class LeakReport:
    """The evaluation of one model on one benchmark under one decoding.

    Attributes:
        model: Name of the model, as tables and legends show it.
        benchmark: Name of the benchmark with its options.
        weights: Fingerprint of the weights that were evaluated.
        decoding: How the samples were drawn.
        texts: ``digest_texts`` of the samples; it tells when two models wrote the same.
        curves: Core metric id -> leak@k on the forget prompts; the headline metric first.
        greedy: Core metric id -> leak of the greedy answers, one row a prompt (k = 1).
        retain_greedy: Core metric id -> score of the greedy answers to the retain prompts (k = 1).
        retain_sampled: The same for sampled answers: the retain score (k = 1).
        finished: Share of the samples that ended before the length limit, in [0, 1].
        samples: Directory of the sample store.
        missing: Core metric id -> samples without a score, where that was allowed.
        named: Share of the samples that name the right subject, in [0, 1], where that is known.
        easy: leak@k of the headline metric on prompts with facts that can be guessed.
        hard: The same on the other prompts.
        chance: What a uniform guesser leaks on the easy prompts at ``easy.k``, [len(k)].
        draws: Core metric id -> standard error of leak@k under new draws of the same prompts,
            [len(k)], for the metrics of which values are published.

    Raises:
        ValueError: when the parts do not fit each other; the message names the model.
    """

    model: str
    benchmark: str
    weights: str
    decoding: Decoding
    texts: str
    curves: Mapping[str, LeakCurve]
    greedy: Mapping[str, LeakCurve]
    retain_greedy: Mapping[str, LeakCurve]
    retain_sampled: Mapping[str, LeakCurve]
    finished: float
    samples: Path
    missing: Mapping[str, int] = field(default_factory=dict)
    named: float | None = None
    easy: LeakCurve | None = None
    hard: LeakCurve | None = None
    chance: NDArray[np.float64] | None = None
    draws: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.curves:
            raise ValueError(f"report of {self.model!r}: no core metric was computed")
        for name in ("greedy", "retain_greedy", "retain_sampled"):
            curves: Mapping[str, LeakCurve] = getattr(self, name)
            if set(curves) != set(self.curves):
                raise ValueError(
                    f"report of {self.model!r}: {name} has the metrics {sorted(curves)}, curves "
                    f"has {sorted(self.curves)}"
                )
            if any(curve.k.tolist() != [1] for curve in curves.values()):
                raise ValueError(f"report of {self.model!r}: {name} must hold k = 1 alone")
        if not 0 <= self.finished <= 1:
            raise ValueError(
                f"report of {self.model!r}: finished is a share in [0, 1], not {self.finished}"
            )
        if self.chance is not None and (
            self.easy is None or self.chance.shape != self.easy.k.shape
        ):
            raise ValueError(f"report of {self.model!r}: chance needs one value for each easy.k")

    @property
    def headline(self) -> str:
        """Id of the headline metric."""
        return next(iter(self.curves))

    def curve(self, metric: str | None = None) -> LeakCurve:
        """The curve of a metric (None: the headline); ValueError when it was not computed."""
        metric = self.headline if metric is None else metric
        if metric not in self.curves:
            raise ValueError(
                f"report of {self.model!r} has no metric {metric!r}, only {', '.join(self.curves)}"
            )
        return self.curves[metric]


def digest_texts(texts: Iterable[Sequence[str]]) -> str:
    """Hash of samples, one sequence a prompt; equal only for the same texts in the same order."""
    digest = hashlib.blake2b(digest_size=16)
    for row in texts:
        digest.update(len(row).to_bytes(8, "little"))
        for text in row:
            data = text.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
    return digest.hexdigest()


def check_reports(reports: Iterable[LeakReport]) -> tuple[LeakReport, ...]:
    """The reports as a tuple, when they can stand in one table.

    Warns (``UserWarning``) when different weights gave identical samples: that is what a cache
    served under the wrong name looks like.

    Raises:
        ValueError: for no reports, the same weights under two names, one name for two weights on
            one benchmark, or the same model under the same decoding twice.
    """
    checked = tuple(reports)
    if not checked:
        raise ValueError("no reports were given")
    names: dict[str, str] = {}
    weights: dict[tuple[str, str], str] = {}
    writers: dict[str, LeakReport] = {}
    seen: set[tuple[str, str, Decoding]] = set()
    for report in checked:
        other = names.setdefault(report.weights, report.model)
        if other != report.model:
            raise ValueError(
                f"{other!r} and {report.model!r} are the same weights ({report.weights}): one of "
                "them was not loaded or not trained as named"
            )
        place = (report.model, report.benchmark)  # each world has an "NPO" of its own
        if weights.setdefault(place, report.weights) != report.weights:
            raise ValueError(
                f"two models with different weights are named {report.model!r} on "
                f"{report.benchmark}"
            )
        key = (report.model, report.benchmark, report.decoding)
        if key in seen:
            raise ValueError(f"{report.model!r} is reported twice on {report.benchmark}")
        seen.add(key)
        writer = writers.setdefault(report.texts, report)
        if writer.weights != report.weights:
            warnings.warn(
                f"{writer.model!r} and {report.model!r} have different weights but identical "
                f"samples ({writer.samples} and {report.samples})",
                UserWarning,
                stacklevel=2,
            )
    return checked


def describe_decoding(decoding: Decoding) -> str:
    """The decoding in the field's short form, such as ``T = 1, top-p 1``."""
    if decoding.is_greedy:
        return "greedy"
    top_k = "" if decoding.top_k is None else f", top-k {decoding.top_k}"
    return f"T = {decoding.temperature:g}, top-p {decoding.top_p:g}{top_k}"
