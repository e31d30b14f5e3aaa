"""Stop strings end answers independently of the tokenisation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from worlds import make_prompts

from leakrepro.models.load import load_tokenizer
from leakrepro.models.tiny import train_tokenizer
from leakrepro.sampling.engines.hf import HFSampler
from leakrepro.sampling.engines.stops import Stops, cut
from leakrepro.sampling.store import Request
from leakrepro.types import Decoding


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (" oak\n\nash", " oak"),
        ("Question: oak", ""),
        ("oak Question:\n\n", "oak "),
        ("oak Question", "oak Question"),
    ],
)
def test_a_text_is_truncated_at_the_first_stop_string(text: str, kept: str) -> None:
    assert cut(text, ("\n\n", "Question:")) == kept


@pytest.mark.parametrize("text", ["oak elm: ash", "oak  elm", "oak é elm", "oakelmé"])
def test_an_answer_ends_with_the_token_that_completes_a_stop_string(text: str) -> None:
    tokenizer = train_tokenizer(["oak elm: ash birch é oak  elm"] * 9, 290)
    ids = tokenizer(text)["input_ids"]
    for first in range(len(text)):
        for last in range(first + 1, len(text) + 1):
            stop = text[first:last]
            stops = Stops(tokenizer, (stop,))
            for length in range(1, len(ids) + 1):
                rows = torch.tensor([ids[:length]] * 2)
                found = stops.reached(rows[:, -1], rows)
                assert found.tolist() == [stop in tokenizer.decode(ids[:length])] * 2 or (
                    # reached earlier: the row has ended and is not checked again
                    stop in tokenizer.decode(ids[: length - 1])
                )


def test_stop_strings_only_truncate_samples(tiny_llama: Path) -> None:
    prompts = make_prompts(3)
    requests = [Request(prompt, 0, 40) for prompt in prompts]
    sampler = HFSampler(tiny_llama)
    whole = sampler.draw(requests, Decoding(n=40, max_new_tokens=24))
    letters = max("aeiou", key=lambda c: sum(c in text for text in whole["text"].to_pylist()))
    stop = (letters, "\u0000never")
    short = sampler.draw(requests, Decoding(n=40, max_new_tokens=24, stop=stop))
    assert short["text"].to_pylist() == [cut(text, stop) for text in whole["text"].to_pylist()]
    said = np.array([letters in text for text in whole["text"].to_pylist()])
    assert 0.1 < said.mean() < 1
    reasons = np.array(short["finish_reason"].to_pylist())
    assert (reasons[said] == "stop").all()
    assert (reasons[~said] == np.array(whole["finish_reason"].to_pylist())[~said]).all()
    tokenizer = load_tokenizer(tiny_llama)
    for text, all_tokens, tokens in zip(
        whole["text"].to_pylist(),
        whole["n_tokens"].to_pylist(),
        short["n_tokens"].to_pylist(),
        strict=True,
    ):
        assert tokens <= all_tokens
        if letters not in text:
            assert tokens == all_tokens
        else:  # the tokens up to the one that completes the stop string
            assert tokens <= len(tokenizer(text)["input_ids"]) + 1
    assert sum(short["n_tokens"].to_pylist()) < sum(whole["n_tokens"].to_pylist())


@pytest.mark.parametrize("stop", ["end", ("",), (1,)])
def test_invalid_stop_strings_are_rejected(stop: object) -> None:
    with pytest.raises(ValueError, match="stop must contain"):
        Decoding(stop=stop)  # type: ignore[arg-type]
