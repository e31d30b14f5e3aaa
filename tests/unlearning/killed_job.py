"""One long call as a script that a test can kill: ``killed_job.py train|rule ORIGINAL [STEP]``.

``LEAKREPRO_HOME`` says where. With STEP it kills itself when that many training steps are done.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from small_world import WORLD

import leakrepro as lr
from leakrepro.models import load
from leakrepro.unlearning import LoRAOptions, NPOOptions, RMUOptions, RuleOptions

SIZES: dict[str, Any] = {"batch_size": 4, "accumulation": 2, "warmup_epochs": 0}
DROPOUT = LoRAOptions(rank=2, dropout=0.3)  # its random state must survive too
NPO = NPOOptions(**SIZES, learning_rate=1e-3, steps=24, beta=0.5, lora=DROPOUT)
RMU = RMUOptions(**SIZES, learning_rate=1e-3, steps=24, layer=0, steering=10.0)
RULE = RuleOptions(
    base=NPOOptions(**SIZES, learning_rate=3e-4, steps=6, beta=0.5),
    round=NPOOptions(**SIZES, learning_rate=1e-3, steps=10, beta=0.5),
    n=16,
    cap=2,
)


def train(original: Path, stop: int | None) -> dict[str, str]:
    benchmark = lr.load_benchmark("fictional", **WORLD)
    done = 0

    def progress(step: int, total: int) -> None:
        nonlocal done
        done += 1
        if done == stop:
            os.kill(os.getpid(), signal.SIGKILL)

    return {
        method: load.fingerprint(
            lr.unlearn(
                original,
                benchmark,
                method,
                options,
                checkpoint_every=3,
                progress=progress,
            )
        )
        for method, options in (("NPO", NPO), ("RMU", RMU))
    }


def rule(original: Path) -> dict[str, str]:
    result = lr.rule(
        original,
        lr.load_benchmark("fictional", **WORLD),
        "NPO",
        2,
        RULE,
        decoding=lr.Decoding(n=8, max_new_tokens=32),
        retain_n=2,
    )
    table = lr.report.rule_table([result]).to_csv(index=False)
    weights = [load.fingerprint(each.checkpoint) for each in result.rounds]
    return {"weights": " ".join(weights), "table": table}


if __name__ == "__main__":
    torch.set_num_threads(1)
    kind, original, *stop = sys.argv[1:]
    path = Path(original)
    results = rule(path) if kind == "rule" else train(path, int(stop[0]) if stop else None)
    print("done", repr(results))
