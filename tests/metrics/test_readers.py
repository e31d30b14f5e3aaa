"""Models that read answers: checks of their weights, padding and positions; checks of scores."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from nli_models import LABELS, WORDS, make_nli
from safetensors.torch import load_file, save_file
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from leakrepro.errors import ModelError
from leakrepro.metrics import CosineSimilarity, EntailmentScore
from leakrepro.metrics.base import checked_scores
from leakrepro.metrics.classifier import PairClassifier
from leakrepro.metrics.model_scored import Distinct
from leakrepro.metrics.score_cache import ScoreCache
from leakrepro.types import Prompt, Scores

PROMPTS = [
    Prompt(f"p{i}", ({"role": "user", "content": "?"},), text, cluster="c", side="forget")
    for i, text in enumerate(["Ann born in Rome", "Bob wrote the first book of Oslo"])
]
TEXTS = [["Ann born in Rome", "Rome"], ["Bob sold it", "the first book"]]


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "home"))


def edit_weights(path: Path, change: Any) -> None:
    file = path / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, metadata={"format": "pt"})


def edit_config(path: Path, **changes: Any) -> None:
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | changes))


def drop_head(path: Path) -> None:
    def drop(weights: dict[str, Any]) -> None:
        for name in [name for name in weights if name.startswith("classifier")]:
            del weights[name]

    edit_weights(path, drop)


def poison(value: float) -> Any:
    def change(path: Path) -> None:
        def set_one(weights: dict[str, Any]) -> None:
            weights[sorted(weights)[3]].view(-1)[0] = value

        edit_weights(path, set_one)

    return change


DAMAGES = {
    "no head": (drop_head, "lacks 2 weights, the first is classifier"),
    "nan": (poison(float("nan")), "nan or infinite"),
    "inf": (poison(float("inf")), "nan or infinite"),
    "no layers": (lambda path: edit_config(path, num_hidden_layers=0), "does not use"),
    "fewer layers": (lambda path: edit_config(path, num_hidden_layers=1), "does not use"),
    "more layers": (lambda path: edit_config(path, num_hidden_layers=3), "lacks"),
    "other width": (lambda path: edit_config(path, hidden_size=16), "cannot be read"),
    "more labels": (
        lambda path: edit_config(path, id2label={"0": "a", "1": "b", "2": "entailment", "3": "c"}),
        "cannot be read",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_reader_is_refused_and_nothing_is_cached(tmp_path: Path, damage: str) -> None:
    path = make_nli(tmp_path / "damaged-nli")
    change, message = DAMAGES[damage]
    change(path)
    metric = EntailmentScore(path, gate=0)
    for _ in range(2):  # the second call must not find scores of the first
        with pytest.raises(ModelError, match=message) as caught:
            metric.score(PROMPTS, TEXTS)
        assert "damaged-nli" in str(caught.value)


@pytest.mark.parametrize(
    "labels",
    [
        None,
        {},
        {"0": "yes", "1": "no"},
        {"0": "entailment", "1": "Entailment", "2": "x"},
        {"0": "contradiction", "2": "entailment"},
        {"one": "entailment"},
        ["entailment"],
        "entailment",
    ],
)
def test_labels_without_one_entailment_are_refused(tmp_path: Path, labels: Any) -> None:
    path = make_nli(tmp_path / "nli")
    config = json.loads((path / "config.json").read_text())
    config.pop("label2id")
    (path / "config.json").write_text(json.dumps(config | {"id2label": labels}))
    with pytest.raises(ModelError, match=str(path)):
        EntailmentScore(path)


def make_encoder(path: Path) -> Path:
    """Saves a random BERT with a tokenizer: sentence-transformers adds a mean pooling."""
    make_nli(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    shutil.rmtree(path)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, ""),
        (poison(float("nan")), "nan or infinite"),
        (lambda path: edit_config(path, num_hidden_layers=1), "does not use"),
        (lambda path: edit_config(path, num_hidden_layers=3), "lacks"),
        (lambda path: edit_config(path, hidden_size=8), "cannot be read"),
    ],
)
def test_embedding_models_have_the_same_checks(tmp_path: Path, change: Any, message: str) -> None:
    path = make_encoder(tmp_path / "encoder")
    if change is None:
        scores = CosineSimilarity(path).score(PROMPTS, TEXTS)
        assert scores.values[0] == pytest.approx(1, abs=1e-5)
        return
    change(path)
    metric = CosineSimilarity(path)
    for _ in range(2):
        with pytest.raises(ModelError, match=message) as caught:
            metric.score(PROMPTS, TEXTS)
        assert "encoder" in str(caught.value)


def pairs() -> list[tuple[str, str]]:
    rng = np.random.default_rng(3)
    lengths = rng.integers(1, 12, size=(24, 2))
    return [(" ".join(rng.choice(WORDS, a)), " ".join(rng.choice(WORDS, b))) for a, b in lengths]


SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "initializer_range": 0.5,
    "id2label": LABELS,
    "label2id": {name: i for i, name in LABELS.items()},
}


def make_classifier(path: Path, kind: str, *, pad: str) -> Path:
    """Saves a random classifier; ``pad``: "both", "model" or "tokenizer" have it, or "none"."""
    make_nli(path)
    tokenizer = AutoTokenizer.from_pretrained(path)
    shutil.rmtree(path)
    vocabulary = len(tokenizer)
    pad_id = 0 if pad in ("both", "model") else None
    if pad in ("model", "none"):
        tokenizer.pad_token = None
    sizes = SIZES | {"vocab_size": vocabulary, "pad_token_id": pad_id}
    torch.manual_seed(1)
    model: Any
    if kind == "bert":
        model = BertForSequenceClassification(BertConfig(max_position_embeddings=64, **sizes))
    elif kind == "roberta":
        # Position ids are counted from pad_token_id + 1.
        model = RobertaForSequenceClassification(RobertaConfig(max_position_embeddings=20, **sizes))
    elif kind == "gpt2":
        model = GPT2ForSequenceClassification(GPT2Config(n_positions=64, **sizes))
    else:
        model = LlamaForSequenceClassification(LlamaConfig(max_position_embeddings=64, **sizes))
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def labels_one_by_one(path: Path, given: Sequence[tuple[str, str]], longest: int) -> list[float]:
    """Reference: every pair alone, so without padding."""
    classifier = PairClassifier(path)
    rows = []
    for first, second in given:
        ids = classifier.tokenizer(
            first, second, truncation="longest_first", max_length=longest, return_tensors="pt"
        )
        with torch.inference_mode():
            rows.append(float(classifier.model(**ids).logits.argmax() == 1))
    return rows


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pad", ["both", "tokenizer", "model", "none"])
@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama"])
def test_labels_do_not_depend_on_padding(tmp_path: Path, kind: str, pad: str, side: str) -> None:
    path = make_classifier(tmp_path / "m", kind, pad=pad)
    settings = json.loads((path / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps(settings | {"padding_side": side}))
    found, usage = PairClassifier(path).read(pairs(), 1, lambda done: None)
    assert found == labels_one_by_one(path, pairs(), 64)
    assert 0 < sum(found) < len(found)
    if pad == "both":
        assert usage.padding > 0  # it still reads batches


def test_roberta_reads_as_many_tokens_as_it_has_positions(tmp_path: Path) -> None:
    """Position ids start at padding_idx + 1, so 20 positions are enough for 19 tokens."""
    path = make_classifier(tmp_path / "m", "roberta", pad="both")
    classifier = PairClassifier(path)
    assert classifier.longest == 20 - 0 - 1
    found, usage = classifier.read(pairs(), 1, lambda done: None)
    assert usage.cut > 0
    assert found == labels_one_by_one(path, pairs(), 19)
    edit_config(path, pad_token_id=2)  # the offset follows the padding token
    assert PairClassifier(path).longest == 17


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    path = make_nli(tmp_path / "nli")
    config = json.loads((path / "config.json").read_text())
    edit_config(path, vocab_size=20)

    def cut(weights: dict[str, Any]) -> None:
        name = "deberta.embeddings.word_embeddings.weight"
        assert len(weights[name]) == config["vocab_size"]
        weights[name] = weights[name][:20].clone()

    edit_weights(path, cut)
    with pytest.raises(ModelError, match=r"nli: the tokenizer gives the id .* for 20 tokens"):
        EntailmentScore(path, gate=0).score(PROMPTS, TEXTS)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), -0.1, 1.5])
def test_scores_that_are_no_shares_are_never_cached(value: float) -> None:
    cache = ScoreCache("test")
    asked = [("a", "b"), ("c", "d")]
    distinct = Distinct([asked], cache)
    with pytest.raises(ValueError, match=r"score of 'c \| d' is .*not a number in \[0, 1\]"):
        distinct.put(asked, [0.5, value])
    assert cache.get(asked) == {}
    assert len(distinct.unknown()) == 2


class Fixed:
    """A user's metric that returns the given scores."""

    id, higher_is_better = "mine", True

    def __init__(self, rows: list[list[float]]) -> None:
        self.rows = rows

    def score(self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scores:
        return Scores.from_rows(self.rows)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 1.0001])
def test_scores_of_any_metric_are_checked_and_the_prompt_is_named(value: float) -> None:
    good = checked_scores(Fixed([[0, 1], [0.5, 0]]), PROMPTS, TEXTS)
    assert good.values.tolist() == [0, 1, 0.5, 0]
    with pytest.raises(ValueError, match="the metric mine gives prompt 'p1' the score"):
        checked_scores(Fixed([[0, 1], [0.5, value]]), PROMPTS, TEXTS)
    with pytest.raises(ValueError, match="scores of 1 prompts for 2"):
        checked_scores(Fixed([[0, 1]]), PROMPTS, TEXTS)
    with pytest.raises(ValueError, match="gives prompt 'p1' 3 scores for 2 answers"):
        checked_scores(Fixed([[0, 1], [0.5, 0, 0]]), PROMPTS, TEXTS)
    # A judge may omit answers without a score.
    assert checked_scores(Fixed([[0, 1], [0.5]]), PROMPTS, TEXTS).counts.tolist() == [2, 1]


def test_a_users_metric_may_return_an_array() -> None:
    class Table:
        id, higher_is_better = "mine", True

        def score(self, prompts: Any, candidates: Any) -> Any:
            return pd.DataFrame([[0.0, 1.0], [0.5, 0.0]])

    found = checked_scores(Table(), PROMPTS, [["a", "b"], ["c", "d"]])
    assert [row.tolist() for row in found] == [[0, 1], [0.5, 0]]
