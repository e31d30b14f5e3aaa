"""Number of tokens that an entailment model processes for an evaluation, and the savings."""

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
    """Measure the cost of a profile's entailment model under several decoding settings.

    Args:
        profile: Supplies the entailment metric, the decoding and the backend.
        benchmark: Benchmark whose forget prompts are sampled.
        models: Model name -> folder.
        cells: Temperature and top_p of each decoding setting.

    Returns:
        ``cost_table`` of each setting with the additional column decoding. None if the profile does
        not have an entailment metric.
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
            uncached = EntailmentScore(reader.path, cache=False)  # a cached score costs nothing
            uncached.score(each.prompts, each.texts)
            usage[name] = uncached.usage
            everything[name] = uncached.tokens(each.prompts, each.texts)
        tables.append(cost_table(samples, usage, everything).assign(decoding=str(decoding)))
    return pd.concat(tables, ignore_index=True)


def cost_table(
    samples: Mapping[str, Samples], usage: Mapping[str, Usage], everything: Mapping[str, int]
) -> pd.DataFrame:
    """Tabulate the cost of sampling and scoring, one row per model.

    Args:
        samples: Model -> its samples.
        usage: Model -> usage of an ``EntailmentScore`` without cache on these samples.
        everything: Model -> ``EntailmentScore.tokens`` of these samples.

    Returns:
        Columns: model, samples, tokens (generated), candidates, gated (decided by the ROUGE
        prefilter), repeated, read (distinct pairs scored by the model), read tokens (processed by
        the model), tokens of all (processed without prefilter and deduplication), saving (tokens of
        all / read tokens). Both numbers of processed tokens include padding.
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
