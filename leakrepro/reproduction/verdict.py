"""Compare our values with the published ones; decide whether sampling explains the difference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from leakrepro.evaluation.frames import read_table
from leakrepro.report.published import metric_name, published_trajectories
from leakrepro.report.spread import published_spread

Word = Literal["agrees", "differs", "nothing published", "other models", "failed"]
_THEIR_N = 200  # samples per prompt
_CONFIDENCE = 0.99
_NUMBERS = ("ours", "published", "stderr", "noise", "precision")
_COLUMNS = ["model", "what", *_NUMBERS, "checkpoint"]


@dataclass(frozen=True, eq=False)
class Verdict:
    """What a notebook's values say about the published ones.

    Attributes:
        word: ``"agrees"``, ``"differs"``, ``"nothing published"``, ``"other models"`` (than the
            paper's) or ``"failed"``.
        values: One row per value: model, what, ours, published, difference, tolerance, agrees,
            checkpoint.
    """

    word: Word
    values: pd.DataFrame

    def __str__(self) -> str:
        if self.word not in ("agrees", "differs"):
            return self.word
        own = self.values[self.values["checkpoint"] == ""]
        return f"{self.word} ({int(own['agrees'].sum())} of {len(own)})"


def verdict(values: pd.DataFrame | None, *, paper: bool = True, failed: bool = False) -> Verdict:
    """Compares a notebook's values with the published ones.

    A value agrees when |ours - published| <= z sqrt(noise^2 + stderr^2) + precision, with

    - noise: standard deviation of the published value over generation seeds. The authors published
      24 seeds of GradDiff (.0011 at k = 1 to .0066 at k = 128). Our standard error, scaled to their
      200 samples per prompt, replaces it where it is larger;
    - stderr: standard error of our value under new samples of the same prompts (the interval
      ``"samples"`` of ``leak_at_k``); the noise where it is not known;
    - precision: largest error with which the published value was read;
    - z: chosen so that all m values of a notebook agree with a probability of at least .99 when
      only the samples differ (Bonferroni: 2.6 for one value, 3.8 for 64).

    All of the paper's own values must agree. Values of a re-run on other weights are in the table
    with their ``checkpoint`` and do not count. Models that were trained here also differ by their
    training, which the tolerance does not include.

    Args:
        values: Columns model, what, ours, published, stderr, noise, precision, checkpoint; None
            when nothing is published about the notebook's topic.
        paper: Whether the models are the paper's.
        failed: Whether the notebook failed.

    Returns:
        The verdict with the table of values.
    """
    table = pd.DataFrame(columns=_COLUMNS) if values is None else values
    # Columns without rows do not have a type.
    table = table.astype(dict.fromkeys(_NUMBERS, float)).astype({"checkpoint": str})
    z = stats.norm.isf((1 - _CONFIDENCE) / (2 * max(len(table), 1)))
    table["difference"] = table["ours"] - table["published"]
    spread = np.hypot(table["noise"], table["stderr"].fillna(table["noise"]))
    table["tolerance"] = z * spread + table["precision"]
    table["agrees"] = table["difference"].abs() <= table["tolerance"]
    word: Word
    if failed:
        word = "failed"
    elif values is None:
        word = "nothing published"
    elif not paper:
        word = "other models"
    elif not (table["checkpoint"] == "").any():
        word = "nothing published"
    else:
        word = "agrees" if table.loc[table["checkpoint"] == "", "agrees"].all() else "differs"
    return Verdict(word, table)


def seed_noise(k: ArrayLike) -> NDArray[np.float64]:
    """Standard deviation of leak@k over the authors' 24 seeds, interpolated linearly in log k."""
    spread = published_spread()
    at = np.log2(np.asarray(k, dtype=float))
    return np.asarray(np.interp(at, np.log2(spread["k"]), spread["std"]))


def compare_results(folder: Path, stem: str) -> pd.DataFrame | None:
    """A notebook's values next to the published ones, from the tables that it wrote.

    Args:
        folder: Results of a profile.
        stem: The notebook.

    Returns:
        The argument ``values`` of ``verdict``: without rows if the tables do not contain published
        models, None if nothing is published about the notebook's topic.
    """
    if stem not in _TOPICS:
        return None
    name, compare = _TOPICS[stem]
    file = folder / f"{stem}{name}.csv"
    rows = compare(read_table(file)) if file.exists() else pd.DataFrame()
    return rows.reindex(columns=_COLUMNS).reset_index(drop=True)


def _curves(table: pd.DataFrame) -> pd.DataFrame:
    found = table.copy()
    found["checkpoint"] = found["checkpoint"].astype(object).fillna("")  # may be all missing
    cells = found["temperature"].nunique() > 1 or found["top_p"].nunique() > 1
    found["what"] = [
        f"leak@{row['k']}, {metric_name(row['metric'])}"
        + (f", T = {row['temperature']:g}, top-p {row['top_p']:g}" if cells else "")
        for row in found.to_dict("records")
    ]
    at_their_n = found["draws_stderr"].fillna(0) * (found["n"] / _THEIR_N) ** 0.5
    return found.assign(
        ours=found["leak@k"],
        stderr=found["draws_stderr"],
        noise=np.maximum(seed_noise(found["k"]), at_their_n),
    )


def _rounds(table: pd.DataFrame) -> pd.DataFrame:
    """Rounds of RULE: leak@128 and the retain score, both published to three decimals."""
    if "leak@128" not in table or not table["benchmark"].str.startswith(_TOFU).all():
        return pd.DataFrame()
    rules = table[table["kind"] == "RULE"]
    both = rules.merge(published_trajectories(), on=["base", "round"])
    parts = []
    for ours, theirs, k in (("leak@128", "leak", 128), ("retain score (sampled)", "retain", 1)):
        what = both["round"].map(lambda index, name=ours: f"{name}, round {index}")
        part = both.assign(what=what, ours=both[ours], published=both[theirs])
        parts.append(part.assign(noise=float(seed_noise(k))))
    return pd.concat(parts).assign(precision=5e-4, checkpoint="")


def _histogram(table: pd.DataFrame) -> pd.DataFrame:
    """Prompts by leaking samples; the standard deviation of a count is its square root."""
    if "ours, sampled" not in table:
        return pd.DataFrame()
    ours, theirs = table["ours, sampled"], table["sampled"]
    bins = zip(table["from"], table["to"], strict=True)
    return pd.DataFrame(
        {
            "model": "NPO",
            "what": [f"prompts with {a} to {b} leaking samples" for a, b in bins],
            "ours": ours,
            "published": theirs,
            "stderr": ours**0.5,
            "noise": theirs**0.5,
            "precision": 0.0,
            "checkpoint": "",
        }
    )


def _spread(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and standard deviation over seeds, of m normal values.

    Their standard errors are s / sqrt(m) and s / sqrt(2 (m - 1)).
    """
    if not {"benchmark", "model", "metric"} <= set(table):
        return pd.DataFrame()
    ours = table[table["benchmark"].str.startswith(_TOFU) & table["metric"].map(_is_es)]
    both = ours.merge(
        published_spread(), left_on=["model", "k"], right_on=["method", "k"], suffixes=("", "_p")
    )
    parts = []
    for name in ("mean", "std"):
        root = [
            (both[f"seeds{side}"] if name == "mean" else 2 * (both[f"seeds{side}"] - 1)) ** 0.5
            for side in ("", "_p")
        ]
        what = both["k"].map(lambda k, name=name: f"{name} of leak@{k} over seeds")
        part = both.assign(what=what, ours=both[name], published=both[f"{name}_p"])
        parts.append(part.assign(stderr=both["std"] / root[0], noise=both["std_p"] / root[1]))
    return pd.concat(parts).assign(precision=0.0, checkpoint="")


def _is_es(metric: str) -> bool:
    return metric_name(metric) == "ES"


_TOFU = "tofu forget10 paraphrased_question"
# Notebook -> suffix of the table that has its values, and the function that compares them.
_TOPICS: Mapping[str, tuple[str, Callable[[pd.DataFrame], pd.DataFrame]]] = {
    "01_leak_curves": (".published", _curves),
    "03_rule_trajectories": ("", _rounds),
    "04_rule_before_after": (".published", _curves),
    "05_decoding_grid": (".published", _curves),
    "06_core_metrics": (".published", _curves),
    "07_leak_histograms": (".published", _histogram),
    "08_estimator_variance": ("", _spread),
}
