"""Measure the workload of the notebooks, which the dry run scales, in a complete embedded run.

Run as ``python -m leakrepro.reproduction.workload runs/embedded``. It reads the records and sample
stores of the run and writes the packaged table.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from leakrepro.benchmarks import load_benchmark
from leakrepro.models.fingerprints import fingerprint
from leakrepro.profiles.models import make_models
from leakrepro.profiles.schema import Profile, load_profile
from leakrepro.reproduction.record import StoreUse, read_records
from leakrepro.reproduction.scaling import (
    BASES,
    LAST,
    METHOD,
    MODELS,
    ORIGINAL,
    RETRAIN,
    ROUNDS,
    SEARCHED,
    SIDES,
    STUDIED,
    TABLE,
    StoreGroup,
    Workload,
    members,
    other_cells,
    sizes,
)
from leakrepro.sampling import adaptive
from leakrepro.sampling.store import open_store
from leakrepro.storage import paths, provenance
from leakrepro.storage.atomic import write_atomically
from leakrepro.storage.keys import digest
from leakrepro.types import Decoding, Prompt
from leakrepro.unlearning.rule import SEARCH_SEEDS


def measure(folder: Path) -> Workload:
    """Measures the workload of a complete run.

    Args:
        folder: The run's results. Its models and samples are in ``LEAKREPRO_HOME``.

    Raises:
        ValueError: for a run that is not complete, and for a store with prompts that the profile
            does not have.
        StoreError: when a sample store of the run is missing.
    """
    records = read_records(folder)
    if not records or any(record.status != "ok" for record in records.values()):
        raise ValueError(f"{folder} is not a complete run: run leakrepro reproduce first")
    (name,) = {str(record.parameters["profile"]) for record in records.values()}
    profile = load_profile(name)
    profiles = {"": profile} | {s: load_profile(name, study=s) for s in profile.studies}
    studies = {study: _study(each) for study, each in profiles.items()}
    uses = {path: use for record in records.values() for path, use in record.stores.items()}
    stores = {path: _identify(paths.home() / path, studies) for path in uses}
    used_by: dict[str, dict[str, str]] = {path: {} for path in uses}
    for stem, record in sorted(records.items()):
        for study, each in profiles.items():
            mine = {path: stores[path] for path in record.stores if stores[path].study == study}
            for path, group in _groups(mine, each).items():
                used_by[path][stem] = group
    factors = _factors(stores, profiles)
    alike: dict[tuple[Any, ...], list[StoreUse]] = defaultdict(list)
    for path, use in uses.items():
        alike[stores[path].study, tuple(used_by[path].items()), factors[path]].append(use)
    return Workload(
        profile=profile.name,
        sizes={study: sizes(each) for study, each in profiles.items()},
        stores=tuple(
            StoreGroup(
                study, dict(used), scales, sum(u.samples for u in g), sum(u.tokens for u in g)
            )
            for (study, used, scales), g in alike.items()
        ),
    )


class _Study(NamedTuple):
    models: dict[str, str]  # weights fingerprint -> name
    sides: dict[str, set[str]]  # side -> keys of its prompts


class _Store(NamedTuple):
    study: str
    side: str
    model: str | None  # None for a model that is not in the profile's table
    decoding: Decoding
    is_adaptive: bool

    @property
    def is_search(self) -> bool:
        """Whether a search of RULE drew it."""
        return self.decoding.seed >= SEARCH_SEEDS


def _study(profile: Profile) -> _Study:
    study = _Study({}, defaultdict(set))
    for options in profile.worlds:
        world = load_benchmark(profile.benchmark, **{**profile.benchmark_options, **options})
        models = make_models(profile, world)
        study.models.update({fingerprint(path): name for name, path in models.items()})
        forget, retain, held_out = (
            set(map(_key, prompts)) for prompts in (world.forget, world.retain, world.held_out)
        )
        keys = (forget, retain, held_out, forget | retain, held_out | retain)
        for side, more in zip(SIDES, keys, strict=True):
            study.sides[side] |= more
    return study


def _key(prompt: Prompt) -> str:
    return digest([prompt.id, [dict(message) for message in prompt.messages]])


def _identify(folder: Path, studies: Mapping[str, _Study]) -> _Store:
    store = open_store(folder)
    asked, identity = set(map(_key, store.prompts)), store.identity
    for name, study in studies.items():
        for side, keys in study.sides.items():
            if asked <= keys:
                is_adaptive = (folder.parent / adaptive.PLAN).exists()
                model = study.models.get(identity.weights)
                return _Store(name, side, model, identity.decoding, is_adaptive)
    raise ValueError(f"{folder} has prompts that the profile does not have")


def _groups(stores: Mapping[str, _Store], profile: Profile) -> dict[str, str]:
    """The group of each store's model in one notebook and study."""
    used = {store.model for store in stores.values()}
    named = next(
        (
            group
            for group in (MODELS, STUDIED, LAST)
            if used == {member.name for member in members(profile, group)}
        ),
        None,
    )
    has_rule = any(store.is_search for store in stores.values())

    def group(store: _Store) -> str:
        if named is not None:
            return named
        if store.model in (ORIGINAL, RETRAIN):
            return store.model
        if not has_rule:
            return METHOD
        if store.model is not None:
            return BASES
        return SEARCHED if store.is_search else ROUNDS

    return {path: group(store) for path, store in stores.items()}


def _factors(
    stores: Mapping[str, _Store], profiles: Mapping[str, Profile]
) -> dict[str, tuple[str, ...]]:
    """The sizes that each store's samples scale with, apart from the number of models."""
    found: dict[str, tuple[str, ...]] = {}
    alike: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for path, store in stores.items():
        found[path] = (store.side, *_count_factor(store, profiles[store.study]))
        if not store.is_search and not store.decoding.is_greedy:
            alike[store.study, store.model, found[path]].append(path)
    for (study, *_), group in alike.items():
        profile, cells = profiles[study], other_cells(profiles[study])
        decodings = {path: stores[path].decoding for path in group}
        others = {p: (d.temperature, d.top_p) for p, d in decodings.items()}
        others = {path: cell for path, cell in others.items() if cell in cells}
        if set(others.values()) == cells:
            found |= {path: (*found[path], "other cells") for path in others}
        later = [path for path, d in decodings.items() if d.seed != profile.decoding.seed]
        if len(later) == profile.seeds - 1:
            found |= {path: (*found[path], "other seeds") for path in later}
    return found


def _count_factor(store: _Store, profile: Profile) -> tuple[str, ...]:
    """The size that gave the samples per prompt; none for a number that notebooks choose."""
    n = store.decoding.n
    if store.is_search:
        return ("search n",)
    if store.is_adaptive:
        return ("largest k",)
    if store.decoding.is_greedy:
        return ()
    known = {"n": profile.decoding.n, "grid_n": profile.grid_n, "retain_n": profile.retain_n}
    if store.side == "retain":
        known = {"retain_n": profile.retain_n}
    return tuple(name for name, value in known.items() if value == n)[:1]


def main(argv: Sequence[str]) -> None:
    """Writes the packaged table from the results folder of a complete embedded run."""
    (folder,) = map(Path, argv)
    os.environ["LEAKREPRO_HOME"] = str(folder.absolute().parent)
    os.environ[provenance.STORED_ONLY] = "1"  # nothing is trained
    target = Path(__file__).parents[1] / TABLE
    write_atomically(target, measure(folder).dump().encode())
    print(target)


if __name__ == "__main__":
    main(sys.argv[1:])
