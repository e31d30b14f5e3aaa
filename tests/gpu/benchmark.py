"""Times lcs_length on a GPU and writes what it measured: benchmark.py FOLDER.

The file, gpu_<device>.json, goes into leakrepro/reference/measured. One of its numbers is the size
of the LCS tables from which copying ids from the host to the device is faster than the CPU.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import leakrepro as lr
from leakrepro.info import cpu_model

ROUNDS = 7


def seconds(run: Callable[[], Any]) -> float:
    """Median wall time, after one call to warm up."""
    times = []
    for _ in range(ROUNDS + 1):
        torch.cuda.synchronize()
        began = time.perf_counter()
        run()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def bandwidth() -> float:
    """Bytes a second that a large copy on the device reads and writes."""
    source = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / seconds(lambda: target.copy_(source))


def sequences(rng: np.random.Generator, count: int, size: int, top: int) -> lr.TokenIds:
    ids = rng.integers(0, top, count * size).astype(np.uint16)
    return lr.TokenIds(ids, np.arange(count + 1, dtype=np.int64) * size)


def there(host: lr.TokenIds) -> lr.TokenIds:
    ids = np.asarray(host.ids).view(np.int16)
    return lr.TokenIds(torch.from_numpy(ids.copy()).cuda(), host.offsets)


def shared(size: int, references: int, candidates: int, speed: float) -> dict[str, float]:
    """Many-to-many on the device, against the time that memory takes to read each pair once."""
    rng = np.random.default_rng(0)
    a = sequences(rng, references, 64, 5000)
    b = sequences(rng, candidates, size, 5000)
    # Half of what a candidate says is in some reference.
    ids = np.asarray(b.ids)
    ids[::2] = rng.choice(np.asarray(a.ids), ids[::2].size)
    out = torch.empty(references, candidates, dtype=torch.int32, device="cuda")
    on_device = there(a), there(b)
    took = seconds(lambda: lr.lcs_length(*on_device, "all", out=out))
    few = lr.TokenIds(ids[: 1000 * size], np.asarray(b.offsets)[:1001])
    expected = lr.lcs_length(a, few, "all", device="cpu")
    if not np.array_equal(out[:, :1000].cpu().numpy(), expected):
        raise SystemExit(f"64 x {size}: the device and the CPU differ")
    pairs = references * candidates / took
    roofline = speed / (2 * size + 4)
    return {"pairs_per_second": pairs, "roofline": roofline, "share": pairs / roofline}


def long_references() -> dict[str, float]:
    rng = np.random.default_rng(1)
    a, b = sequences(rng, 100, 1500, 700), sequences(rng, 20000, 1500, 1400)
    on_device = there(a), there(b)
    took = seconds(lambda: lr.lcs_length(*on_device, device="cuda"))
    cpu = seconds(lambda: lr.lcs_length(a, b, device="cpu"))
    return {"pairs_per_second": 20000 / took, "times_cpu": cpu / took}


def host_ids() -> tuple[list[dict[str, float]], float | None]:
    """Ids on the host, CPU against device, for growing tables; where the device starts to win."""
    rng = np.random.default_rng(2)
    a = sequences(rng, 400, 28, 5000)
    rows = []
    for candidates in (100, 1000, 10_000, 100_000):
        b = sequences(rng, candidates, 57, 5000)
        cpu = seconds(lambda b=b: lr.lcs_length(a, b, "all", device="cpu"))
        gpu = seconds(lambda b=b: lr.lcs_length(a, b, "all", device="cuda"))
        cells = 400 * 28 * candidates * 57
        rows.append({"cells": cells, "cpu_seconds": cpu, "device_seconds": gpu})
    pays = None
    for row in reversed(rows):
        if row["device_seconds"] > row["cpu_seconds"]:
            break
        pays = row["cells"]
    return rows, pays


def main(folder: Path) -> None:
    name = torch.cuda.get_device_name()
    speed = bandwidth()
    rows, pays = host_ids()
    result = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "device": name,
        "cpu": f"{cpu_model()}, {len(os.sched_getaffinity(0))} CPUs",
        "torch": torch.__version__,
        "copy_bytes_per_second": speed,
        "shared_64x64": shared(64, 400, 1 << 20, speed),
        "shared_64x128": shared(128, 400, 1 << 19, speed),
        "long_1500x1500": long_references(),
        "host_ids": rows,
        "host_ids_pay_from_cells": pays,
    }
    text = json.dumps(result, indent=2)
    print(text)
    file = folder / f"gpu_{re.sub('[^a-z0-9]+', '_', name.lower())}.json"
    file.write_text(text + "\n")
    print(f"written to {file}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
