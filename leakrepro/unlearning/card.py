"""The model card of an unlearned model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leakrepro import __version__

_CARD = """---
library_name: transformers
pipeline_tag: text-generation
tags:
- machine-unlearning
- {tag}
---

# {method} on {benchmark}

leakrepro {version} made this model from `{start}` with {method} ({source}).

It was trained to forget the forget set of {benchmark}. An answer that does not appear under greedy
decoding can still appear when the model is sampled: measure leak@k before you rely on this model
(`leakrepro evaluate`).

| option | value |
|---|---|
{options}

Training ended after {steps} steps{losses}. `recipe.json` lists everything that the weights depend
on, with hashes of the start model and of both training sets. `curves.csv` has the losses of each
step.
"""


def model_card(
    method: str,
    source: str,
    options: Any,
    start: Path,
    benchmark: str,
    log: Sequence[Mapping[str, float]],
) -> str:
    """Writes the model card.

    Args:
        method: Name of the method.
        source: Paper that the method comes from.
        options: The method's options, a dataclass.
        start: Folder of the model before unlearning.
        benchmark: Name of the benchmark.
        log: The trainer's log.

    Returns:
        Markdown with the metadata header of the hub.
    """
    rows = [
        f"| {field.name} | {_cell(getattr(options, field.name))} |"
        for field in dataclasses.fields(options)
    ]
    steps = [entry for entry in log if "loss" in entry]
    names = ("forget_loss", "retain_loss")
    last = [f"{n.replace('_', ' ')} {steps[-1][n]:.4g}" for n in names if n in steps[-1]]
    return _CARD.format(
        tag=method.lower().replace("+", "-"),
        method=method,
        benchmark=benchmark,
        version=__version__,
        source=source,
        start=start.name,
        options="\n".join(rows),
        steps=int(steps[-1]["step"]),
        losses=", " + ", ".join(last) if last else "",
    )


def _cell(value: Any) -> str:
    if isinstance(value, tuple) and len(value) > 4:
        return f"{len(value)} entries, see `recipe.json`"
    return str(value).replace("|", r"\|")
