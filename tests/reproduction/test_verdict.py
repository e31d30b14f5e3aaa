"""Verdicts: what draws explain agrees, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from leakrepro.report.counts import published_counts
from leakrepro.report.published import published, published_trajectories
from leakrepro.report.spread import published_spread
from leakrepro.reproduction.verdict import compare_results, seed_noise, verdict

ES = "entailment/sileod/deberta-v3-base-tasksource-nli@x"
LJ = "judge/gpt-4o-mini"
TOFU = "tofu forget10 paraphrased_question system=You are a helpful assistant."


def values(*rows: tuple[float, float, float, float, float, str]) -> pd.DataFrame:
    columns = ["ours", "published", "stderr", "noise", "precision", "checkpoint"]
    return pd.DataFrame(rows, columns=columns).assign(model="NPO", what="leak@1")


class TestVerdict:
    def test_the_formula(self) -> None:
        # One value: z = 2.5758; sqrt(.003^2 + .004^2) = .005.
        found = verdict(values((0.5, 0.4, 0.003, 0.004, 0.001, ""))).values.iloc[0]
        assert found["tolerance"] == pytest.approx(2.5758293 * 0.005 + 0.001)
        assert found["difference"] == pytest.approx(0.1)
        assert not found["agrees"]

    @pytest.mark.parametrize(
        ("ours", "word"), [(0.4138, "agrees"), (0.3862, "agrees"), (0.414, "differs")]
    )
    def test_a_difference_is_held_against_it(self, ours: float, word: str) -> None:
        assert verdict(values((ours, 0.4, 0.003, 0.004, 0.001, ""))).word == word

    def test_an_unknown_error_of_ours_is_taken_for_theirs(self) -> None:
        found = verdict(values((0.4, 0.4, np.nan, 0.004, 0.0, ""))).values.iloc[0]
        assert found["tolerance"] == pytest.approx(2.5758293 * 0.004 * 2**0.5)

    def test_many_values_are_allowed_more_each(self) -> None:
        row = (0.4, 0.4, 0.0, 0.01, 0.0, "")
        assert verdict(values(*[row] * 64)).values["tolerance"].iloc[0] == pytest.approx(
            0.01 * 3.781, rel=1e-3
        )

    def test_all_agree_under_nothing_but_draws(self) -> None:
        rng = np.random.default_rng(0)
        agreed = 0
        for _ in range(400):
            draws = rng.normal(0.3, 0.01, (64, 2))
            rows = [(a, b, 0.01, 0.01, 0.0, "") for a, b in draws.tolist()]
            agreed += verdict(values(*rows)).word == "agrees"
        assert agreed >= 390  # .99 of 400 is 396, with a standard deviation of 2

    def test_reruns_do_not_count(self) -> None:
        own, other = (0.4, 0.4, 0.01, 0.01, 0.0, ""), (0.4, 0.9, 0.01, 0.01, 0.0, "other weights")
        found = verdict(values(own, other))
        assert str(found) == "agrees (1 of 1)"
        assert found.values["agrees"].tolist() == [True, False]
        assert verdict(values(other)).word == "nothing published"

    def test_the_other_words(self) -> None:
        row = (0.9, 0.4, 0.01, 0.01, 0.0, "")
        assert str(verdict(values(row))) == "differs (0 of 1)"
        assert str(verdict(values(row), paper=False)) == "other models"
        assert str(verdict(values(row), failed=True)) == "failed"
        assert str(verdict(values()[:0])) == "nothing published"
        assert str(verdict(None)) == "nothing published"
        assert str(verdict(None, paper=False)) == "nothing published"
        assert str(verdict(None, failed=True)) == "failed"


def test_the_noise_is_that_of_the_published_seeds() -> None:
    assert seed_noise([1, 128]).round(4).tolist() == [0.0011, 0.0066]
    between = float(seed_noise(96))
    assert seed_noise(64) < between < seed_noise(128)


def curves(metric: str = ES, shift: float = 0.0, **changes: object) -> pd.DataFrame:
    """A table of ``compare_published`` in which our values are the published ones.

    It has the authors' re-runs on other weights, too, next to the same values of ours.
    """
    theirs = published(TOFU, metric, 1, 1)
    own = theirs[theirs["checkpoint"] == ""].set_index(["method", "k"])["published"]
    theirs = theirs[[key in own.index for key in zip(theirs["method"], theirs["k"], strict=True)]]
    ours = own.loc[list(zip(theirs["method"], theirs["k"], strict=True))].to_numpy() + shift
    return (
        theirs.rename(columns={"method": "model"})
        .assign(metric=metric, temperature=1.0, top_p=1.0, n=200, draws_stderr=0.002)
        .assign(**{"leak@k": ours}, **changes)
        .reset_index(drop=True)
    )


def count_of(table: pd.DataFrame) -> int:
    """Number of values that count, which are the paper's own."""
    return int((table["checkpoint"] == "").sum())


class TestCompare:
    def check(
        self, folder: Path, stem: str, table: pd.DataFrame, ending: str = ".published"
    ) -> str:
        table.to_csv(folder / f"{stem}{ending}.csv", index=False)
        return str(verdict(compare_results(folder, stem)))

    @pytest.mark.parametrize(
        "stem", ["01_leak_curves", "04_rule_before_after", "05_decoding_grid", "06_core_metrics"]
    )
    def test_curves(self, tmp_path: Path, stem: str) -> None:
        count = count_of(curves())
        assert self.check(tmp_path, stem, curves()) == f"agrees ({count} of {count})"
        assert self.check(tmp_path, stem, curves(shift=0.006)) == f"agrees ({count} of {count})"
        assert self.check(tmp_path, stem, curves(shift=0.1)) == f"differs (0 of {count})"
        count = count_of(curves(LJ))
        assert self.check(tmp_path, stem, curves(LJ)) == f"agrees ({count} of {count})"
        assert self.check(tmp_path, stem, curves()[:0]) == "nothing published"

    def test_a_curve_that_jumps_more_is_allowed_more(self, tmp_path: Path) -> None:
        self.check(tmp_path, "01_leak_curves", curves(draws_stderr=0.05))
        rows = compare_results(tmp_path, "01_leak_curves")
        assert rows is not None
        assert (rows["noise"] == 0.05).all()  # as many samples: theirs jumps as ours does
        self.check(tmp_path, "01_leak_curves", curves(draws_stderr=0.05, n=50))
        rows = compare_results(tmp_path, "01_leak_curves")
        assert rows is not None
        assert (rows["noise"] == 0.025).all()

    def test_rounds(self, tmp_path: Path) -> None:
        theirs = published_trajectories()
        table = theirs.rename(columns={"leak": "leak@128", "retain": "retain score (sampled)"})
        table = table.assign(benchmark=TOFU, kind="RULE")
        count = 2 * len(theirs)
        assert self.check(tmp_path, "03_rule_trajectories", table, "") == (
            f"agrees ({count} of {count})"
        )
        table["leak@128"] += 0.1
        assert self.check(tmp_path, "03_rule_trajectories", table, "") == (
            f"differs ({count // 2} of {count})"
        )
        control = table.assign(kind="more steps")
        assert self.check(tmp_path, "03_rule_trajectories", control, "") == "nothing published"

    def test_histogram(self, tmp_path: Path) -> None:
        table = published_counts("NPO")
        table["ours, sampled"] = table["sampled"]
        count = len(table)
        found = self.check(tmp_path, "07_leak_histograms", table, ".published")
        assert found == f"agrees ({count} of {count})"
        table["ours, sampled"] = table["sampled"].iloc[::-1].to_numpy()
        found = self.check(tmp_path, "07_leak_histograms", table, ".published")
        assert found.startswith("differs")

    def test_spread(self, tmp_path: Path) -> None:
        table = published_spread()[["k", "seeds", "mean", "std"]]
        table = table.assign(benchmark=TOFU, model="GradDiff", metric=ES)
        assert self.check(tmp_path, "08_estimator_variance", table, "") == "agrees (16 of 16)"
        found = self.check(
            tmp_path, "08_estimator_variance", table.assign(std=table["std"] * 3), ""
        )
        assert found == "differs (8 of 16)"
        found = self.check(tmp_path, "08_estimator_variance", table.assign(model="NPO"), "")
        assert found == "nothing published"

    def test_what_nobody_published(self, tmp_path: Path) -> None:
        assert compare_results(tmp_path, "12_muse") is None
        rows = compare_results(tmp_path, "01_leak_curves")  # published, but no table
        assert rows is not None
        assert rows.empty
