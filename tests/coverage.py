"""Measure the coverage of the intervals: ``python tests/coverage.py CSV [--runs 2000]``.

Simulates the coverage of both 95 % intervals of leak@k, the size of ``compare_leak`` for equal
models, and the coverage of extrapolations. The CSV has one row per cell, written when the cell is
finished. Cells that are already in the file with as many runs are not simulated again.
"""

from __future__ import annotations

import argparse
import os
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from leakrepro.stats import extrapolation
from leakrepro.stats.estimator import compare_leak, leak_at_k

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Floats]

N = 200
KS = [1, 8, 128]
POPULATIONS: dict[str, Draw] = {
    "Beta(.5,.5)": lambda rng, count: rng.beta(0.5, 0.5, count),
    "Beta(.05,3)": lambda rng, count: rng.beta(0.05, 3, count),
    "Beta(.02,20)": lambda rng, count: rng.beta(0.02, 20, count),
    ".01, 10 % .5": lambda rng, count: np.where(rng.random(count) < 0.1, 0.5, 0.01),
    "1 % leak at .3": lambda rng, count: np.where(rng.random(count) < 0.01, 0.3, 0.0),
}
# Fixed prompts for intervals over samples, with the number of samples: few prompts, prompts that
# are alike, a prompt like no other.
DESIGNS: dict[str, tuple[Floats, int]] = {
    "1 x .06": (np.full(1, 0.06), 50),
    "5 x .06": (np.full(5, 0.06), 50),
    "20 x .06": (np.full(20, 0.06), 50),
    "79 x .99, .01": (np.append(np.full(79, 0.99), 0.01), 50),
    "79 x 1, .01": (np.append(np.ones(79), 0.01), 50),
    "79 x 1, .03": (np.append(np.ones(79), 0.03), 50),
    "38 x 1, .01, .05": (np.append(np.ones(38), [0.01, 0.05]), 50),
    "79 x 0, .03": (np.append(np.zeros(79), 0.03), 50),
    "10 x .01, 10 x .1": (np.repeat([0.01, 0.1], 10), 50),
    "10 x .005, .05, .5": (np.repeat([0.005, 0.05, 0.5], 10), 50),
    "40 x .0001 to .8": (np.geomspace(1e-4, 0.8, 40), 50),
}
NARROW = stats.norm(0.6, 0.003)  # real scores in a narrow band
# Real-valued scores of leaking and of other answers.
LEAKS, OTHERS = stats.beta(8, 2), stats.beta(2, 8)
GRID = np.linspace(0, 1, 401)


def truth(p: Floats, kind: str, ks: list[int]) -> Floats:
    """Return leak@k of prompts that leak with probability p, [prompts, len(ks)]."""
    if kind == "0/1":
        return np.asarray(1 - (1 - p[:, None]) ** np.array(ks))
    below = (1 - p[:, None]) * OTHERS.cdf(GRID) + p[:, None] * LEAKS.cdf(GRID)
    return np.stack([np.trapezoid(1 - below**k, GRID, axis=1) for k in ks], axis=1)


def draw(rng: np.random.Generator, p: Floats, kind: str, n: int) -> Floats:
    hits = rng.random((p.size, n)) < p[:, None]
    if kind == "0/1":
        return hits.astype(np.float64)
    return np.where(hits, rng.beta(8, 2, hits.shape), rng.beta(2, 8, hits.shape))


def population_truth(name: str, kind: str, ks: list[int]) -> Floats:
    if name in DESIGNS:
        return truth(DESIGNS[name][0], kind, ks).mean(axis=0)
    if name == "N(.6,.003)":
        grid = np.linspace(*NARROW.ppf([1e-12, 1 - 1e-12]), 4001)
        return np.array([grid[-1] - np.trapezoid(NARROW.cdf(grid) ** k, grid) for k in ks])
    if name == ".01, 10 % .5":
        return truth(np.array([0.01, 0.5]), kind, ks).T @ [0.9, 0.1]
    if name.startswith("1 %"):
        leak = truth(np.array([0.3, 0.0]), kind, ks)
        return np.asarray(0.01 * leak[0] + 0.99 * leak[1])
    rng = np.random.default_rng(1)
    return np.mean([truth(POPULATIONS[name](rng, 20_000), kind, ks).mean(0) for _ in range(20)], 0)


def covers(low: Floats, high: Floats, target: Floats) -> Floats:
    """Return whether the target is below or above the interval, and the width, [3, len(k)]."""
    return np.stack([target < low, target > high, high - low])


def one(
    what: str, name: str, kind: str, prompts: int, ks: list[int], run: int, target: Floats
) -> Floats:
    """Simulate one data set; rows: below, above, width, width of the plain bootstrap."""
    cell = zlib.crc32(f"{what} {name} {kind} {prompts}".encode())
    rng = np.random.default_rng([cell, run])
    own = np.random.default_rng(run)
    plain = np.full(len(ks), np.nan)
    if name in DESIGNS or name == "N(.6,.003)":
        if name in DESIGNS:
            p, n = DESIGNS[name]
            scores = draw(rng, p, kind, n)
        else:
            scores = rng.normal(0.6, 0.003, (prompts, 50))
        curve = leak_at_k(scores, ks, interval="samples", rng=own)
        return np.vstack([covers(curve.low, curve.high, target), plain])
    p = POPULATIONS[name](rng, prompts)
    if what.startswith("compare"):
        q = p if what == "compare, same prompts" else POPULATIONS[name](rng, prompts)
        difference = compare_leak(draw(rng, p, kind, N), draw(rng, q, kind, N), ks, rng=own)
        found = covers(difference.low, difference.high, np.zeros(len(ks)))
    elif what.startswith("extrapolate"):
        n = int(what.split()[-1])
        curve = extrapolation.extrapolate_leak(draw(rng, p, kind, n), ks, rng=own)
        found = covers(curve.low, curve.high, target)
    else:
        curve = leak_at_k(draw(rng, p, kind, N), ks, interval=what, rng=own)  # type: ignore[arg-type]
        found = covers(
            curve.low, curve.high, target if what == "prompts" else truth(p, kind, ks).mean(0)
        )
        if what == "prompts":
            picks = rng.integers(prompts, size=(500, prompts))
            bounds = np.quantile(curve.per_prompt[picks].mean(axis=1), [0.025, 0.975], axis=0)
            plain = bounds[1] - bounds[0]
    return np.vstack([found, plain])


def cell(task: tuple[str, str, str, int, list[int], int]) -> list[dict[str, Any]]:
    what, name, kind, prompts, ks, runs = task
    target = population_truth(name, kind, ks)
    found = np.stack([one(what, name, kind, prompts, ks, run, target) for run in range(runs)])
    share = found.mean(axis=0)
    width, plain = np.median(found[:, 2], axis=0), np.median(found[:, 3], axis=0)
    return [
        {
            "what": what,
            "population": name,
            "scores": kind,
            "prompts": prompts,
            "k": k,
            "runs": runs,
            "coverage": round(1 - share[0, i] - share[1, i], 4),
            "below": round(share[0, i], 4),
            "above": round(share[1, i], 4),
            "width": float(f"{width[i]:.3g}"),
            "bootstrap_width": float(f"{plain[i]:.3g}"),
        }
        for i, k in enumerate(ks)
    ]


Task = tuple[str, str, str, int, list[int], int]


def tasks(runs: int) -> Iterator[Task]:
    """Yield the cells, the quick ones first; cells of slow intervals have fewer runs."""
    common = [name for name in POPULATIONS if name != ".01, 10 % .5"]
    for name, (p, n) in DESIGNS.items():
        yield "samples", name, "0/1", p.size, [1, 8, n], runs
    for name in common:
        for prompts in (80, 400):
            yield "samples", name, "0/1", prompts, KS, runs
    for prompts in (5, 80):
        yield "samples", "N(.6,.003)", "real", prompts, [1, 8, 50], max(1, runs // 10)
    for n in (20, 40):
        yield f"extrapolate from {n}", ".01, 10 % .5", "0/1", 80, [2 * n], max(1, runs // 5)
    for kind in ("0/1", "real"):
        for name in common:
            for prompts in (80, 400):
                yield "prompts", name, kind, prompts, KS, runs
    for what in ("compare, same prompts", "compare, same population"):
        for name in common:
            yield what, name, "0/1", 80, KS, runs
    for n, ks in ((50, [100, 200]), (200, [400, 1000])):
        for name in common:
            yield f"extrapolate from {n}", name, "0/1", 80, ks, max(1, runs // 5)
    for name in common:
        for prompts in (80, 400):
            yield "samples", name, "real", prompts, KS, max(1, runs // 10)


def key(row: dict[str, Any]) -> tuple[str, str, str, int]:
    return row["what"], row["population"], row["scores"], row["prompts"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    rows = pd.read_csv(given.csv).to_dict("records") if given.csv.exists() else []
    done = {key(row): row["runs"] for row in rows}
    remaining = [task for task in tasks(given.runs) if done.get(task[:4], 0) < task[5]]
    with ProcessPoolExecutor(given.jobs) as pool:
        for added in pool.map(cell, remaining):
            rows = [row for row in rows if key(row) != key(added[0])] + added
            pd.DataFrame(rows).to_csv(given.csv, index=False)
            print(*key(added[0]), min(row["coverage"] for row in added), flush=True)
