"""Values published by the authors of leak@k, and their comparison with our results.

``leakrepro/reference/tofu.csv`` has one value per row, with its source and reading precision.
Curves are only published for TOFU forget10 under ES (entailment score) and LJ (LLM judge), so other
core metrics cannot be compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import resources

import pandas as pd

from leakrepro.evaluation.leak_report import LeakReport, check_reports

# Metric id without revision -> metric name in the table of published values.
_METRICS = {
    "entailment/sileod/deberta-v3-base-tasksource-nli": "leak@k-ES",
    "judge/gpt-4o-mini": "leak@k-LJ",
}
_ES = "leak@k-ES"
_ROUNDS = 3  # rounds of RULE in the paper
_PRECISION = {"exact": 0.0, "5e-5": 5e-5, "3 decimals": 5e-4, "±0.006": 6e-3}
_COLUMNS = ["method", "checkpoint", "k", "published", "precision", "source", "note"]


def reference_values() -> pd.DataFrame:
    """Return all collected published values, one per row; columns as in ``tofu.csv``."""
    path = resources.files("leakrepro") / "reference" / "tofu.csv"
    with path.open(encoding="utf-8") as file:
        return pd.read_csv(file, keep_default_na=False, na_values=[""])


def metric_name(metric: str) -> str:
    """Return the paper's short name of a core metric, or the id if values were not published.

    Args:
        metric: Id of the core metric.
    """
    return _METRICS.get(metric.partition("@")[0], metric).removeprefix("leak@k-")


def published(benchmark: str, metric: str, temperature: float, top_p: float) -> pd.DataFrame:
    """Return the published leak@k curves of one decoding cell.

    If a value was published more than once, the most precise one is returned. Repetitions under
    other generation seeds and the rounds of RULE are only in ``reference_values``.

    Args:
        benchmark: Name of the benchmark, such as ``tofu forget10 paraphrased_question``. Values
            for a subset of its authors were not published.
        metric: Id of the core metric; curves are published for ES
            (``entailment/sileod/deberta-v3-base-tasksource-nli``) and LJ (``judge/gpt-4o-mini``).
        temperature: Sampling temperature; 0 is greedy for every ``top_p``. The authors' greedy
            values increase with k, because they generated 200 greedy answers per prompt and batch
            effects made some of them differ.
        top_p: Nucleus sampling threshold. ``top_k`` was not published; it was probably 50.

    Returns:
        One row per method, checkpoint and k; empty if nothing was published. Columns: method,
        checkpoint, k, published, precision (maximum reading error), source, note. ``checkpoint`` is
        empty for the paper's own curves and names the weights of the authors' re-runs, whose values
        can be very different (RULE-NPO).
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
    """Return the published rounds of RULE on TOFU forget10 under ES.

    Returns:
        One row per base method and round for which both values are known. Columns: base, round,
        leak (leak@128), retain (retain score).
    """
    values = reference_values()
    rows = values[values["rule_iteration"].notna()].copy()
    rows["base"] = rows["method"].str.removeprefix("RULE-")
    rows["round"] = rows["rule_iteration"].astype("int64")
    rows["what"] = rows["metric"].map(lambda m: "leak" if m == _ES else "retain")
    wide = rows.pivot_table(index=["base", "round"], columns="what", values="value", sort=False)
    return wide.dropna().reset_index().rename_axis(columns=None)


def measured(name: str) -> pd.DataFrame:
    """Return a table of this project's own results that is shipped with the package.

    Args:
        name: File name in ``leakrepro/reference/measured``, without ``.csv``.

    Raises:
        FileNotFoundError: when the table does not exist.
    """
    path = resources.files("leakrepro") / "reference" / "measured" / f"{name}.csv"
    with path.open(encoding="utf-8") as file:
        return pd.read_csv(file)


def compare_published(reports: Iterable[LeakReport]) -> pd.DataFrame:
    """Compare our curves with the published curves of the same model, decoding, metric and k.

    Models are matched by name, so the comparison is only meaningful for the authors' checkpoints
    (profile ``paper``). The last round of RULE has another name in the paper: ``RULE-NPO, round 3``
    is matched with ``RULE-NPO``. ``leakrepro.reproduction.verdict`` decides which differences
    sampling noise can explain.

    Args:
        reports: Reports on one or more benchmarks.

    Returns:
        One row per matching value; empty if nothing matches. Columns: model, metric, temperature,
        top_p, n, k, leak@k, low, high, draws_stderr (standard error for new samples of the same
        prompts), published, precision, difference (leak@k - published), checkpoint, source, note.

    Raises:
        ValueError: when the reports cannot share a table, see ``check_reports``.
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
