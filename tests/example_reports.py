"""Synthetic reports: 16 authors x 5 questions, 200 samples per question."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from leakrepro.evaluation.leak_report import LeakReport
from leakrepro.stats.estimator import LeakCurve, chance_curve, leak_at_k
from leakrepro.types import Decoding

# Model -> mean and size of the beta distribution of a prompt's leak probability, greedy leak,
# retain score. The values resemble those of the profile `embedded`.
MODELS = {
    "Original": (0.90, 2.0, 1.0, 0.99),
    "Retrain": (0.03, 1.0, 0.05, 0.98),
    "GradDiff": (0.10, 0.8, 0.15, 0.94),
    "NPO": (0.09, 1.2, 0.23, 0.97),
    "SimNPO": (0.06, 0.6, 0.19, 0.95),
    "RULE-NPO": (0.004, 0.3, 0.0, 0.93),
}
EASY = np.arange(80) % 5 < 2
LABELS = [f"author {i // 5}" for i in range(80)]
METRICS = ("fact_match", "fact_match/strict")


def _curve(p: np.ndarray, rng: np.random.Generator, n: int, rows: np.ndarray) -> LeakCurve:
    hits = (rng.random((p.size, n)) < p[:, None]).astype(float)[rows]
    return leak_at_k(hits, clusters=[LABELS[i] for i in np.flatnonzero(rows)])


@cache
def _fields(model: str, seed: int) -> dict[str, object]:
    mean, size, greedy, retain = MODELS[model]
    rng = np.random.default_rng([seed, *model.encode()])
    p = rng.beta(mean * size, (1 - mean) * size, 16).repeat(5)
    p = np.clip(p + 0.03 * EASY, 0, 1)
    everything = np.ones(80, dtype=bool)
    easy = _curve(p, rng, 200, EASY)
    greedy_scores = (np.arange(80) < 80 * greedy).astype(float)[:, None]
    kept = (np.arange(400) < 400 * retain).astype(float)[:, None]
    sampled = (rng.random((400, 20)) < retain - 0.1).astype(float)
    return {
        "model": model,
        "benchmark": "fictional(seed=0)",
        "weights_fingerprint": f"weights of {model}",
        "decoding": Decoding(max_new_tokens=32),
        "texts_digest": f"texts of {model}",
        "curves": {
            METRICS[0]: _curve(p, rng, 200, everything),
            METRICS[1]: _curve(0.8 * p, rng, 200, everything),
        },
        "greedy": {metric: leak_at_k(greedy_scores, clusters=LABELS) for metric in METRICS},
        "retain_greedy": {metric: leak_at_k(kept) for metric in METRICS},
        "retain_sampled": {metric: leak_at_k(sampled, 1) for metric in METRICS},
        "finished": 0.995,
        "samples_path": Path("samples") / model,
        "easy": easy,
        "hard": _curve(p, rng, 200, ~EASY),
        "chance": chance_curve([16, 24, 48, 32] * 8, easy.k),
    }


def report(model: str = "NPO", seed: int = 0, **changes: object) -> LeakReport:
    """A report with synthetic scores; ``changes`` replace its fields."""
    return LeakReport(**(_fields(model, seed) | changes))  # type: ignore[arg-type]
