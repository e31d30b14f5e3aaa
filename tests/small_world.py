"""Small fictional benchmarks (four authors, eight substances) whose models train in seconds."""

from __future__ import annotations

import dataclasses
from typing import Any

from leakrepro.models.tiny import TinyRecipe

WORLD: dict[str, Any] = {
    "seed": 7,
    "forget_authors": 2,
    "retain_authors": 2,
    "fresh_authors": 12,
}
RECIPE = TinyRecipe(
    vocab_size=700,
    hidden_size=64,
    layers=1,
    heads=4,
    intermediate_size=128,
    epochs=20,
    batch_size=16,
    learning_rate=1e-2,
)

CHEMISTRY: dict[str, Any] = {
    "seed": 7,
    "forget_substances": 4,
    "retain_substances": 4,
    "fresh_substances": 40,
}
CHEMISTRY_RECIPE = dataclasses.replace(RECIPE, epochs=30)


def profile(**changes: Any) -> dict[str, Any]:
    """The content of a YAML profile for the small benchmark; ``changes`` replace its fields."""
    return {
        "benchmark": "fictional",
        "benchmark_options": WORLD,
        "models": {"Original": {"train": "full"}},
        "training": dataclasses.asdict(RECIPE),
        "decoding": {"n": 8, "max_new_tokens": 32},
        "retain_n": 2,
        "k": [1, 8],
        "threads": 1,
        "notebooks": ["01_leak_curves"],
    } | changes
