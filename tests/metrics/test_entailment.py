"""Entailment score (ES) against scoring one pair at a time; caching, batching and resuming."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from nli_models import WORDS, make_nli
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from leakrepro.execution.backend import Backend
from leakrepro.metrics import EntailmentScore, classifier, load_metric
from leakrepro.metrics import model_scored as pairs
from leakrepro.rouge.texts import rouge_l
from leakrepro.types import Prompt, Side

rng = np.random.default_rng(0)


@pytest.fixture(scope="module")
def nli(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_nli(tmp_path_factory.mktemp("nli") / "tiny-nli")


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "home"))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sentence(longest: int = 14) -> str:
    return " ".join(rng.choice(WORDS, size=rng.integers(1, longest)))


def make_candidates(
    count: int, n: int, side: Side = "forget"
) -> tuple[list[Prompt], list[list[str]]]:
    prompts = [
        Prompt(
            f"p{i}",
            ({"role": "user", "content": "?"},),
            sentence(),
            cluster=str(i),
            side=side,
        )
        for i in range(count)
    ]
    pools = [[*(sentence() for _ in range(3)), "", p.reference] for p in prompts]
    return prompts, [[str(t) for t in rng.choice(pool, size=n)] for pool in pools]


def score_pairs_separately(path: Path, prompts: list[Prompt], texts: list[list[str]]) -> np.ndarray:
    """Reference implementation: scores every pair separately and applies the gate afterwards."""
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForSequenceClassification.from_pretrained(path).eval()
    recall = rouge_l([p.reference for p in prompts], texts, stem=True).recall
    rows = []
    for i, (prompt, row) in enumerate(zip(prompts, texts, strict=True)):
        out = []
        for j, text in enumerate(row):
            pair = (text, prompt.reference)
            first, second = pair if prompt.side == "forget" else pair[::-1]
            with torch.inference_mode():
                logits = model(**tokenizer(first, second, return_tensors="pt")).logits
            out.append(float(logits.argmax() == 1) * float(recall[i][j] >= 0.1))
        rows.append(out)
    return np.array(rows)


@pytest.mark.parametrize("side", ["forget", "retain"])
def test_labels_equal_those_of_single_pairs(nli: Path, side: Side) -> None:
    prompts, texts = make_candidates(12, 20, side)
    metric = EntailmentScore(nli)
    scores = metric.score(prompts, texts).array()
    np.testing.assert_array_equal(scores, score_pairs_separately(nli, prompts, texts))
    assert 0.05 < scores.mean() < 0.95
    used = metric.usage
    assert used.candidates == 240 == used.gated + used.repeated + used.scored
    assert used.scored <= 12 * 4
    assert used.gated >= sum(row.count("") for row in texts)


def test_the_order_of_premise_and_hypothesis_depends_on_the_side(nli: Path) -> None:
    prompts, texts = make_candidates(30, 6)
    as_retain = [
        Prompt(p.id, p.messages, p.reference, cluster=p.cluster, side="retain") for p in prompts
    ]
    metric = EntailmentScore(nli, gate=0)
    assert (metric.score(prompts, texts).values != metric.score(as_retain, texts).values).any()


def test_cached_pairs_are_not_scored_again(nli: Path, tmp_path: Path) -> None:
    prompts, texts = make_candidates(8, 30)
    first = EntailmentScore(nli)
    scores = first.score(prompts, texts)
    assert first.usage.cached == 0 < first.usage.scored
    again = EntailmentScore(nli)
    assert again.score(prompts, texts).values.tolist() == scores.values.tolist()
    assert again.usage.scored == again.usage.tokens == 0
    assert again.usage.cached == first.usage.scored
    other = EntailmentScore(make_nli(tmp_path / "other", seed=5))
    assert other.score(prompts, texts).values.tolist() != scores.values.tolist()
    assert other.usage.cached == 0
    uncached = EntailmentScore(nli, cache=False)
    assert uncached.score(prompts, texts).values.tolist() == scores.values.tolist()
    assert uncached.usage.cached == 0


def test_sorting_by_length_reduces_padding_and_tokens_are_counted(
    nli: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts, texts = make_candidates(30, 40)
    monkeypatch.setitem(classifier._BATCH_TOKENS, "cpu", 256)
    metric = EntailmentScore(nli)
    metric.score(prompts, texts)
    used = metric.usage
    assert used.padding < 0.15 * used.tokens
    everything = metric.tokens(prompts, texts, batch_size=1)
    tokenizer = AutoTokenizer.from_pretrained(nli)
    assert everything == sum(
        len(tokenizer(text, p.reference)["input_ids"])
        for p, row in zip(prompts, texts, strict=True)
        for text in row
    )
    assert everything > 5 * (used.tokens + used.padding)
    assert metric.tokens(prompts, texts) > everything


def test_scores_do_not_depend_on_workers_and_shard_size(
    nli: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts, texts = make_candidates(10, 10)
    whole = EntailmentScore(nli, cache=False).score(prompts, texts)
    monkeypatch.setattr(pairs, "SHARD", 7)
    split = EntailmentScore(nli, cache=False, backend=Backend(workers=2)).score(prompts, texts)
    assert split.values.tolist() == whole.values.tolist()


KILLED = """
import os, signal, sys
tests, nli, stop = sys.argv[1:]
sys.path.insert(0, tests)
import test_entailment
from leakrepro.metrics import EntailmentScore, model_scored, score_cache
model_scored.SHARD = 7
put, calls = score_cache.ScoreCache.put, 0
def deadly(self, scores):
    global calls
    calls += 1
    if calls == int(stop):
        os.kill(os.getpid(), signal.SIGKILL)
    return put(self, scores)
score_cache.ScoreCache.put = deadly
prompts, texts = test_entailment.make_candidates(12, 12)
metric = EntailmentScore(nli)
print(metric.score(prompts, texts).values.tolist(), metric.usage.cached)
"""


def test_killed_scoring_resumes_to_the_same_scores(nli: Path, tmp_path: Path) -> None:
    def run(home: str, stop: int) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-c", KILLED, Path(__file__).parent, nli, str(stop)],
            env=os.environ | {"LEAKREPRO_HOME": str(tmp_path / home)},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    code, undisturbed = run("whole", 0)
    assert code == 0
    assert run("killed", 4)[0] == -signal.SIGKILL
    code, resumed = run("killed", 0)
    assert code == 0
    assert resumed.rpartition(" ")[0] == undisturbed.rpartition(" ")[0]
    assert int(resumed.rpartition(" ")[2]) == 21  # the pairs of three shards were cached


def test_another_tokenizer_changes_the_id_and_the_cache(nli: Path, tmp_path: Path) -> None:
    prompts, texts = make_candidates(6, 20)
    other = tmp_path / "other"
    shutil.copytree(nli, other)
    config = json.loads((other / "tokenizer_config.json").read_text())
    (other / "tokenizer_config.json").write_text(json.dumps(config | {"model_max_length": 5}))
    first, second = EntailmentScore(nli), EntailmentScore(other)
    first.score(prompts, texts)
    with pytest.warns(UserWarning, match="longer than the model reads"):
        second.score(prompts, texts)
    assert second.usage.cached == 0
    assert first.id.partition("@")[2] != second.id.partition("@")[2]


def test_ids_contain_model_name_hash_and_gate(nli: Path) -> None:
    digits = pairs.reader_key(nli)[:12]
    assert EntailmentScore(nli).id == f"entailment/tiny-nli@{digits}"
    assert EntailmentScore(nli, name="embedded").id == f"entailment/embedded@{digits}"
    built = load_metric(f"entailment/{nli}/gate=0.25")
    assert built.id == f"entailment/tiny-nli@{digits}/gate=0.25"
    with pytest.raises(ValueError, match="the gate must be a number"):
        load_metric(f"entailment/{nli}/gate=x")
    with pytest.raises(ValueError, match="gate must be in"):
        EntailmentScore(nli, gate=2)


def test_long_pairs_are_truncated_with_a_warning(nli: Path) -> None:
    prompts, _ = make_candidates(1, 1)
    long = " ".join([prompts[0].reference] + ["Rome"] * 80)
    with pytest.warns(UserWarning, match="1 pairs are longer than the model reads"):
        EntailmentScore(nli).score(prompts, [[long]])


def test_other_kinds_of_models_are_rejected(tmp_path: Path) -> None:
    path = make_nli(tmp_path / "m", labels={0: "good", 1: "bad"})
    with pytest.raises(ValueError, match=r"not an entailment model.*good, bad"):
        EntailmentScore(path)
    with pytest.raises(FileNotFoundError):
        load_metric("entailment/nowhere/at-all")


def test_prompts_without_candidates(nli: Path) -> None:
    prompts, _ = make_candidates(2, 1)
    scores = EntailmentScore(nli).score(prompts, [[], [""]])
    assert scores.counts.tolist() == [0, 1]
    assert scores.values.tolist() == [0.0]
