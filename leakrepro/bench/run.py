"""The entry point of the benchmark: runs all shapes, collects the results and prints them."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from tqdm import tqdm

from leakrepro.bench.cell import STAGES, bench_cell
from leakrepro.bench.contestants import Absent, Contestant, contestants, versions
from leakrepro.bench.memory import bench_memory
from leakrepro.bench.sampling import bench_sampling
from leakrepro.bench.shapes import Shape, knowmem, tofu, verbmem
from leakrepro.bench.timing import time_all
from leakrepro.info import cpu_model
from leakrepro.rouge._kernel import usable_threads

# Samples of Original share long prefixes, those of RMU short ones.
_SAMPLED = ("Original", "RMU")
_TEXTS: dict[str, Callable[..., Shape]] = {"tofu": tofu, "knowmem": knowmem, "verbmem": verbmem}
SHAPES = (*_TEXTS, "cell", "memory", "sampling")


def bench(
    shapes: Sequence[str] = SHAPES,
    *,
    only: Sequence[str] = (),
    rounds: int = 7,
    quick: bool = False,
    stem: bool = True,
    new_words: float = 0.02,
    seed: int = 0,
    threads: int | None = None,
) -> dict[str, Any]:
    """Time the kernel and its peers, and check that their results are equal.

    Args:
        shapes: Some of ``SHAPES``, in the order to run them.
        only: Parts of names. Only contestants whose name contains one of them run, and the first
            contestant of each section. Empty runs all.
        rounds: How often each contestant is timed; medians are over rounds.
        quick: Use a tenth of the pairs, three rounds and short measurements.
        stem: Whether words are stemmed.
        new_words: Share of the candidates' words that occur nowhere else.
        seed: Seed of the texts.
        threads: Number of threads of multi-threaded contestants; None for the number of CPUs of
            this process.

    Returns:
        The content of ``--json``: ``date``, ``machine``, ``versions``, ``settings``, and
        ``shapes`` with the results per shape (rows of the table, seconds per stage, bytes of peak
        memory, or tokens per second).

    Raises:
        ValueError: for an unknown shape, and for values out of range.
        Different: if two contestants disagree.
    """
    for name in shapes:
        if name not in SHAPES:
            raise ValueError(f"unknown shape {name!r}; known are {', '.join(SHAPES)}")
    if rounds < 1 or not 0 <= new_words < 1:
        raise ValueError("rounds must be at least 1, and new_words in [0, 1)")
    threads = usable_threads(threads)
    rounds = min(rounds, 3) if quick else rounds
    results: dict[str, Any] = {}
    for name in shapes:
        if name == "cell":
            results[name] = {"seconds": bench_cell(rounds=rounds), "samples": 80_000}
        elif name == "sampling":
            prompts = 4 if quick else 8
            results[name] = [
                bench_sampling(rounds=rounds, prompts=prompts, model=model) for model in _SAMPLED
            ]
        elif name == "memory":
            pairs, beyond = bench_memory(1_000_000) if quick else bench_memory()
            results[name] = {"pairs": pairs, "bytes_beyond_input": beyond}
        else:
            shape = _TEXTS[name](new_words=new_words, seed=seed, scale=0.1 if quick else 1.0)
            found = list(contestants(shape, stem=stem, threads=threads))
            results[name] = _time_shape(shape, found, only, rounds, 0.02 if quick else 0.1)
    return {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "machine": {
            "cpu": cpu_model(),
            "cpus": len(os.sched_getaffinity(0)),
            "load": os.getloadavg()[0],
            "python": platform.python_version(),
        },
        "versions": versions(),
        "settings": {"rounds": rounds, "stem": stem, "seed": seed, "new_words": new_words},
        "shapes": results,
    }


def _time_shape(
    shape: Shape,
    found: Sequence[Contestant | Absent],
    only: Sequence[str],
    rounds: int,
    least: float,
) -> dict[str, Any]:
    present = [each for each in found if isinstance(each, Contestant)]
    first: dict[str, Contestant] = {}
    for each in present:
        first.setdefault(each.section, each)
    chosen = [
        each
        for each in present
        if not only or each in first.values() or any(part in each.name for part in only)
    ]
    with tqdm(total=rounds * len(chosen), desc=shape.name, unit="run", leave=False) as progress:
        timings = time_all(chosen, rounds=rounds, least=least, progress=progress)
    baselines = {t.contestant.section: t for t in reversed(timings)}
    rows = []
    for timing in timings:
        contestant = timing.contestant
        times, least_times, most_times = timing.times(baselines[contestant.section])
        low, high = timing.quartiles
        rows.append(
            {
                "section": contestant.section,
                "name": contestant.name,
                "pairs": contestant.pairs,
                "ns_per_pair": timing.median,
                "ns_quartiles": [low, high],
                "pairs_per_second": 1e9 / timing.median,
                "times_first": times,
                "times_first_range": [least_times, most_times],
                "cells_per_second": (
                    1e9 * shape.cells / shape.pairs / timing.median
                    if contestant.pairs == shape.pairs
                    else None
                ),
            }
        )
    absent = {each.name: each.reason for each in found if isinstance(each, Absent)}
    return {"describe": shape.describe(), "rows": rows, "absent": absent}


def readable(result: dict[str, Any]) -> str:
    """Format the result of ``bench`` as tables for a terminal.

    Args:
        result: The return value of ``bench``.

    Returns:
        Several lines of text.
    """
    machine, settings = result["machine"], result["settings"]
    lines = [
        f"{result['date']}, {machine['cpu']}, {machine['cpus']} CPUs (load {machine['load']:.1f}), "
        f"Python {machine['python']}",
        ", ".join(f"{name} {version}" for name, version in result["versions"].items()),
        f"{settings['rounds']} rounds, medians; stems {'on' if settings['stem'] else 'off'}",
    ]
    for name, found in result["shapes"].items():
        lines += ["", *_TABLES[name](name, found)]
    return "\n".join(lines)


def _table(name: str, found: dict[str, Any]) -> list[str]:
    lines = [f"{name}: {found['describe']}"]
    section = None
    for row in found["rows"]:
        if row["section"] != section:
            section = row["section"]
            head = f"from {section}"
            lines += [
                "",
                f"  {head:<30}{'ns/pair':>12}{'quartiles':>22}{'pairs/s':>12}{'Gcells/s':>10}"
                f"{'times the first':>17}",
            ]
        low, high = row["ns_quartiles"]
        cells, times = row["cells_per_second"], row["times_first"]
        least, most = row["times_first_range"]
        lines.append(
            f"  {row['name']:<30}{row['ns_per_pair']:>12,.1f}{f'{low:,.1f} - {high:,.1f}':>22}"
            f"{_short(row['pairs_per_second']):>12}"
            f"{'' if cells is None else f'{cells / 1e9:.1f}':>10}"
            f"{times:>10.4g} ({least:.4g} - {most:.4g})"
        )
    lines += [f"  {name}: {reason}" for name, reason in found["absent"].items()]
    return [*lines, "  all results equal"]


def _cell(name: str, found: dict[str, Any]) -> list[str]:
    seconds = {stage: float(np.median(found["seconds"][stage])) for stage in STAGES}
    total = float(np.median(np.sum([found["seconds"][stage] for stage in STAGES], axis=0)))
    lines = [f"{name}: {found['samples']:,} samples from Parquet to the table in {total:.3f} s"]
    lines += [f"  {stage:<10}{s:>8.3f} s{100 * s / total:>6.0f} %" for stage, s in seconds.items()]
    return lines


def _memory(name: str, found: dict[str, Any]) -> list[str]:
    return [
        f"{name}: {found['pairs']:,} pairs, {found['bytes_beyond_input'] / 2**20:,.0f} MiB beyond "
        "the input (results included)"
    ]


def _sampling(name: str, models: Sequence[dict[str, Any]]) -> list[str]:
    return [line for found in models for line in _sampling_from(name, found)]


def _sampling_from(name: str, found: dict[str, Any]) -> list[str]:
    seconds = "CPU second" if found["device"] == "cpu" else "second"
    key = "per_cpu_second" if found["device"] == "cpu" else "per_second"
    lines = [
        f"{name}: {found['prompts']} prompts x 200 samples, {found['model']}, {found['device']}",
        f"  {'':<30}{'tokens':>10}{f'tokens/{seconds}':>20}{'the first is faster by':>26}",
    ]
    first = np.array(found["rows"][0][key])
    for row in found["rows"]:
        times = first / np.array(row[key])
        lines.append(
            f"  {row['name']:<30}{row['tokens']:>10,}{np.median(row[key]):>20,.0f}"
            f"{np.median(times):>12.2f} ({times.min():.2f} - {times.max():.2f})"
        )
    return lines


_TABLES: dict[str, Callable[[str, Any], list[str]]] = {
    **dict.fromkeys(_TEXTS, _table),
    "cell": _cell,
    "memory": _memory,
    "sampling": _sampling,
}


def _short(number: float) -> str:
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.3g} {unit}"
    return f"{number:.3g}"
