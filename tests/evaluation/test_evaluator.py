"""``evaluate``: the report matches values computed from the stored samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_world as small
import yaml

import leakrepro as lr
from leakrepro.benchmarks import Benchmark
from leakrepro.benchmarks.fictional.authors import ATTRIBUTES
from leakrepro.evaluation import evaluator as evaluation
from leakrepro.evaluation.leak_report import LeakReport, digest_texts
from leakrepro.metrics import load_metric
from leakrepro.models import load
from leakrepro.profiles import models
from leakrepro.types import Decoding, Prompt, Scores

DECODING = Decoding(n=6, max_new_tokens=32, seed=4)
POOLS = {attribute.name: len(attribute.pool) for attribute in ATTRIBUTES if attribute.pool}


@pytest.fixture
def _home(small_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKREPRO_HOME", str(small_home))


@pytest.fixture
def report(_home: None, small_original: Path, small_world: Benchmark) -> LeakReport:
    return lr.evaluate(small_original, small_world, decoding=DECODING, k=[4, 1, 6], retain_n=3)


def test_curves_are_the_mean_maximum_over_all_subsets(
    report: LeakReport, small_world: Benchmark
) -> None:
    kept = lr.read_samples(report.samples_path)
    assert kept.prompts == small_world.forget
    assert kept.decoding == report.decoding == DECODING
    assert list(report.curves) == list(small_world.metrics)
    assert report.headline == "fact_match"
    for id, curve in report.curves.items():
        scores = load_metric(id, small_world).score(kept.prompts, kept.texts)
        rows = scores.array()
        assert curve.k.tolist() == [1, 4, 6]
        for k, value in zip(curve.k, curve.value, strict=True):
            best = [[row[list(c)].max() for c in combinations(range(6), int(k))] for row in rows]
            assert value == pytest.approx(np.mean(best), rel=1e-12), (id, k)
        assert curve.n_clusters == 2
        assert 0.05 < curve.value[0] < curve.value[-1] < 1  # some samples leak, others do not
    assert report.texts_digest == digest_texts(kept.texts)
    reasons = kept.table["finish_reason"].to_pylist()
    assert report.finished == reasons.count("stop") / len(reasons)


def test_greedy_and_retain_are_means_of_their_answers(
    report: LeakReport, small_original: Path, small_world: Benchmark
) -> None:
    world = small_world
    greedy = lr.sample(small_original, world.forget + world.retain, DECODING.greedy())
    retain = lr.sample(small_original, world.retain, DECODING.replace(n=3))
    assert greedy.drawn == retain.drawn == 0  # evaluate has drawn the same samples
    count = len(world.forget)
    for id in world.metrics:
        metric = load_metric(id, world)
        values = metric.score(greedy.prompts, greedy.texts).values
        assert report.greedy[id].value == pytest.approx([values[:count].mean()])
        assert report.retain_greedy[id].value == pytest.approx([values[count:].mean()])
        sampled = metric.score(retain.prompts, retain.texts).array()
        assert report.retain_sampled[id].value == pytest.approx([sampled.mean()])
        assert report.greedy[id].n_clusters == report.retain_greedy[id].n_clusters == 2
    assert report.greedy["fact_match"].value != report.retain_greedy["fact_match"].value


def test_easy_and_hard_split_the_forget_prompts(report: LeakReport, small_world: Benchmark) -> None:
    whole = report.curve().per_prompt
    easy = [prompt.id.split("/")[2] in POOLS for prompt in small_world.forget]
    assert report.easy is not None
    assert report.hard is not None
    assert report.chance is not None
    np.testing.assert_array_equal(report.easy.per_prompt, whole[easy])
    np.testing.assert_array_equal(report.hard.per_prompt, whole[np.logical_not(easy)])
    sizes = [POOLS[p.id.split("/")[2]] for p in small_world.forget if p.id.split("/")[2] in POOLS]
    expected = [np.mean([1 - (1 - 1 / size) ** k for size in sizes]) for k in (1, 4, 6)]
    assert report.chance == pytest.approx(expected, rel=1e-12)


def test_report_names_model_benchmark_and_weights(
    report: LeakReport, small_original: Path, small_world: Benchmark
) -> None:
    assert report.model == str(small_original)
    assert report.benchmark == small_world.name
    assert report.weights_fingerprint == load.fingerprint(small_original)
    again = lr.evaluate(
        small_original, small_world, decoding=DECODING, k=[1], retain_n=3, name="Original"
    )
    assert again.model == "Original"


def test_a_second_call_draws_no_samples(
    report: LeakReport,
    small_original: Path,
    small_world: Benchmark,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[int] = []
    draw = evaluation.sample

    def counted(*args: Any, **kwargs: Any) -> Any:
        samples = draw(*args, **kwargs)
        drawn.append(samples.drawn)
        return samples

    monkeypatch.setattr(evaluation, "sample", counted)
    again = lr.evaluate(
        small_original, small_world, decoding=DECODING, metric="exact_match", retain_n=3
    )
    assert drawn == [0, 0, 0]
    assert list(again.curves) == ["exact_match"]
    assert again.curve().k.tolist() == [1, 2, 4]
    assert again.texts_digest == report.texts_digest


@pytest.mark.usefixtures("_home")
def test_metrics_by_id_and_user_defined(small_original: Path, small_world: Benchmark) -> None:
    class Long:
        id = "long"
        higher_is_better = False

        def score(self, prompts: Any, candidates: Any) -> lr.Scores:
            return lr.Scores.from_rows([[float(len(t) > 40) for t in row] for row in candidates])

    report = lr.evaluate(
        small_original,
        small_world,
        decoding=DECODING,
        metric=[Long(), "rougeL_recall"],
        k=[1],
        retain_n=3,
    )
    assert list(report.curves) == ["long", "rougeL_recall"]
    assert report.headline == "long"
    texts = [text for row in lr.read_samples(report.samples_path).texts for text in row]
    assert report.curve().value[0] == pytest.approx(np.mean([len(text) > 40 for text in texts]))


@pytest.mark.usefixtures("_home")
def test_a_benchmark_without_pools_has_no_split(
    small_original: Path, small_world: Benchmark
) -> None:
    world = dataclasses.replace(small_world, pool_sizes={})
    report = lr.evaluate(small_original, world, decoding=DECODING, k=[1], retain_n=3)
    assert (report.easy, report.hard, report.chance) == (None, None, None)


@pytest.mark.usefixtures("_home")
def test_greedy_decoding_gives_one_answer_per_prompt(
    small_original: Path, small_world: Benchmark
) -> None:
    report = lr.evaluate(small_original, small_world, decoding=DECODING.greedy())
    assert report.curve().k.tolist() == [1]
    np.testing.assert_array_equal(report.curve().value, report.greedy["fact_match"].value)
    assert report.retain_sampled["fact_match"].value == report.retain_greedy["fact_match"].value


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": [1, 7]}, "k = 7 needs as many samples per prompt, but n is 6: raise n or lower k"),
        ({"k": [7, 1]}, "k = 7 needs"),
        ({"metric": "rogue"}, "unknown core metric 'rogue'"),
        ({"metric": ["fact_match", "rogue"]}, "unknown core metric 'rogue'"),
        ({"retain_n": 0}, "n must be from 1"),
        ({"k": [0, 1]}, "k must hold numbers from 1 to n, not"),
        ({"k": []}, "k must hold numbers"),
    ],
)
def test_invalid_arguments_are_rejected_before_any_work(
    small_world: Benchmark,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    message: str,
) -> None:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "home"))
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(small.profile()))
    monkeypatch.setitem(models.MADE_BY, "fictional", (str(tmp_path / "small.yaml"), None))
    with pytest.raises(ValueError, match=message):
        lr.evaluate("Original", small_world, decoding=DECODING, **options)
    assert not (tmp_path / "home").exists()


class PartialMetric:
    """Leaves one sample per prompt without a score."""

    id = "partial"
    higher_is_better = True

    def score(self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scores:
        return Scores.from_rows([1.0] * max(1, len(texts) - 1) for texts in candidates)


@pytest.mark.usefixtures("_home")
def test_samples_without_a_score_are_counted(small_original: Path, small_world: Benchmark) -> None:
    report = lr.evaluate(
        small_original, small_world, decoding=DECODING, metric=PartialMetric(), k=[1]
    )
    count = len(small_world.forget)
    assert report.missing == {"partial": count}
    assert f"{count} samples do not have a score and are excluded" in lr.report.caption([report])
    assert report.curve().n_samples == DECODING.n - 1
    with pytest.raises(ValueError, match="fewer than k = 6"):
        lr.evaluate(small_original, small_world, decoding=DECODING, metric=PartialMetric(), k=[6])
