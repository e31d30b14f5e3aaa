"""Samples of one model, with access to the stored answers."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from leakrepro.sampling import adaptive
from leakrepro.sampling.store import SampleStore, open_store
from leakrepro.stats.adaptive import Plan
from leakrepro.types import Decoding, Prompt

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of one model. The answers are read from disk on first use.

    Attributes:
        prompts: The prompts, in order.
        decoding: The decoding settings. Under an adaptive plan, ``n`` is the maximum number of
            samples per prompt.
        path: The store's folder.
        weights_fingerprint: Hash of the model's weights.
        stores: One store, or one store per round of an adaptive plan.
        drawn: Number of samples that this call drew. It is 0 if all samples were stored already.
        plan: The adaptive plan, or None. ``leak_at_k`` needs it.
    """

    prompts: tuple[Prompt, ...]
    decoding: Decoding
    path: Path
    weights_fingerprint: str
    stores: tuple[SampleStore, ...]
    drawn: int = 0
    plan: Plan | None = None

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Reads one row per sample, ordered by prompt and then by sample index.

        Args:
            columns: Names of the columns of ``leakrepro.sampling.store.SCHEMA`` to read. None
                reads all columns.

        Returns:
            A table with the requested columns.

        Raises:
            StoreError: If a file is missing, damaged or belongs to another store. The message
                names the file.
        """
        tables = [store.read(columns) for store in self.stores]
        if len(tables) == 1:
            return tables[0]
        # Each round is sorted already, so a stable sort by prompt keeps the samples in order.
        place = {prompt.id: i for i, prompt in enumerate(self.prompts)}
        owner = [place[p.id] for store in self.stores for p in store.prompts for _ in store.each]
        return pa.concat_tables(tables).take(np.argsort(owner, kind="stable")).combine_chunks()

    @functools.cached_property
    def table(self) -> pa.Table:
        """All columns of all samples; see ``read``."""
        return self.read()

    def __repr__(self) -> str:
        count, prompts = sum(self.counts), len(self.prompts)
        return f"Samples({count:,} answers to {prompts:,} prompts, {self.decoding}, {self.path})"

    def to_pandas(self) -> pd.DataFrame:
        """All columns of ``table`` as a data frame, one row per sample."""
        frame: pd.DataFrame = self.table.to_pandas()
        return frame

    @property
    def clusters(self) -> list[str]:
        """The cluster of each prompt, in the order of the prompts."""
        return [prompt.cluster for prompt in self.prompts]

    @functools.cached_property
    def counts(self) -> list[int]:
        """Number of samples of each prompt."""
        counts = dict.fromkeys((prompt.id for prompt in self.prompts), 0)
        for store in self.stores:
            for prompt in store.prompts:
                counts[prompt.id] += len(store.each)
        return list(counts.values())

    @functools.cached_property
    def tokens(self) -> int:
        """Total number of generated tokens."""
        return int(np.sum(self.read(["n_tokens"])["n_tokens"].to_numpy()))

    @functools.cached_property
    def texts(self) -> list[list[str]]:
        """The answers, one list per prompt."""
        texts = self.read(["text"])["text"].to_pylist()
        stops = np.cumsum([0, *self.counts]).tolist()
        return [texts[a:b] for a, b in itertools.pairwise(stops)]

    @functools.cached_property
    def finished(self) -> float:
        """Share of the samples that ended before ``max_new_tokens``.

        It is nan for imported samples, because their files do not record it.
        """
        reasons: list[str | None] = self.read(["finish_reason"])["finish_reason"].to_pylist()
        return reasons.count("stop") / len(reasons) if None not in reasons else float("nan")

    def blocks(self, rows: int) -> Iterator[tuple[tuple[Prompt, ...], list[list[str]]]]:
        """Yields prompts with their answers in order, about ``rows`` samples at a time.

        Use it for stores that do not fit into memory as Python strings. The samples of an
        adaptive plan are one block.

        Raises:
            StoreError: If a file is missing, damaged or belongs to another store.
        """
        if len(self.stores) > 1:
            yield self.prompts, self.texts
            return
        (store,) = self.stores
        n, first, held = len(store.each), 0, []
        for table in store.read_shards(["text"]):
            held += table["text"].to_pylist()
            whole = len(held) // n
            if whole * n >= rows or first + whole == len(self.prompts):
                answers = [held[i * n : (i + 1) * n] for i in range(whole)]
                yield self.prompts[first : first + whole], answers
                first, held = first + whole, held[whole * n :]


def read_samples(path: str | Path) -> Samples:
    """Opens the samples of a complete store. The prompts are read from its manifest.

    Raises:
        StoreError: If the folder is not a store, or if the store is incomplete or damaged.
    """
    path = Path(path)
    if os.path.exists(path / adaptive.PLAN):  # False as well where the folder cannot be read
        plan, prompts, stores = adaptive.open_rounds(path)
        last = stores[-1].identity
        decoding = last.decoding.replace(n=plan.cap)
        return Samples(prompts, decoding, path, last.weights, stores, plan=plan)
    store = open_store(path)
    store.check()
    identity = store.identity
    return Samples(store.prompts, identity.decoding, path, identity.weights, (store,))
