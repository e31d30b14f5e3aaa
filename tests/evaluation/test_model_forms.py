"""A model in memory is accepted wherever a folder is, and its samples are kept only by a name."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase
from worlds import make_prompts

import leakrepro as lr
from leakrepro.benchmarks import Benchmark
from leakrepro.metrics.choice import choice_log_likelihoods
from leakrepro.models import load
from leakrepro.types import Decoding
from leakrepro.unlearning import GradDiffOptions, RuleOptions

DECODING = Decoding(n=4, max_new_tokens=8, seed=3)
PROMPTS = make_prompts(3)
OPTIONS = GradDiffOptions(learning_rate=1e-4, steps=1, batch_size=2, accumulation=1)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def loaded(tiny_llama: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    return AutoModelForCausalLM.from_pretrained(tiny_llama), load.load_tokenizer(tiny_llama)


@pytest.fixture
def world() -> Benchmark:
    """The prompts of ``tiny_llama``, asked and trained on."""
    prompts = tuple(
        dataclasses.replace(p, reference="ash birch", cluster=p.id) for p in make_prompts(4)
    )
    return Benchmark(
        name="trees",
        forget=prompts[:2],
        retain=prompts[2:],
        train_forget=prompts[:2],
        train_retain=prompts[2:],
        decoding=DECODING,
        metrics=("exact_match",),
    )


def test_it_draws_what_its_folder_draws(tiny_llama: Path, loaded: Any, home: Path) -> None:
    model, tokenizer = loaded
    expected = lr.sample(tiny_llama, PROMPTS, DECODING).texts
    drawn = lr.sample(model, PROMPTS, DECODING, tokenizer=tokenizer)
    assert drawn.texts == expected
    assert drawn.drawn == 12
    assert home not in drawn.path.parents


def test_without_a_fingerprint_nothing_is_reused(loaded: Any) -> None:
    model, tokenizer = loaded
    before = lr.sample(model, PROMPTS, DECODING, tokenizer=tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    after = lr.sample(model, PROMPTS, DECODING, tokenizer=tokenizer)
    assert after.drawn == 12
    assert after.texts != before.texts


def test_a_fingerprint_puts_samples_into_the_store(loaded: Any, home: Path) -> None:
    model, tokenizer = loaded
    model.fingerprint = lr.models.fingerprint(model)
    first = lr.sample(model, PROMPTS, DECODING, tokenizer=tokenizer)
    assert (first.drawn, first.path.parent) == (12, home / "samples")
    assert lr.sample(model, PROMPTS, DECODING, tokenizer=tokenizer).drawn == 0
    with torch.no_grad():
        model.lm_head.weight.mul_(0.5)
    model.fingerprint = lr.models.fingerprint(model)
    changed = lr.sample(model, PROMPTS, DECODING, tokenizer=tokenizer)
    assert changed.drawn == 12
    assert changed.path != first.path


def test_its_report_is_that_of_its_folder(tiny_llama: Path, loaded: Any, world: Benchmark) -> None:
    model, tokenizer = loaded
    metric = lr.load_metric("rougeL_recall")
    expected = lr.evaluate(tiny_llama, world, metric=metric, retain_n=2)
    report = lr.evaluate(model, world, tokenizer=tokenizer, metric=metric, retain_n=2, name="mine")
    assert report.model == "mine"
    assert report.texts_digest == expected.texts_digest
    np.testing.assert_array_equal(report.curve().per_prompt, expected.curve().per_prompt)


def test_it_is_unlearned_as_its_folder_is(tiny_llama: Path, loaded: Any, world: Benchmark) -> None:
    model, tokenizer = loaded
    before = {name: value.clone() for name, value in model.state_dict().items()}
    expected = lr.unlearn(tiny_llama, world, "GradDiff", OPTIONS)
    path = lr.unlearn(model, world, "GradDiff", OPTIONS, tokenizer=tokenizer)
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (path, expected))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    # The caller's model is not touched.
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_rule_takes_it(loaded: Any, world: Benchmark) -> None:
    model, tokenizer = loaded
    options = RuleOptions(base=OPTIONS, n=2)
    result = lr.rule(
        model,
        world,
        "GradDiff",
        1,
        options,
        tokenizer=tokenizer,
        retrain=model,
        metric="rougeL_recall",
        retain_n=2,
    )
    assert [each.index for each in result.rounds] == [0, 1]
    assert all(each.to_retrain is not None for each in result.rounds)


def test_likelihoods_are_those_of_its_folder(tiny_llama: Path, loaded: Any) -> None:
    model, tokenizer = loaded
    prompts = [dataclasses.replace(p, choices=("ash", "oak"), reference="oak") for p in PROMPTS]
    expected = choice_log_likelihoods(tiny_llama, prompts)
    ours = choice_log_likelihoods(model, prompts, tokenizer=tokenizer)
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_wrong_requests(tiny_llama: Path, loaded: Any) -> None:
    model, tokenizer = loaded
    with pytest.raises(TypeError, match="needs its tokenizer: pass tokenizer="):
        lr.sample(model, PROMPTS, DECODING)
    with pytest.raises(TypeError, match="tokenizer= goes with a loaded model"):
        lr.sample(tiny_llama, PROMPTS, DECODING, tokenizer=tokenizer)
    for backend in (lr.Backend(workers=2), lr.Backend(executor="ray")):
        with pytest.raises(ValueError, match="a loaded model is sampled in its own process"):
            lr.sample(model, PROMPTS, DECODING, tokenizer=tokenizer, backend=backend)
