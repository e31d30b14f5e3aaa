"""Scores as tables: every function that takes scores reads every type of table alike."""

from __future__ import annotations

import atexit
import functools
import importlib
import inspect
import json
import pkgutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import leakrepro as lr
from leakrepro import stats
from leakrepro.report.agreement import agreement, disagreements
from leakrepro.report.cost import width_table
from leakrepro.report.examples import leakiest
from leakrepro.sampling import Samples
from leakrepro.stats.checks import check_scores
from leakrepro.types import Decoding, Scores, score_rows

torch = pytest.importorskip("torch")
pa = pytest.importorskip("pyarrow")

ROWS = np.array([[0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 0, 1]], dtype=np.float64)
NAMES = list("abcd")


class Polars:
    """A frame like polars': iterates over columns, and has polars' protocols."""

    columns = NAMES
    schema = ()

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.rows.T)

    def __len__(self) -> int:
        return len(self.rows)

    def to_numpy(self) -> np.ndarray:
        return self.rows

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return pa.table(dict(zip(NAMES, self.rows.T, strict=True))).__arrow_c_stream__()


class OnlyArrow:
    """A table that has nothing but Arrow's protocol."""

    schema = ()

    def __init__(self, rows: np.ndarray) -> None:
        self.__arrow_c_stream__ = pa.table(dict(zip(NAMES, rows.T, strict=True))).__arrow_c_stream__


def arrow(rows: np.ndarray) -> Any:
    return pa.table(dict(zip(NAMES, rows.T, strict=True)))


TABLES: dict[str, Callable[[np.ndarray], Any]] = {
    "lists": lambda rows: rows.tolist(),
    "numpy": lambda rows: rows,
    "numpy, float16": lambda rows: rows.astype(np.float16),
    "numpy, bool": lambda rows: rows.astype(bool),
    "numpy, Fortran order": np.asfortranarray,
    "masked, nothing hidden": np.ma.array,
    "objects of rows": lambda rows: pd.Series(rows.tolist()).to_numpy(),
    "pandas": lambda rows: pd.DataFrame(rows, index=[7, 7, 1], columns=["x", "x", 3, 0]),
    "pandas, nullable": lambda rows: pd.DataFrame(rows.astype(int)).astype("Int64"),
    "pandas, sparse": lambda rows: pd.DataFrame(rows).astype(pd.SparseDtype("float", 0)),
    "pandas series of lists": lambda rows: pd.Series(rows.tolist(), index=[3, 1, 2]),
    "pandas series": lambda rows: [pd.Series(row, index=NAMES[::-1]) for row in rows],
    "polars": Polars,
    "arrow": arrow,
    "arrow, bool": lambda rows: arrow(rows.astype(bool)),
    "arrow, batch": lambda rows: arrow(rows).to_batches()[0],
    "arrow, protocol": OnlyArrow,
    "arrow lists": lambda rows: pa.array(rows.tolist()),
    "arrow chunks of lists": lambda rows: pa.chunked_array([rows[:1].tolist(), rows[1:].tolist()]),
    "arrow rows": lambda rows: [pa.array(row) for row in rows],
    "torch": torch.tensor,
    "torch, gradients": lambda rows: torch.tensor(rows, requires_grad=True),
    "torch, bfloat16": lambda rows: torch.tensor(rows, dtype=torch.bfloat16),
    "torch, int": lambda rows: torch.tensor(rows.astype(int)),
    "torch, transposed": lambda rows: torch.tensor(rows.T).T,
    "torch rows": lambda rows: list(torch.tensor(rows)),
    "generator": lambda rows: (row for row in rows),
    "Scores": lambda rows: Scores(rows.ravel(), np.arange(4) * 4),
}

# Each function that takes scores, and what of its result is compared.
TAKERS: dict[str, Callable[[Any], Any]] = {
    "leak_at_k": lambda s: stats.leak_at_k(s, [1, 2]).per_prompt,
    "leak_counts": lambda s: stats.leak_counts(s).counts,
    "extrapolate_leak": lambda s: stats.extrapolate_leak(s, [1, 4]).per_prompt,
    "compare_leak": lambda s: stats.compare_leak(s, ROWS * 0, [1, 2]).per_prompt,
    "check_scores": lambda s: check_scores(s).values,
    "score_rows": lambda s: np.concatenate(score_rows(s)),
    "Scores.from_rows": lambda s: Scores.from_rows(s).values,
    "width_table": lambda s: width_table(s, 2, n=[4], prompts=[3]).to_numpy(),
    "agreement": lambda s: agreement({"x": s, "y": ROWS * 0}).drop(columns=["a", "b"]).to_numpy(),
    "disagreements": lambda s: disagreements(samples(), {"x": s, "y": ROWS * 0}, "x", "y")[
        "times"
    ].to_numpy(),
    "leakiest": lambda s: leakiest(samples(), s)["mean score"].to_numpy(),
    "export_generations": lambda s: exported(s),
}


@functools.cache
def samples() -> Samples:
    """Samples with as many answers as ``ROWS`` has scores; each answer is another text."""
    scratch = tempfile.TemporaryDirectory()
    atexit.register(scratch.cleanup)
    folder = Path(scratch.name)
    lines = [
        {
            "prompt": f"question {i}",
            "ground_truth": "reference",
            "responses": [{"response": f"answer {i} {j}"} for j in range(4)],
        }
        for i in range(3)
    ]
    file = folder / "generations.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return lr.import_generations(file, decoding=Decoding(), store=folder / "store")


def exported(scores: Any) -> np.ndarray:
    """The scores that a file of the authors' format holds."""
    with tempfile.TemporaryDirectory() as folder:
        file = lr.export_generations(samples(), Path(folder) / "x.jsonl", {"ES": scores})
        rows = [json.loads(line)["responses"] for line in file.read_text().splitlines()]
    return np.array([[each["ES"] for each in row] for row in rows])


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("taker", TAKERS)
def test_every_table_is_prompts_x_samples(taker: str, table: str) -> None:
    np.testing.assert_array_equal(TAKERS[taker](TABLES[table](ROWS)), TAKERS[taker](ROWS.tolist()))


def test_the_other_side_of_a_comparison() -> None:
    for make in TABLES.values():
        found = stats.compare_leak(ROWS * 0, make(ROWS), [1, 2])
        np.testing.assert_array_equal(found.per_prompt, -TAKERS["leak_at_k"](ROWS))


def test_all_public_functions_that_take_scores_are_listed() -> None:
    found = {name for name in lr.__all__ if takes_scores(getattr(lr, name))}
    for package in ("stats", "report", "evaluation", "sampling"):
        parent = importlib.import_module(f"leakrepro.{package}")
        for module in pkgutil.iter_modules(parent.__path__):
            loaded = importlib.import_module(f"leakrepro.{package}.{module.name}")
            found |= {
                name
                for name, value in vars(loaded).items()
                if not name.startswith("_") and takes_scores(value)
            }
    assert found
    assert found <= set(TAKERS)


def takes_scores(value: object) -> bool:
    """Whether scores of any type are declared; some functions take ``Scores`` objects only."""
    if not inspect.isfunction(value):
        return False
    return any(
        name.startswith("scores") and "ArrayLike" in str(parameter.annotation)
        for name, parameter in inspect.signature(value).parameters.items()
    )


MASKED = np.ma.array(ROWS, mask=np.eye(3, 4, k=1).astype(bool))
NULL = [[0.0, 1.0, 0.0], [None, 0.0, 1.0]]
REFUSED: dict[str, tuple[Any, str]] = {
    "masked": (MASKED, "prompt 0, sample 1 has a masked score"),
    "masked rows": (list(MASKED), "prompt 0 has a masked score"),
    "structured": (np.zeros((2, 2), [("x", float)]), "must be numbers"),
    "text": (np.array([["0", "1"]]), "must be numbers"),
    "text in lists": ([[0, 1], ["0", "1"]], "prompt 1: scores must be numbers"),
    "None": (NULL, "prompt 1: scores must be numbers"),
    "objects": (np.array([[0, None]], object), "must be numbers"),
    "complex": (np.zeros((2, 2), complex), "must be numbers"),
    "pandas text": (pd.DataFrame({"prompt": ["a"], "x": [1.0]}), "column 'prompt' is of type"),
    "pandas null": (pd.DataFrame(NULL), "prompt 1, sample 0 has score nan"),
    "pandas nullable": (pd.DataFrame(NULL).astype("Float64"), "prompt 1, sample 0 has score nan"),
    "arrow null": (pa.table({"a": [0, None], "b": [1, 0]}), "prompt 1, sample 0 has score nan"),
    "arrow text": (pa.table({"a": ["0", "1"]}), "must be numbers"),
    "ragged within a prompt": ([[[0, 1], [1]]], "prompt 0"),
    "one row": (pd.Series([0.0, 1.0]), r"prompt 0 has 0 dimensions; .* as \[scores\]"),
    "one tensor": (torch.zeros(3), r"prompt 0 has 0 dimensions"),
    "a number": (np.array(1.0), "single number"),
    "complex tensor": (torch.zeros(2, 2, dtype=torch.complex64), "not complex"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused(name: str) -> None:
    scores, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        stats.leak_at_k(scores)


class Lazy:
    columns = NAMES

    def collect(self) -> None: ...


@pytest.mark.parametrize("scores", [{"a": [1]}, "01", {0, 1}, Lazy(), 3, None])
def test_what_has_no_rows_is_refused(scores: object) -> None:
    with pytest.raises(TypeError, match=r"scores must be|collect"):
        stats.leak_at_k(scores)
