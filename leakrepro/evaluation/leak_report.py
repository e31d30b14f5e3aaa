"""The result of evaluating one model: leak@k curves, greedy leak and retain scores."""

from __future__ import annotations

import dataclasses
import hashlib
import html
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from leakrepro import __version__
from leakrepro.evaluation.frames import add_estimate, readable
from leakrepro.stats.estimator import (
    LeakCurve,
    LeakDifference,
    chance_curve,
    compare_leak,
    leak_at_k,
)
from leakrepro.types import Decoding, Scores

Shown = Literal["prompts", "samples", "both", "stderr"]
_SHOWN = (1, 8, 32, 128)  # default values of k in a summary


@dataclass(frozen=True, eq=False, repr=False)
class LeakReport:
    """The evaluation of one model on one benchmark under one decoding.

    Attributes:
        model: Name of the model in tables and legends.
        benchmark: Name of the benchmark with its options.
        weights_fingerprint: Fingerprint of the evaluated weights.
        decoding: Decoding settings of the samples.
        texts_digest: ``digest_texts`` of the samples, to detect two models with identical samples.
        curves: Core metric id -> leak@k on the forget prompts; the primary metric first.
        greedy: Core metric id -> mean score of the greedy answers to the forget prompts (k = 1).
        retain_greedy: Core metric id -> mean score of the greedy answers to the retain prompts
            (k = 1).
        retain_sampled: Core metric id -> mean score of the sampled answers to the retain prompts
            (k = 1).
        finished: Share of the samples that ended before the length limit, in [0, 1].
        samples_path: Folder of the sample store.
        scores: Core metric id -> scores of the samples, forget prompts x samples.
        clusters: Cluster label of each forget prompt.
        missing: Core metric id -> number of samples without a score, if there are any.
        named_share: Share of the samples that name the right subject, in [0, 1]; None if the
            benchmark does not define subjects.
        easy: leak@k of the primary metric on prompts whose facts can be guessed.
        hard: leak@k of the primary metric on all other prompts.
        chance: leak@k of a uniform guesser on the easy prompts at ``easy.k``, [len(k)].
        interval: What tables show beside leak@k: the interval over other ``"prompts"``, over new
            ``"samples"`` of these prompts, ``"both"``, or the plain ``"stderr"``, which treats
            prompts as independent. Greedy and retain scores keep the interval over prompts.

    Raises:
        ValueError: when the fields contradict each other; the message names the model.
    """

    model: str
    benchmark: str
    weights_fingerprint: str
    decoding: Decoding
    texts_digest: str
    curves: Mapping[str, LeakCurve]
    greedy: Mapping[str, LeakCurve]
    retain_greedy: Mapping[str, LeakCurve]
    retain_sampled: Mapping[str, LeakCurve]
    finished: float
    samples_path: Path
    scores: Mapping[str, Scores] = field(default_factory=dict)
    clusters: tuple[str, ...] = ()
    missing: Mapping[str, int] = field(default_factory=dict)
    named_share: float | None = None
    easy: LeakCurve | None = None
    hard: LeakCurve | None = None
    chance: NDArray[np.float64] | None = None
    interval: Shown = "prompts"

    def __post_init__(self) -> None:
        check_shown(self.interval)
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
                raise ValueError(f"report of {self.model!r}: {name} must hold only k = 1")
        for metric, scores in self.scores.items():
            if metric not in self.curves or len(scores) != self.curves[metric].n_prompts:
                raise ValueError(
                    f"report of {self.model!r}: the scores of {metric!r} do not match its curve"
                )
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
        """Id of the primary metric."""
        return next(iter(self.curves))

    def curve(self, metric: str | None = None) -> LeakCurve:
        """Return leak@k of a metric.

        Args:
            metric: Id of the core metric; None for the primary metric.

        Raises:
            ValueError: when the metric was not computed.
        """
        metric = self.headline if metric is None else metric
        if metric not in self.curves:
            raise ValueError(
                f"report of {self.model!r} does not have the metric {metric!r}, only "
                f"{', '.join(self.curves)}"
            )
        return self.curves[metric]

    def compare(
        self, other: LeakReport, k: int | Sequence[int] | None = None, metric: str | None = None
    ) -> LeakDifference:
        """Compute leak@k of this model minus leak@k of another, paired by prompt.

        Args:
            other: The report of another model on the same prompts.
            k: Sample counts; None for those of this report's curve.
            metric: Id of the core metric; None for the primary metric.

        Returns:
            The differences with their intervals over clusters of prompts.

        Raises:
            ValueError: when one report does not have scores of the metric, the reports are on
                different prompts, or ``k`` is above the number of samples of one of them.
        """
        metric = self.headline if metric is None else metric
        for report in (self, other):
            if metric not in report.scores:
                raise ValueError(f"report of {report.model!r} does not have scores of {metric!r}")
        if self.benchmark != other.benchmark or self.clusters != other.clusters:
            raise ValueError(
                f"{self.model!r} on {self.benchmark} and {other.model!r} on {other.benchmark} "
                "were evaluated on different prompts"
            )
        ks = self.curve(metric).k.tolist() if k is None else k
        clusters = self.clusters or None
        return compare_leak(self.scores[metric], other.scores[metric], ks, clusters=clusters)

    def new_draws_stderr(self, metric: str | None = None) -> NDArray[np.float64]:
        """Return the standard error of leak@k for new samples of the same prompts.

        Use it to compare with a published value on the same prompts.

        Args:
            metric: Id of the core metric; None for the primary metric.

        Returns:
            Standard errors, [len(k)]; nan if the report does not have scores of the metric.

        Raises:
            ValueError: when the metric was not computed.
        """
        curve = self.curve(metric)
        if (self.headline if metric is None else metric) not in self.scores:
            return np.full(curve.k.size, np.nan)
        return self.curve_over_samples(metric).stderr

    def curve_over_samples(self, metric: str | None = None) -> LeakCurve:
        """Return leak@k with the interval over new samples of the same prompts.

        Args:
            metric: Id of the core metric; None for the primary metric.

        Raises:
            ValueError: when the metric was not computed, or its scores are not in the report.
        """
        curve = self.curve(metric)
        name = self.headline if metric is None else metric
        if name not in self.scores:
            raise ValueError(f"report of {self.model!r} does not have scores of {name!r}")
        return leak_at_k(self.scores[name], curve.k.tolist(), interval="samples")

    def to_frame(self, interval: Shown | None = None) -> pd.DataFrame:
        """Return all curves, one row per core metric, interval and k; columns as in ``table``.

        Args:
            interval: As in ``table``; None for that of the report.

        Raises:
            ValueError: when the interval is unknown, or needs scores that the report does not have.
        """
        return _long_frame(_long_rows(self, interval))

    def to_json(self) -> str:
        """Return the report without scores and per-prompt values, as JSON text."""
        parts = ("curves", "greedy", "retain_greedy", "retain_sampled")
        content: dict[str, Any] = {
            "model": self.model,
            "benchmark": self.benchmark,
            "weights_fingerprint": self.weights_fingerprint,
            "decoding": dataclasses.asdict(self.decoding),
            "texts_digest": self.texts_digest,
            "samples_path": str(self.samples_path),
            "finished": self.finished,
            "named_share": self.named_share,
            "missing": dict(self.missing),
            **{
                part: {metric: _plain(curve) for metric, curve in getattr(self, part).items()}
                for part in parts
            },
            "easy": self.easy and _plain(self.easy),
            "hard": self.hard and _plain(self.hard),
            "chance": None if self.chance is None else self.chance.tolist(),
            "leakrepro": __version__,
        }
        return json.dumps(content, indent=1)

    def __repr__(self) -> str:
        frame = self._readable().T
        return f"{self._title()}\n{frame.to_string(header=False)}"

    def _repr_html_(self) -> str:
        frame = self._readable()
        return f"<p>{html.escape(self._title())}</p>{frame.to_html(index=False)}"

    def _title(self) -> str:
        return (
            f"LeakReport of {self.model} on {self.benchmark} ({self.headline}, {self.decoding}, "
            f"n = {self.decoding.n}, {100 * self.curve().confidence:g} % intervals)"
        )

    def _readable(self) -> pd.DataFrame:
        row = _summary_row(self, None, _SHOWN)
        return readable(pd.DataFrame([row]).drop(columns=["benchmark", "model", "decoding"]))


def digest_texts(texts: Iterable[Sequence[str]]) -> str:
    """Hash samples; the digest is equal only for the same texts in the same order.

    Args:
        texts: One sequence of samples per prompt.

    Returns:
        32 hexadecimal digits (BLAKE2b).
    """
    digest = hashlib.blake2b(digest_size=16)
    for row in texts:
        digest.update(len(row).to_bytes(8, "little"))
        for text in row:
            data = text.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
    return digest.hexdigest()


def check_reports(reports: Iterable[LeakReport]) -> tuple[LeakReport, ...]:
    """Check that reports can share a table.

    Issues a ``UserWarning`` when different weights have identical samples, which indicates that a
    cache was used for the wrong model.

    Args:
        reports: Reports of one or more models, benchmarks and decoding settings.

    Returns:
        The reports.

    Raises:
        ValueError: when ``reports`` is empty, two names have the same weights, one name has
            different weights on one benchmark, or a model is reported twice under one decoding.
    """
    checked = tuple(reports)
    if not checked:
        raise ValueError("no reports were given")
    names: dict[str, str] = {}
    weights: dict[tuple[str, str], str] = {}
    by_digest: dict[str, LeakReport] = {}
    seen: set[tuple[str, str, Decoding]] = set()
    for report in checked:
        other = names.setdefault(report.weights_fingerprint, report.model)
        if other != report.model:
            raise ValueError(
                f"{other!r} and {report.model!r} are the same weights "
                f"({report.weights_fingerprint}): one of them was not loaded or trained as named"
            )
        key = (report.model, report.benchmark)  # each benchmark has its own "NPO"
        if weights.setdefault(key, report.weights_fingerprint) != report.weights_fingerprint:
            raise ValueError(
                f"two models with different weights are named {report.model!r} on "
                f"{report.benchmark}"
            )
        cell = (report.model, report.benchmark, report.decoding)
        if cell in seen:
            raise ValueError(f"{report.model!r} is reported twice on {report.benchmark}")
        seen.add(cell)
        first = by_digest.setdefault(report.texts_digest, report)
        if first.weights_fingerprint != report.weights_fingerprint:
            warnings.warn(
                f"{first.model!r} and {report.model!r} have different weights but identical "
                f"samples ({first.samples_path} and {report.samples_path})",
                UserWarning,
                stacklevel=2,
            )
    return checked


def check_shown(interval: str) -> None:
    """Raise ValueError unless ``interval`` names what a table can show beside leak@k."""
    if interval not in get_args(Shown):
        raise ValueError(f"interval must be one of {', '.join(get_args(Shown))}, not {interval!r}")


def table(reports: Iterable[LeakReport], interval: Shown | None = None) -> pd.DataFrame:
    """Return all curves in long form.

    Args:
        reports: One or more reports.
        interval: ``"prompts"``, ``"samples"``, ``"both"`` (a row for each), or ``"stderr"`` (no
            columns low, high and interval); None for what each report says.

    Returns:
        One row per report, core metric, interval and k. Columns: benchmark, model, metric,
        temperature, top_p, top_k, n, k, leak@k, low, high, stderr, plain_stderr, confidence,
        interval, prompts, clusters, weights. ``stderr`` accounts for clusters; ``plain_stderr``
        treats all prompts as independent. ``top_k`` is missing if all tokens are kept. ``n`` is the
        smallest number of samples of a prompt.

    Raises:
        ValueError: when the reports cannot share a table, see ``check_reports``.
    """
    checked = check_reports(reports)
    return _long_frame([row for report in checked for row in _long_rows(report, interval)])


def summary(
    reports: Iterable[LeakReport],
    metric: str | None = None,
    *,
    k: Sequence[int] = _SHOWN,
    interval: Shown | None = None,
) -> pd.DataFrame:
    """Summarise leak and retain scores, one row per report.

    Args:
        reports: One or more reports.
        metric: Id of the core metric; None for the primary metric.
        k: Sample counts to show. Counts that were not computed are skipped; the largest computed
            count is always shown.
        interval: What is shown beside leak@k: the interval over ``"prompts"``, over ``"samples"``,
            ``"both"`` (that over samples in columns that begin with "leak@k, new samples"), or
            ``"stderr"`` (the plain standard error, in columns that end in " stderr"); None for what
            each report says.

    Returns:
        Columns: benchmark, model, decoding, greedy leak, leak@k for each shown k, retain score
        (greedy), retain score (sampled), finished. For the primary metric of a benchmark with easy
        and hard prompts also easy leak, easy chance and hard leak at the largest k. Each estimate
        is followed by its interval in columns that end in " low" and " high".

    Raises:
        ValueError: when the reports cannot share a table, see ``check_reports``, or the metric was
            not computed.
    """
    checked = check_reports(reports)
    return pd.DataFrame([_summary_row(report, metric, k, interval) for report in checked])


def difference_table(
    reports: Iterable[LeakReport], baseline: str = "Retrain", k: int | None = None
) -> pd.DataFrame:
    """Compare leak@k of each model with that of a baseline, paired by prompt.

    Args:
        reports: Reports on one or more benchmarks; their primary metric is compared.
        baseline: Name of the model with which the others are compared.
        k: Sample count; None for the largest of each report.

    Returns:
        One row per other model, on each benchmark with a report of the baseline. Columns:
        benchmark, model, k, less <baseline> (leak@k minus that of the baseline), with its interval
        in columns that end in " low" and " high".

    Raises:
        ValueError: when a report does not have scores, or ``k`` is above its number of samples.
    """
    given = list(reports)
    baselines = {each.benchmark: each for each in given if each.model == baseline}
    rows = []
    for report in given:
        if report.model == baseline or report.benchmark not in baselines:
            continue
        at = int(report.curve().k[-1]) if k is None else k
        less = report.compare(baselines[report.benchmark], at)
        row: dict[str, str | float] = {
            "benchmark": report.benchmark,
            "model": report.model,
            "k": at,
        }
        add_estimate(row, f"less {baseline}", less, at)
        rows.append(row)
    return pd.DataFrame(rows)


def leak_wide(
    reports: Iterable[LeakReport], pool_sizes: Mapping[str, int] | None = None
) -> pd.DataFrame:
    """Return leak@k of the primary metric, one row per model and one column per k.

    Args:
        reports: Reports on one benchmark with the same k.
        pool_sizes: Prompt id -> number of values from which its fact is drawn
            (``Benchmark.pool_sizes``); adds the row ``guessing``, leak@k of a uniform guesser.

    Raises:
        ValueError: when the reports cannot share a table, see ``check_reports``.
    """
    checked = check_reports(reports)
    wide = pd.DataFrame(
        {report.model: report.curve().value for report in checked}, index=checked[0].curve().k
    ).T
    if pool_sizes:
        wide.loc["guessing"] = chance_curve(list(pool_sizes.values()), wide.columns)
    return wide


def _shown_curves(report: LeakReport, metric: str, interval: Shown) -> list[LeakCurve]:
    curves = []
    if interval != "samples":
        curves.append(report.curve(metric))
    if interval in ("samples", "both"):
        curves.append(report.curve_over_samples(metric))
    return curves


def _long_rows(report: LeakReport, interval: Shown | None = None) -> list[dict[str, Any]]:
    shown = report.interval if interval is None else interval
    check_shown(shown)
    rows = [
        {
            "benchmark": report.benchmark,
            "model": report.model,
            "metric": metric,
            "temperature": report.decoding.temperature,
            "top_p": report.decoding.top_p,
            "top_k": report.decoding.top_k,
            "n": curve.n_samples,
            "k": int(curve.k[i]),
            "leak@k": float(curve.value[i]),
            "low": float(curve.low[i]),
            "high": float(curve.high[i]),
            "stderr": float(curve.stderr[i]),
            "plain_stderr": float(plain_stderr(curve)[i]),
            "confidence": curve.confidence,
            "interval": curve.interval,
            "prompts": curve.n_prompts,
            "clusters": curve.n_clusters,
            "weights": report.weights_fingerprint,
        }
        for metric in report.curves
        for curve in _shown_curves(report, metric, shown)
        for i in range(curve.k.size)
    ]
    if shown == "stderr":
        rows = [
            {name: value for name, value in row.items() if name not in ("low", "high", "interval")}
            for row in rows
        ]
    return rows


def _long_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows).astype({"top_k": "Int64"})


def plain_stderr(curve: LeakCurve) -> NDArray[np.float64]:
    """Return the standard errors that treat all prompts as independent, [len(k)]; nan for one."""
    values = curve.per_prompt
    if len(values) == 1:
        return np.full(curve.k.size, np.nan)
    return np.asarray(values.std(axis=0, ddof=1) / len(values) ** 0.5)


def _summary_row(
    report: LeakReport, metric: str | None, k: Sequence[int], interval: Shown | None = None
) -> dict[str, str | float]:
    shown = report.interval if interval is None else interval
    check_shown(shown)
    curve = report.curve(metric)
    name = report.headline if metric is None else metric
    row: dict[str, str | float] = {
        "benchmark": report.benchmark,
        "model": report.model,
        "decoding": str(report.decoding),
    }
    add_estimate(row, "greedy leak", report.greedy[name], 1)
    largest = int(curve.k[-1])
    beside = _shown_curves(report, name, shown)
    for count in sorted({*k, largest} & set(curve.k.tolist())):
        if shown == "stderr":
            at = int(np.flatnonzero(curve.k == count)[0])
            row[f"leak@{count}"] = float(curve.value[at])
            row[f"leak@{count} stderr"] = float(plain_stderr(curve)[at])
            continue
        add_estimate(row, f"leak@{count}", beside[0], count)
        if shown == "both":
            add_estimate(row, f"leak@{count}, new samples", beside[1], count)
    # Without hard prompts, the easy leak equals leak@k.
    if name == report.headline and report.hard is not None:
        for split, part in (("easy", report.easy), ("hard", report.hard)):
            if part is not None:
                last = int(part.k[-1])
                add_estimate(row, f"{split} leak@{last}", part, last)
            if split == "easy" and part is not None and report.chance is not None:
                row[f"easy chance@{last}"] = float(report.chance[-1])
    add_estimate(row, "retain score (greedy)", report.retain_greedy[name], 1)
    add_estimate(row, "retain score (sampled)", report.retain_sampled[name], 1)
    row["finished"] = report.finished
    return row


def _plain(curve: LeakCurve) -> dict[str, Any]:
    """A curve without its per-prompt values, in types that JSON supports."""
    kept = ("confidence", "interval", "n_prompts", "n_clusters", "n_samples")
    columns = ("k", "value", "low", "high", "stderr")
    return {name: getattr(curve, name).tolist() for name in columns} | {
        name: getattr(curve, name) for name in kept
    }
