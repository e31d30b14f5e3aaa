"""Multiple choice: options named in answers, and likelihoods of options."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from leakrepro.metrics import (
    ChoiceAccuracy,
    choice_likelihood_accuracy,
    choice_log_likelihoods,
    load_metric,
)
from leakrepro.metrics import choice as module
from leakrepro.metrics.choice import Calibration, named_choice
from leakrepro.models.chat import prompt_ids
from leakrepro.models.load import load_model, load_tokenizer
from leakrepro.stats.estimator import chance_curve, leak_at_k
from leakrepro.types import Prompt

CHOICES = ("elm oak", "pine", "yew", "a rowan")


def item(i: int, reference: str = "yew", choices: tuple[str, ...] = CHOICES) -> Prompt:
    return Prompt(
        f"q{i}",
        ({"role": "user", "content": f"elm {i}?"},),
        reference,
        cluster=str(i),
        side="forget",
        choices=choices,
    )


@pytest.mark.parametrize(
    ("text", "index"),
    [
        *[("C", 2), (" c", None), ("(C)", 2), ("C.", 2), ("C) yew", 2), ("C: because", 2)],
        *[("**C**", 2), ("C\nbecause", 2), ("The answer is C", 2), ("Answer: (B)", 1)],
        *[("I choose option d.", 3), ("the correct choice is A.", 0), ("yew", 2), ("YEW!", 2)],
        *[("A rowan", 3), ("A sample of yew", None), ("I think so", None), ("", None)],
        *[("E", None), ("Cedar", None), ("answering", None), ("the answer isn't clear", None)],
        *[("pine yew", None), ("B\u00e9b\u00e9", None)],
    ],
)
def test_named_choice(text: str, index: int | None) -> None:
    assert named_choice(text, CHOICES) == index


def test_accuracy_of_random_guessing_matches_chance_curve() -> None:
    metric = load_metric("choice_accuracy")
    assert isinstance(metric, ChoiceAccuracy)
    scores = metric.score([item(0), item(1, "pine")], [["C", "B", "yew"], ["C", "B.", "no"]])
    assert scores.array().tolist() == [[1, 0, 1], [0, 1, 0]]
    rng = np.random.default_rng(0)
    prompts = [item(i, CHOICES[i % 4]) for i in range(400)]
    guesses = [[str(c) for c in rng.choice(list("ABCD"), 64)] for _ in prompts]
    curve = leak_at_k(metric.score(prompts, guesses), [1, 8])
    chance = chance_curve([4] * 400, [1, 8])
    assert chance[1] == pytest.approx(1 - 0.75**8)
    np.testing.assert_allclose(curve.value, chance, atol=0.015)


def test_prompts_without_valid_choices_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"'q0'.*not one of its choices"):
        ChoiceAccuracy().score([item(0, "cedar")], [["A"]])
    with pytest.raises(ValueError, match="'q0' has 0 choices"):
        ChoiceAccuracy().score([item(0, "cedar", ())], [["A"]])


@pytest.mark.parametrize("options", ["letter", "text"])
def test_batched_likelihoods_equal_those_of_single_options(tiny_llama: Path, options: str) -> None:
    prompts = [item(i) for i in range(5)]
    found = choice_log_likelihoods(tiny_llama, prompts, options=options, batch_size=3)  # type: ignore[arg-type]
    model, tokenizer = load_model(tiny_llama), load_tokenizer(tiny_llama)
    for prompt, row in zip(prompts, found, strict=True):
        question = prompt_ids(tokenizer, prompt.messages)
        for letter, text, value in zip("ABCD", CHOICES, row, strict=True):
            answer = tokenizer(letter if options == "letter" else text, add_special_tokens=False)[
                "input_ids"
            ]
            with torch.inference_mode():
                logits = model(torch.tensor([question + answer])).logits[0].double()
            steps = logits.log_softmax(-1)[len(question) - 1 : -1]
            expected = float(steps.gather(-1, torch.tensor(answer)[:, None]).sum())
            assert value == pytest.approx(expected, abs=1e-4)


def test_length_and_neutral_calibration(tiny_llama: Path) -> None:
    prompts = [
        item(i, "b\u00e9b\u00e9", ("elm oak", "b\u00e9b\u00e9", "yew", "a rowan")) for i in range(3)
    ]
    neutral = dataclasses.replace(prompts[0], messages=({"role": "user", "content": "ash oak:"},))

    def found(asked: Sequence[Prompt], calibration: Calibration) -> list[NDArray[np.float64]]:
        return choice_log_likelihoods(
            tiny_llama, asked, options="text", calibration=calibration, neutral="ash oak:"
        )

    plain = found(prompts, "none")
    (premise,) = found([neutral], "none")
    for row, by_length, contrast in zip(
        plain, found(prompts, "length"), found(prompts, "neutral"), strict=True
    ):
        np.testing.assert_allclose(by_length, row / [7, 6, 3, 7], rtol=1e-6)
        np.testing.assert_allclose(contrast, row - premise, rtol=1e-4, atol=1e-4)
    assert premise.std() > 0.1


def test_options_are_tokenised_as_a_continuation_of_plain_text(tiny_llama: Path) -> None:
    # After plain text the option starts with a space, like a word within a text.
    (plain,) = choice_log_likelihoods(
        tiny_llama, [dataclasses.replace(item(0), messages=({"role": "text", "content": "ash"},))]
    )
    model, tokenizer = load_model(tiny_llama), load_tokenizer(tiny_llama)
    ids = tokenizer("ash B")["input_ids"]
    before = len(tokenizer("ash")["input_ids"])
    with torch.inference_mode():
        steps = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)[before - 1 : -1]
    expected = float(steps.gather(-1, torch.tensor(ids[before:])[:, None]).sum())
    assert plain[1] == pytest.approx(expected, abs=1e-4)


def test_the_likeliest_option_scores_1_and_ties_share_it(
    monkeypatch: pytest.MonkeyPatch, tiny_llama: Path
) -> None:
    rows = [[-1.0, -2, 0, -3], [0.0, -2, 0, -3], [-1.0, -1, -1, -1], [0.0, -1, -2, -3]]
    monkeypatch.setattr(
        module, "choice_log_likelihoods", lambda *_, **__: [np.array(row) for row in rows]
    )
    scores = choice_likelihood_accuracy(tiny_llama, [item(i) for i in range(4)])
    assert scores.array().tolist() == [[1], [0.5], [0.25], [0]]


def test_an_unknown_calibration_is_rejected(tiny_llama: Path) -> None:
    with pytest.raises(ValueError, match="unknown calibration 'prior'"):
        choice_log_likelihoods(tiny_llama, [item(0)], calibration="prior")  # type: ignore[arg-type]
