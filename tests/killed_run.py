"""A run for a test to kill: ``killed_run.py sample|score|ray MODEL NLI FOLDER``.

It prints the leak@k curve at the end.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from worlds import make_prompts

import leakrepro as lr
from leakrepro.metrics import EntailmentScore
from leakrepro.metrics import model_scored as pairs
from leakrepro.sampling import store


def main(kind: str, model: Path, nli: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    store.SHARD_ROWS = 100
    pairs.SHARD = 60
    prompts = make_prompts(40)
    decoding = lr.Decoding(n=100, max_new_tokens=16)
    if kind == "score":
        samples = lr.sample(model, prompts, decoding, store=folder / "store")
    if kind != "score":
        samples = lr.sample(
            model,
            prompts,
            decoding,
            backend=lr.Backend(executor="ray", workers=2) if kind == "ray" else None,
            store=folder / "store",
        )
    metric = EntailmentScore(nli, gate=0) if kind == "score" else lr.load_metric("exact_match")
    curve = lr.leak_at_k(lr.score_samples(samples, metric))
    print("done", curve.value.tolist(), curve.low.tolist(), curve.high.tolist())


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:]))
