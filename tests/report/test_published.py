from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from example_reports import report

from leakrepro.report import compare_published, published, reference_values
from leakrepro.stats.estimator import leak_at_k
from leakrepro.types import Decoding

ES, LJ = "entailment/sileod/deberta-v3-base-tasksource-nli", "judge/gpt-4o-mini"
TOFU = "tofu forget10 paraphrased_question"


def _value(method: str, k: int, metric: str = ES, cell: tuple[float, float] = (1, 1)) -> float:
    frame = published(TOFU, metric, *cell)
    row = frame[(frame["method"] == method) & (frame["k"] == k) & (frame["checkpoint"] == "")]
    assert len(row) == 1
    return float(row["published"].iloc[0])


class TestPublished:
    def test_the_published_values_are_packaged(self) -> None:
        values = reference_values()
        assert len(values) == 1142
        assert values["value"].notna().all()
        assert values["source"].notna().all()

    def test_the_most_precise_source_is_used(self) -> None:
        assert _value("Original", 128) == 0.88572
        assert _value("NPO+ENT", 128) == 0.7637  # only in a heat map
        assert _value("BLUR-NPO", 1, LJ, (0.2, 0.2)) == pytest.approx(0.16)
        frame = published(TOFU, ES, 1, 1).set_index(["method", "checkpoint", "k"])
        assert frame.loc[("Original", "", 128), "precision"] == 5e-5
        assert frame.loc[("NPO+ENT", "", 128), "precision"] == 6e-3

    def test_a_rerun_is_listed_separately(self) -> None:
        frame = published(TOFU, ES, 1, 1).query("method == 'RULE-NPO' and k == 128")
        assert frame["published"].round(4).tolist() == [0.0146, 0.1266]
        assert frame["checkpoint"].tolist() == ["", "Jiajunruan/NPO-Fix"]

    @pytest.mark.parametrize("temperature", [0.0, 0.2, 0.8, 1.0])
    @pytest.mark.parametrize("top_p", [0.2, 0.8, 1.0])
    def test_curves_increase_and_are_complete(self, temperature: float, top_p: float) -> None:
        frame = published(TOFU, ES, temperature, top_p)
        assert frame["method"].nunique() >= 8
        for _, curve in frame.groupby(["method", "checkpoint"]):
            assert curve["k"].tolist() == [1, 2, 4, 8, 16, 32, 64, 128]
            assert (curve["published"].diff().dropna() >= -2 * curve["precision"].max()).all()
            assert curve["published"].between(0, 1).all()

    @pytest.mark.parametrize(
        ("benchmark", "metric", "temperature", "top_p"),
        [
            (TOFU + " authors=5", ES, 1, 1),
            ("tofu forget05 paraphrased_question", ES, 1, 1),
            ("tofu forget10 question", ES, 1, 1),
            ("fictional(seed=0)", ES, 1, 1),
            (TOFU, "rougeL_recall/stem", 1, 1),
            (TOFU, ES, 0.5, 1),
        ],
    )
    def test_nothing_published(
        self, benchmark: str, metric: str, temperature: float, top_p: float
    ) -> None:
        frame = published(benchmark, metric, temperature, top_p)
        assert frame.empty
        assert "published" in frame

    def test_a_system_prompt_does_not_change_the_benchmark(self) -> None:
        name = TOFU + " system=You are a helpful assistant."
        assert published(name, ES, 1, 1).equals(published(TOFU, ES, 1, 1))


class TestCompare:
    def test_values_are_matched_by_model_and_k(self) -> None:
        rng = np.random.default_rng(0)
        curve = leak_at_k((rng.random((40, 16)) < 0.2).astype(float))
        one = leak_at_k(np.zeros((40, 1)))
        parts = {name: {ES: one} for name in ("greedy", "retain_greedy", "retain_sampled")}
        options = {
            **parts,
            "benchmark": TOFU,
            "curves": {ES: curve},
            "decoding": Decoding(n=16),
            "easy": None,
            "chance": None,
        }
        frame = compare_published([report("Original", **options), report("RULE-NPO", **options)])
        original = frame[frame["model"] == "Original"]
        assert original["k"].tolist() == [1, 2, 4, 8, 16]
        np.testing.assert_array_equal(original["leak@k"], curve.value)
        np.testing.assert_array_equal(original["high"], curve.high)
        assert original["published"].iloc[-1] == _value("Original", 16)
        np.testing.assert_allclose(
            original["difference"], curve.value - [_value("Original", k) for k in curve.k]
        )
        rule = frame[frame["model"] == "RULE-NPO"]
        assert rule["checkpoint"].unique().tolist() == ["", "Jiajunruan/NPO-Fix"]
        assert len(rule) == 10

    def test_the_last_round_of_rule_is_the_papers(self) -> None:
        one = leak_at_k(np.zeros((40, 1)))
        parts = ("curves", "greedy", "retain_greedy", "retain_sampled")
        options = {**{name: {ES: one} for name in parts}, "benchmark": TOFU}
        plain = report("RULE-NPO", **options, easy=None, chance=None)
        rounds = [
            dataclasses.replace(plain, model=name, weights_fingerprint=name, texts_digest=name)
            for name in ("RULE-NPO, round 2", "RULE-NPO, round 3")
        ]
        frame = compare_published(rounds)
        assert frame["model"].unique().tolist() == ["RULE-NPO, round 3"]
        assert frame["published"].iloc[0] == _value("RULE-NPO", 1)

    def test_nothing_to_compare_keeps_the_columns(self) -> None:
        frame = compare_published([report()])
        assert frame.empty
        assert frame.columns.tolist() == [
            *("model", "metric", "temperature", "top_p", "n", "k", "leak@k", "low", "high"),
            *(
                "draws_stderr",
                "published",
                "precision",
                "difference",
                "checkpoint",
                "source",
                "note",
            ),
        ]
