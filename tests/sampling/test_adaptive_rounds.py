"""Adaptive sampling through ``sample``: sample counts, resuming, and invalid requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from worlds import make_prompts

from leakrepro.errors import StoreError
from leakrepro.sampling import SampleStore, read_samples, sample
from leakrepro.sampling import store as stores
from leakrepro.stats.adaptive import AdaptivePlan, PilotPlan
from leakrepro.stats.estimator import leak_at_k
from leakrepro.types import Decoding, Prompt, Scores

PROMPTS = make_prompts(12)
DECODING = Decoding(max_new_tokens=8)


class LetterMetric:
    """1 if an answer contains a letter; if ``graded``, the share of this letter."""

    higher_is_better = True

    def __init__(self, letter: str, *, graded: bool = False) -> None:
        self.id, self._letter, self._graded = f"says/{letter}/{graded}", letter, graded

    def score(self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scores:
        return Scores.from_rows(
            [
                text.count(self._letter) / max(len(text), 1)
                if self._graded
                else float(self._letter in text)
                for text in texts
            ]
            for texts in candidates
        )


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(stores, "SHARD_ROWS", 40)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def content(path: Path) -> dict[str, bytes]:
    return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}


def test_a_prompt_is_not_sampled_after_enough_hits(tiny_llama: Path) -> None:
    plan, metric = AdaptivePlan(hits=2, cap=64), LetterMetric("z")
    samples = sample(tiny_llama, PROMPTS, DECODING, plan=plan, metric=metric)
    whole = sample(tiny_llama, PROMPTS, DECODING.replace(n=64))
    assert samples.plan == plan
    assert samples.decoding.n == 64
    assert samples.drawn == sum(samples.counts) < 12 * 64
    assert len(set(samples.counts)) > 1
    scores = metric.score(whole.prompts, whole.texts)
    for texts, full, row in zip(samples.texts, whole.texts, scores, strict=True):
        # The samples are a prefix of those without a plan, because the seeds are equal.
        assert texts == full[: len(texts)]
        looks = [look for look in plan.looks if row[:look].sum() >= 2]
        assert len(texts) == (looks[0] if looks else 64)
    assert samples.table["sample"].to_pylist() == [i for n in samples.counts for i in range(n)]
    curve = leak_at_k(metric.score(samples.prompts, samples.texts), plan=samples.plan)
    exact = leak_at_k(scores)
    assert curve.k.tolist() == exact.k.tolist()
    assert (abs(curve.value - exact.value) < 0.15).all()
    again = sample(tiny_llama, PROMPTS, DECODING, plan=plan, metric=metric)
    assert again.drawn == 0
    assert again.texts == samples.texts
    stored = read_samples(samples.path)
    assert (stored.plan, stored.prompts, stored.texts) == (plan, PROMPTS, samples.texts)
    assert stored.decoding == samples.decoding


def test_an_interrupted_plan_resumes(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, metric = AdaptivePlan(hits=3, cap=40), LetterMetric("z")
    write, calls = SampleStore.write, 0

    def interrupted(store: SampleStore, index: int, table: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise KeyboardInterrupt
        write(store, index, table)

    def draw(name: str) -> None:
        sample(tiny_llama, PROMPTS, DECODING, plan=plan, metric=metric, store=tmp_path / name)

    with monkeypatch.context() as patch:
        patch.setattr(SampleStore, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            draw("s")
    with pytest.raises(StoreError, match="is damaged or incomplete"):
        read_samples(tmp_path / "s")
    draw("s")
    draw("undisturbed")
    assert content(tmp_path / "s") == content(tmp_path / "undisturbed")


def test_a_pilot_sets_the_sample_counts_and_is_discarded(tiny_llama: Path) -> None:
    plan, metric = PilotPlan(pilot=6, least=10, cap=30), LetterMetric("a", graded=True)
    samples = sample(tiny_llama, PROMPTS, DECODING, plan=plan, metric=metric)
    whole = sample(tiny_llama, PROMPTS, DECODING.replace(n=36))
    pilot = metric.score(PROMPTS, [texts[30:] for texts in whole.texts])
    assert samples.counts == plan.counts(list(pilot)).tolist()
    assert min(samples.counts) < max(samples.counts) == 30
    assert samples.texts == [full[:n] for full, n in zip(whole.texts, samples.counts, strict=True)]
    assert samples.drawn == sum(samples.counts) + 6 * 12
    scores = metric.score(samples.prompts, samples.texts)
    assert leak_at_k(scores, [1, 8], plan=samples.plan).value.tolist() == (
        leak_at_k(scores, [1, 8]).value.tolist()
    )


def test_invalid_adaptive_requests_are_rejected(tiny_llama: Path, tmp_path: Path) -> None:
    plan = AdaptivePlan(hits=2, cap=16)
    with pytest.raises(ValueError, match="a plan needs a metric"):
        sample(tiny_llama, PROMPTS, DECODING, plan=plan)
    with pytest.raises(ValueError, match=r"other than 0 and 1, first for 'p\d+'.*PilotPlan"):
        sample(tiny_llama, PROMPTS, DECODING, plan=plan, metric=LetterMetric("a", graded=True))
    store = tmp_path / "s"
    sample(tiny_llama, PROMPTS, DECODING, plan=plan, metric=LetterMetric("a"), store=store)
    with pytest.raises(StoreError, match="belongs to other samples"):
        sample(tiny_llama, PROMPTS, DECODING, plan=plan, metric=LetterMetric("b"), store=store)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("kept")
    with pytest.raises(StoreError, match="contains files that do not belong to an adaptive plan"):
        sample(
            tiny_llama,
            PROMPTS,
            DECODING,
            plan=plan,
            metric=LetterMetric("a"),
            store=tmp_path / "mine",
        )
