"""Options named in an answer, and their likelihoods."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from leakrepro.leak import chance_curve, leak_at_k
from leakrepro.metrics import ChoiceAccuracy, choice_log_likelihoods, load_metric
from leakrepro.metrics.choice import named_choice
from leakrepro.models.chat import prompt_ids
from leakrepro.models.load import load_model, load_tokenizer
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
def test_the_option_that_an_answer_names(text: str, index: int | None) -> None:
    assert named_choice(text, CHOICES) == index


def test_accuracy_and_the_guesser() -> None:
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


def test_items_that_are_no_items_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'q0'.*none of its choices"):
        ChoiceAccuracy().score([item(0, "cedar")], [["A"]])
    with pytest.raises(ValueError, match="'q0' has 0 choices"):
        ChoiceAccuracy().score([item(0, "cedar", ())], [["A"]])


@pytest.mark.parametrize("options", ["letter", "text"])
def test_likelihoods_are_those_of_one_option_at_a_time(tiny_llama: Path, options: str) -> None:
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
    assert len({row.argmax() for row in found}) >= 1
