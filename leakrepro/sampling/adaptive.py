"""Adaptive sampling: one store per round, with the prompts that need more samples."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from leakrepro.errors import StoreError
from leakrepro.execution.backend import Backend
from leakrepro.metrics.base import CoreMetric, checked_scores
from leakrepro.metrics.registry import Metric, load_metric
from leakrepro.sampling.manifest import Identity, prompts_hash
from leakrepro.sampling.store import SampleStore, open_store
from leakrepro.stats.adaptive import AdaptivePlan, PilotPlan, Plan
from leakrepro.storage import provenance
from leakrepro.storage.atomic import locked, write_atomically
from leakrepro.storage.documents import dump_document, plain, read_document, unreadable
from leakrepro.storage.keys import digest
from leakrepro.types import Prompt

if TYPE_CHECKING:
    from leakrepro.benchmarks.base import Benchmark


PLAN = "plan.json"
_REMEDY = "sample again to complete the plan; if that fails, delete the folder first"
_PLANS: Mapping[str, type[AdaptivePlan] | type[PilotPlan]] = {
    kind.__name__: kind for kind in (AdaptivePlan, PilotPlan)
}


@dataclass(frozen=True)
class Asked:
    """The inputs of an adaptive sampling run.

    Args:
        plan: The plan.
        metric: The metric whose scores the plan uses.
        identity: The identity that a store of these samples has without a plan.
        prompts: The prompts, in order.
        made_with: Versions and host facts, recorded in the manifests.
    """

    plan: Plan
    metric: CoreMetric
    identity: Identity
    prompts: tuple[Prompt, ...]
    made_with: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Returns all inputs that determine which samples are drawn."""
        identity = dataclasses.replace(
            self.identity, decoding=self.identity.decoding.replace(n=self.plan.cap)
        )
        content = {
            "plan": {"kind": type(self.plan).__name__, **dataclasses.asdict(self.plan)},
            "metric": self.metric.id,
            "prompts": [p.id for p in self.prompts],
            "asked": identity.to_json(),
        }
        return dict(plain(content))

    @property
    def key(self) -> str:
        return digest(self.to_json())

    def store(self, folder: Path, prompts: Sequence[Prompt], first: int, n: int) -> SampleStore:
        """Returns a store for samples ``first`` to ``n - 1`` of each given prompt.

        Args:
            folder: The store's folder.
            prompts: A subset of the prompts, in order.
            first: Index of the first sample per prompt.
            n: Index after the last sample per prompt.
        """
        identity = dataclasses.replace(
            self.identity,
            prompts=prompts_hash(prompts),
            decoding=self.identity.decoding.replace(n=n),
            first=first,
        )
        return SampleStore(folder, identity, tuple(prompts), self.made_with)

    def scores(self, store: SampleStore) -> list[NDArray[np.float64]]:
        """Returns the scores of a store's samples, one array [samples] per prompt."""
        texts, n = store.read(["text"])["text"].to_pylist(), len(store.each)
        rows = [texts[i : i + n] for i in range(0, len(texts), n)]
        return list(checked_scores(self.metric, store.prompts, rows))


def metric_of(metric: Metric | None, benchmark: Benchmark | None, backend: Backend) -> CoreMetric:
    """Returns the metric whose scores a plan uses, by default the benchmark's first.

    Raises:
        ValueError: If neither a metric nor a benchmark is given.
    """
    if metric is None and benchmark is not None:
        metric = benchmark.metrics[0]
    if metric is None:
        raise ValueError("a plan needs a metric: pass metric= or a benchmark")
    return load_metric(metric, benchmark, backend)


def draw(
    asked: Asked, folder: Path, fill: Callable[[SampleStore], int]
) -> tuple[tuple[SampleStore, ...], int]:
    """Draws the rounds of a plan. Finished rounds are reused.

    Args:
        asked: The inputs of the run.
        folder: The folder that contains the rounds.
        fill: Completes a store and returns the number of samples drawn.

    Returns:
        The stores of the rounds without the pilot, and the number of samples drawn by this call.

    Raises:
        StoreError: If the folder belongs to another run.
        ValueError: If the plan cannot use the scores.
    """
    with _claimed(asked, folder):
        if isinstance(asked.plan, PilotPlan):
            return _draw_after_pilot(asked, asked.plan, folder, fill)
        return _draw_until_hits(asked, asked.plan, folder, fill)


def open_rounds(folder: Path) -> tuple[Plan, tuple[Prompt, ...], tuple[SampleStore, ...]]:
    """Opens the folder of a finished plan.

    Args:
        folder: The folder that contains the rounds.

    Returns:
        The plan, the prompts in order, and the stores of the rounds.

    Raises:
        StoreError: If the plan is unfinished, or if a file is missing, damaged or could not be
            opened.
    """
    provenance.note_file(folder / PLAN)
    content = _read_plan(folder)
    if "rounds" not in content:
        raise StoreError(
            f"{folder / PLAN} is damaged or incomplete (it has no rounds): sample again to "
            "complete the plan"
        )
    try:
        fields = dict(content["plan"])
        plan = _PLANS[fields.pop("kind")](**fields)
        order = {prompt_id: i for i, prompt_id in enumerate(content["prompts"])}
        rounds = [str(name) for name in content["rounds"]]
        if not rounds or any(Path(name).name != name for name in rounds):
            raise ValueError("its rounds are not names of folders")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise unreadable(folder / PLAN, error, _REMEDY) from error
    stores = tuple(open_store(folder / name) for name in rounds)
    for store in stores:
        store.check()
    prompts = {prompt.id: prompt for store in stores for prompt in store.prompts}
    if prompts.keys() != order.keys():
        raise StoreError(f"the prompts in {folder} differ from the prompts of its plan")
    return plan, tuple(sorted(prompts.values(), key=lambda p: order[p.id])), stores


@contextlib.contextmanager
def _claimed(asked: Asked, folder: Path) -> Iterator[None]:
    """Locks a folder that is new or belongs to this plan."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        path = folder / PLAN
        if path.exists():
            content = _read_plan(folder)
            content.pop("rounds", None)
            if content != asked.to_json():
                raise StoreError(f"{path} belongs to other samples; choose another folder")
        elif any(not file.name.startswith(".") for file in folder.iterdir()):
            raise StoreError(f"{folder} contains files that do not belong to an adaptive plan")
        else:
            _write(asked, folder, None)
        yield


def _write(asked: Asked, folder: Path, rounds: Sequence[str] | None) -> None:
    content = asked.to_json() | ({} if rounds is None else {"rounds": list(rounds)})
    provenance.note_file(folder / PLAN)
    write_atomically(folder / PLAN, dump_document(content))


def _read_plan(folder: Path) -> dict[str, Any]:
    path = folder / PLAN
    try:
        document = read_document(path, _REMEDY)
    except FileNotFoundError as error:
        raise StoreError(f"{folder} is not the folder of a plan (no {PLAN})") from error
    asked = document.content.get("asked")
    # Plans of schema version 2 do not have a checksum.
    if not document.has_checksum and (not isinstance(asked, dict) or asked.get("schema") != 2):
        raise unreadable(path, ValueError("its checksum is missing"), _REMEDY)
    return document.content


def _draw_until_hits(
    asked: Asked, plan: AdaptivePlan, folder: Path, fill: Callable[[SampleStore], int]
) -> tuple[tuple[SampleStore, ...], int]:
    stores: list[SampleStore] = []
    left, first, drawn = list(asked.prompts), 0, 0
    hits = {prompt.id: 0 for prompt in left}
    for look in plan.looks:
        store = asked.store(folder / f"round-{look:06d}", left, first, look)
        drawn += fill(store)
        stores.append(store)
        for prompt, scores in zip(left, asked.scores(store), strict=True):
            if not np.isin(scores, (0.0, 1.0)).all():
                raise ValueError(
                    f"{asked.metric.id} has scores other than 0 and 1, first for {prompt.id!r}: an "
                    "AdaptivePlan cannot count them; use a PilotPlan"
                )
            hits[prompt.id] += int(scores.sum())
        left = [prompt for prompt in left if not plan.stops(hits[prompt.id], look)]
        first = look
        if not left:
            break
    _write(asked, folder, [store.path.name for store in stores])
    return tuple(stores), drawn


def _draw_after_pilot(
    asked: Asked, plan: PilotPlan, folder: Path, fill: Callable[[SampleStore], int]
) -> tuple[tuple[SampleStore, ...], int]:
    # The pilot uses sample indices from plan.cap on, so its seeds differ from those of the rounds.
    pilot = asked.store(folder / "pilot", asked.prompts, plan.cap, plan.cap + plan.pilot)
    drawn = fill(pilot)
    counts = plan.counts(asked.scores(pilot))
    stores: list[SampleStore] = []
    first = 0
    for count in np.unique(counts).tolist():
        left = [p for p, n in zip(asked.prompts, counts, strict=True) if n >= count]
        store = asked.store(folder / f"round-{count:06d}", left, first, count)
        drawn += fill(store)
        stores.append(store)
        first = count
    _write(asked, folder, [store.path.name for store in stores])
    return tuple(stores), drawn
