"""The values that the leak@k authors published, and ours beside them.

``leakrepro/reference/tofu.csv`` holds one value a row with its source and with how exactly it could
be read there. Curves are published for TOFU forget10 under ES (entailment score) and LJ (an LLM
judge) alone, so other core metrics have nothing to stand beside.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import resources

import pandas as pd

from leakrepro.evaluation.leak_report import LeakReport, check_reports

# Our ids of the metrics that the authors published, without the revision.
_METRICS = {
    "entailment/sileod/deberta-v3-base-tasksource-nli": "leak@k-ES",
    "judge/gpt-4o-mini": "leak@k-LJ",
}
_ES = "leak@k-ES"
_ROUNDS = 3  # of RULE in the paper
_PRECISION = {"exact": 0.0, "5e-5": 5e-5, "3 decimals": 5e-4, "±0.006": 6e-3}
_COLUMNS = ["method", "checkpoint", "k", "published", "precision", "source", "note"]


def reference_values() -> pd.DataFrame:
    """All published values as they were collected, one a row."""
    path = resources.files("leakrepro") / "reference" / "tofu.csv"
    with path.open(encoding="utf-8") as file:
        return pd.read_csv(file, keep_default_na=False, na_values=[""])


def metric_name(metric: str) -> str:
    """The paper's short name of a core metric that it published, else the id itself."""
    return _METRICS.get(metric.partition("@")[0], metric).removeprefix("leak@k-")


def published(benchmark: str, metric: str, temperature: float, top_p: float) -> pd.DataFrame:
    """Published leak@k curves of one decoding cell.

    Columns: method, checkpoint, k, published, precision (how far off it may have been read),
    source, note. Where a value was published
    more than once, the most exactly readable one is given. ``checkpoint`` is empty for the paper's
    own curves and names the weights of the authors' re-runs, which can differ much (RULE-NPO).
    Repetitions under other generation seeds and the rounds of RULE are in ``reference_values``.

    Args:
        benchmark: Name of the benchmark, such as ``tofu forget10 paraphrased_question``; a subset
            of its authors has no published values.
        metric: Id of the core metric; curves are published for ES
            (``entailment/sileod/deberta-v3-base-tasksource-nli``) and LJ (``judge/gpt-4o-mini``).
        temperature: Sampling temperature; 0 with ``top_p`` 0 or 1 is greedy. The authors' greedy
            values rise with k, since they drew 200 copies that batch effects made different.
        top_p: Nucleus. ``top_k`` was not published; it was probably 50.

    Returns:
        The values, by method, checkpoint and k; no rows when nothing was published.
    """
    values = reference_values()
    named = re.fullmatch(r"tofu (forget\d+) (\w+)(?: system=.*)?", benchmark)
    split, key = named.groups() if named else (None, None)
    rows = values[
        (values["benchmark"] == f"TOFU-{split}")
        & (values["question_key"] == key)
        & (values["metric"] == _METRICS.get(metric.partition("@")[0]))
        & (values["temperature"] == temperature)
        & ((values["top_p"] == top_p) | (temperature == 0))
        & values["generation_seed"].isna()
        & values["rule_iteration"].isna()
    ].copy()
    rows["precision"] = rows["precision"].map(_PRECISION)
    rows["k"] = rows["k"].astype("int64")
    rows["published"] = rows["value"]
    for column in ("checkpoint", "note"):
        rows[column] = rows[column].fillna("").astype(str)
    rows = rows.sort_values(["method", "checkpoint", "k", "precision"], kind="stable")
    return rows.drop_duplicates(["method", "checkpoint", "k"])[_COLUMNS].reset_index(drop=True)


def published_trajectories() -> pd.DataFrame:
    """The published rounds of RULE on TOFU forget10, by ES: leak@128 and retain score.

    Columns: base, round, leak, retain; only rounds of which both values could be read.
    """
    values = reference_values()
    rows = values[values["rule_iteration"].notna()].copy()
    rows["base"] = rows["method"].str.removeprefix("RULE-")
    rows["round"] = rows["rule_iteration"].astype("int64")
    rows["what"] = rows["metric"].map(lambda m: "leak" if m == _ES else "retain")
    wide = rows.pivot_table(index=["base", "round"], columns="what", values="value", sort=False)
    return wide.dropna().reset_index().rename_axis(columns=None)


def measured(name: str) -> pd.DataFrame:
    """A table that this project has measured and keeps under ``leakrepro/reference/measured``.

    Args:
        name: File name without ``.csv``.

    Raises:
        FileNotFoundError: when there is no such table.
    """
    path = resources.files("leakrepro") / "reference" / "measured" / f"{name}.csv"
    with path.open(encoding="utf-8") as file:
        return pd.read_csv(file)


def compare_published(reports: Iterable[LeakReport]) -> pd.DataFrame:
    """Our curves and the published ones of the same name, decoding cell, metric and k.

    Columns: model, metric, temperature, top_p, n, k, leak@k, low, high, draws_stderr (standard
    error under new samples of the same prompts), published, precision, difference (ours less
    theirs), checkpoint, source, note. Models are matched by name, so this is for reports on the
    authors' checkpoints (profile ``paper``); RULE's last round goes by the paper's name:
    ``RULE-NPO, round 3`` is its ``RULE-NPO``. No rows when nothing matches.
    ``leakrepro.reproduction.verdict`` says which differences sampling noise explains.

    Raises:
        ValueError: for reports that cannot stand in one table.
    """
    checked = check_reports(reports)
    ours = ["model", "metric", "temperature", "top_p", "n", "k", "leak@k", "low", "high"]
    columns = [*ours, "draws_stderr", "published", "precision", "difference"]
    columns += ["checkpoint", "source", "note"]
    found = []
    for report in checked:
        curves = report.to_frame()
        curves["method"] = curves["model"].str.removesuffix(f", round {_ROUNDS}")
        decoding = report.decoding
        for metric, rows in curves.groupby("metric", sort=False):
            theirs = published(report.benchmark, str(metric), decoding.temperature, decoding.top_p)
            if not theirs["method"].isin(rows["method"]).any():
                continue
            stderr = report.new_draws_stderr(str(metric))
            found.append(rows.assign(draws_stderr=stderr).merge(theirs, on=["method", "k"]))
    together = pd.concat(found, ignore_index=True) if found else pd.DataFrame()
    together = together.reindex(columns=list(dict.fromkeys([*together.columns, *columns])))
    together["difference"] = together["leak@k"] - together["published"]
    order = {name: i for i, name in enumerate(dict.fromkeys(each.model for each in checked))}
    return together.sort_values(
        ["model"], key=lambda c: c.map(order), kind="stable", ignore_index=True
    )[columns]
