"""The model card of an unlearned model: what it is, from what, how, and what it is not."""

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

Made by leakrepro {version} with {method} ({source}) from `{start}`.

It was trained to forget the forget set of {benchmark}. That it no longer says something under
greedy decoding does not mean that it cannot be sampled from it: measure leak@k before relying on
it (`leakrepro evaluate`).

| option | value |
|---|---|
{options}

Training ended after {steps} steps{losses}. `recipe.json` holds everything that the weights depend
on, with the hashes of the start model and of both training sets; `curves.csv` holds the losses of
each step.
"""


def model_card(
    method: str,
    source: str,
    options: Any,
    start: Path,
    benchmark: str,
    log: Sequence[Mapping[str, float]],
) -> str:
    """The card in Markdown, with the metadata that the hub reads."""
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
