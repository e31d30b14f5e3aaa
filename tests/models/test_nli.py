"""The embedded world's entailment model and the pairs that it learns from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from leakrepro.benchmarks import fictional
from leakrepro.benchmarks.fictional.entailment_pairs import KINDS, entailment_pairs
from leakrepro.metrics import EntailmentScore, load_metric, load_metrics
from leakrepro.models import NLIRecipe, entailment_model, held_out_accuracy
from leakrepro.types import Prompt

SMALL = NLIRecipe(steps=30, batch_size=8, layers=1, hidden_size=32, held_out=60)


def test_pairs_have_the_labels_that_are_due() -> None:
    pairs = entailment_pairs(4000, np.random.default_rng(0), authors=300)
    assert {pair.kind for pair in pairs} == set(KINDS)
    assert 0.4 < np.mean([pair.entails for pair in pairs]) < 0.6
    for pair in pairs:
        if pair.kind == "true":
            assert pair.entails
        if pair.kind in ("another value", "another name") and pair.entails:
            # The other author happens to have the same value.
            assert len(set(pair.premise.split()) & set(pair.hypothesis.split())) > 2
    wrong = [p for p in pairs if p.kind == "another value" and not p.entails]
    # Of sentences in the same words, some differ in one word only.
    near = [
        p
        for p in wrong
        if len(p.premise.split()) == len(p.hypothesis.split())
        and sum(a != b for a, b in zip(p.premise.split(), p.hypothesis.split(), strict=True)) == 1
    ]
    assert len(near) > 50
    again = entailment_pairs(50, np.random.default_rng(3))
    assert again == entailment_pairs(50, np.random.default_rng(3))


def test_it_is_trained_once_and_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path))
    path = entailment_model(SMALL, progress=lambda step, total: None)
    accuracy = held_out_accuracy(path)
    assert set(accuracy) <= {"all", *KINDS}
    assert 0.3 < accuracy["all"] < 1
    steps: list[int] = []
    assert entailment_model(SMALL, progress=lambda step, total: steps.append(step)) == path
    assert not steps
    # The saved model reads as the trained one did: its accuracy is the one that was written down.
    pairs = entailment_pairs(SMALL.held_out, np.random.default_rng([SMALL.seed, 1, 2]))
    asked = [
        Prompt(
            str(i), ({"role": "user", "content": "?"},), p.hypothesis, cluster="c", side="forget"
        )
        for i, p in enumerate(pairs)
    ]
    found = EntailmentScore(path, gate=0).score(asked, [[p.premise] for p in pairs])
    right = found.values == [p.entails for p in pairs]
    assert right.mean() == accuracy["all"]
    saved = AutoTokenizer.from_pretrained(path)("one", "two")
    assert saved["token_type_ids"][-1] == 1
    monkeypatch.setattr("leakrepro.models.nli.entailment_model", lambda: path)
    world = fictional(7, forget_authors=2, retain_authors=2, fresh_authors=12)
    (metric,) = load_metrics("entailment/embedded", world)
    assert isinstance(metric, EntailmentScore)
    assert metric.id.startswith("entailment/embedded@")
    assert load_metric("entailment/embedded").id == metric.id
    scores = metric.score(world.forget, [[p.reference, ""] for p in world.forget])
    assert set(scores.values.tolist()) <= {0.0, 1.0}
    assert not scores.array()[:, 1].any()


def test_it_reads_fictional_worlds_alone() -> None:
    prompt = Prompt("p", ({"role": "user", "content": "?"},), "a", cluster="c", side="forget")
    world = fictional(7, forget_authors=1, retain_authors=1, fresh_authors=1)

    other = dataclasses.replace(world, name="tofu forget10", forget=(prompt,))
    with pytest.raises(ValueError, match="sentences of the fictional world, not of tofu"):
        load_metrics("entailment/embedded", other)
