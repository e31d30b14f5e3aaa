"""Samples of one model, read from their store."""

from __future__ import annotations

import functools
import itertools
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
    """Samples of one model, read from their store when they are asked for.

    Attributes:
        prompts: What was asked, in order.
        decoding: How the answers were drawn; under an adaptive plan ``n`` is the most of a prompt.
        path: The store's folder.
        weights_fingerprint: Hash of the model's weights.
        stores: The store, or those of an adaptive plan's rounds.
        drawn: Samples drawn by this call; 0 when all were there.
        plan: The adaptive plan, where there was one; ``leak_at_k`` needs it.
    """

    prompts: tuple[Prompt, ...]
    decoding: Decoding
    path: Path
    weights_fingerprint: str
    stores: tuple[SampleStore, ...]
    drawn: int = 0
    plan: Plan | None = None

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """One row a sample, ordered by prompt and then by sample.

        Args:
            columns: Only these of ``leakrepro.sampling.store.SCHEMA``; None for all.

        Raises:
            StoreError: naming the file that is missing, damaged, or of another store.
        """
        tables = [store.read(columns) for store in self.stores]
        if len(tables) == 1:
            return tables[0]
        # Rounds are ordered by themselves; a stable sort by prompt keeps samples in order.
        place = {prompt.id: i for i, prompt in enumerate(self.prompts)}
        owner = [place[p.id] for store in self.stores for p in store.prompts for _ in store.each]
        return pa.concat_tables(tables).take(np.argsort(owner, kind="stable")).combine_chunks()

    @functools.cached_property
    def table(self) -> pa.Table:
        """All columns, as ``read`` gives them."""
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
        """The cluster of each prompt, as the statistics take them."""
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
        """Tokens generated in all."""
        return int(np.sum(self.read(["n_tokens"])["n_tokens"].to_numpy()))

    @functools.cached_property
    def texts(self) -> list[list[str]]:
        """The answers, one list a prompt."""
        texts = self.read(["text"])["text"].to_pylist()
        stops = np.cumsum([0, *self.counts]).tolist()
        return [texts[a:b] for a, b in itertools.pairwise(stops)]

    @functools.cached_property
    def finished(self) -> float:
        """Share of the samples that ended by themselves before ``max_new_tokens``.

        nan for imported samples, whose files do not say.
        """
        reasons: list[str | None] = self.read(["finish_reason"])["finish_reason"].to_pylist()
        return reasons.count("stop") / len(reasons) if None not in reasons else float("nan")

    def blocks(self, rows: int) -> Iterator[tuple[tuple[Prompt, ...], list[list[str]]]]:
        """Prompts with their answers, about ``rows`` samples at a time, in order.

        For stores that do not fit into memory as Python strings.

        Raises:
            StoreError: as ``read``.
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
    """The samples of a complete store, with the prompts that its manifest records.

    Raises:
        StoreError: when the folder is no store, or an unfinished or damaged one.
    """
    path = Path(path)
    if (path / adaptive.PLAN).exists():
        plan, prompts, stores = adaptive.open_rounds(path)
        last = stores[-1].identity
        decoding = last.decoding.replace(n=plan.cap)
        return Samples(prompts, decoding, path, last.weights, stores, plan=plan)
    store = open_store(path)
    store.check()
    identity = store.identity
    return Samples(store.prompts, identity.decoding, path, identity.weights, (store,))
