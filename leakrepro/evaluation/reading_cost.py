"""What an entailment model reads for an evaluation, and what it need not read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from leakrepro.benchmarks.base import Benchmark
from leakrepro.metrics.entailment import EntailmentScore
from leakrepro.metrics.model_scored import Usage
from leakrepro.metrics.registry import load_metric
from leakrepro.profiles.schema import Profile
from leakrepro.sampling import Samples, sample


def reading_cost(
    profile: Profile,
    benchmark: Benchmark,
    models: Mapping[str, Path],
    cells: Sequence[tuple[float, float]],
) -> pd.DataFrame | None:
    """``cost_table`` of a profile's entailment model for several decodings.

    A column names the decoding. None for a profile without an entailment model.

    Args:
        profile: Decoding and backend.
        benchmark: Its forget prompts are sampled.
        models: Name -> folder.
        cells: Temperature and top_p of each decoding.
    """
    known = [*(profile.metrics or ()), *profile.core_metrics]
    wanted = [metric for metric in known if metric.startswith("entailment/")]
    if not wanted:
        return None
    reader = load_metric(wanted[0], benchmark)
    assert isinstance(reader, EntailmentScore)
    tables = []
    for temperature, top_p in cells:
        decoding = profile.decoding.replace(temperature=temperature, top_p=top_p)
        samples, usage, everything = {}, {}, {}
        for name, path in models.items():
            each = samples[name] = sample(path, benchmark, decoding, backend=profile.backend)
            uncached = EntailmentScore(reader.path, cache=False)  # it reads everything again
            uncached.score(each.prompts, each.texts)
            usage[name] = uncached.usage
            everything[name] = uncached.tokens(each.prompts, each.texts)
        tables.append(cost_table(samples, usage, everything).assign(decoding=str(decoding)))
    return pd.concat(tables, ignore_index=True)


def cost_table(
    samples: Mapping[str, Samples], usage: Mapping[str, Usage], everything: Mapping[str, int]
) -> pd.DataFrame:
    """One row per model: what its cell took to sample and to read.

    Columns: model, samples, tokens (generated), candidates, gated, repeated, read (distinct pairs,
    read now or earlier), read tokens, tokens of all (if each candidate were read as it comes), both
    with padding, saving (tokens of all / read tokens).

    Args:
        samples: Model -> its samples.
        usage: Model -> what an ``EntailmentScore`` without cache took for them.
        everything: Model -> ``EntailmentScore.tokens`` of them.
    """
    rows = []
    for model, each in samples.items():
        used = usage[model]
        rows.append(
            {
                "model": model,
                "samples": sum(each.counts),
                "tokens": each.tokens,
                "candidates": used.candidates,
                "gated": used.gated,
                "repeated": used.repeated,
                "read": used.scored + used.cached,
                "read tokens": used.tokens + used.padding,
                "tokens of all": everything[model],
                "saving": everything[model] / max(used.tokens + used.padding, 1),
            }
        )
    return pd.DataFrame(rows)
