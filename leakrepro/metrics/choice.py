"""Multiple choice: the option that an answer names, and the likelihood of each option."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from leakrepro.benchmarks.base import Benchmark
from leakrepro.metrics.text import check_candidates, normalise
from leakrepro.models.chat import answer_ids, asked_ids, pad_id
from leakrepro.models.load import load_model, load_tokenizer
from leakrepro.models.resolve import LoadedModel, Model, resolve
from leakrepro.types import Prompt, Scores

Options = Literal["letter", "text"]
Calibration = Literal["none", "length", "neutral"]
_Answer = tuple[tuple[int, ...], tuple[int, ...]]  # token ids of a prompt and of its answer

NEUTRAL = "N/A"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# A letter that names an option: followed by punctuation or the end of a line, or named as the
# answer. "A sample of ..." does not name one.
_LEADING = re.compile(r"\s*[(\[*\"']*([A-Z])(?:[)\].:,*\"']|\s*$|\s*\n)")
_NAMED = re.compile(r"\b(?:answer|option|choice)\b\W*(?:is|:)?\W*([A-Z])(?![\w'])", re.IGNORECASE)


class ChoiceAccuracy:
    """1 if a candidate names the right option of its prompt, else 0.

    A candidate names an option if it starts with its letter (``B``, ``(B)``, ``B. ...``), says
    ``the answer is B``, or equals the option's text. Otherwise it scores 0. ``chance_curve`` of the
    numbers of options is leak@k of uniform guessing.
    """

    id = "choice_accuracy"
    higher_is_better = True

    def score(self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scores:
        """Score the candidates; see ``CoreMetric``.

        Raises:
            ValueError: If the number of lists of candidates is not the number of prompts, or the
                reference of a prompt is not one of its choices.
            TypeError: If a candidate is not a string; the message names its prompt.
        """
        check_candidates(prompts, candidates)
        rows = []
        for prompt, texts in zip(prompts, candidates, strict=True):
            right = correct_choice(prompt)
            hits = {text: float(named_choice(text, prompt.choices) == right) for text in set(texts)}
            rows.append([hits[text] for text in texts])
        return Scores.from_rows(rows)


def correct_choice(prompt: Prompt) -> int:
    """Return the index of the right option.

    Args:
        prompt: A prompt with ``choices``, one of which is its reference.

    Raises:
        ValueError: If the prompt does not have 2 to 26 choices, or its reference is not one of
            them.
    """
    if not 2 <= len(prompt.choices) <= len(LETTERS):
        raise ValueError(
            f"prompt {prompt.id!r} has {len(prompt.choices)} choices; 2 to 26 are needed"
        )
    if prompt.reference not in prompt.choices:
        raise ValueError(f"prompt {prompt.id!r}: its reference is not one of its choices")
    return prompt.choices.index(prompt.reference)


def named_choice(text: str, choices: Sequence[str]) -> int | None:
    """Return the index of the option that an answer names, or None.

    Args:
        text: The answer.
        choices: Texts of the options.

    >>> named_choice("(B) water", ["air", "water"]), named_choice("The answer is A", ["x", "y"])
    (1, 0)
    >>> named_choice("A glass of it", ["x", "y"]) is None
    True
    """
    plain = normalise(text)
    for i, choice in enumerate(choices):
        if plain and plain == normalise(choice):
            return i
    found = _LEADING.match(text) or _NAMED.search(text)
    if found is None:
        return None
    i = LETTERS.index(found.group(1).upper())
    return i if i < len(choices) else None


def choice_log_likelihoods(
    model: Model,
    benchmark_or_prompts: Benchmark | Sequence[Prompt],
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    options: Options = "letter",
    calibration: Calibration = "none",
    neutral: str = NEUTRAL,
    batch_size: int = 16,
) -> list[NDArray[np.float64]]:
    """Return the log-likelihood of each option as the model's answer, without sampling.

    Models prefer some letters and wordings whatever the question is. ``"length"`` divides by the
    UTF-8 bytes of the answer, as lm-evaluation-harness's ``acc_norm`` does, so that options of
    different length can be compared. ``"neutral"`` subtracts the log-likelihood of the same answer
    to a prompt without content: contextual calibration with the content-free ``"N/A"`` (Zhao et
    al. 2021, arXiv 2102.09690), or pointwise mutual information with a domain premise such as
    ``"Answer:"`` (Holtzman et al. 2021, arXiv 2104.08315).

    Args:
        model: A folder, a hub id, a name of the profile that makes the benchmark's models, or a
            ``PreTrainedModel``.
        benchmark_or_prompts: Prompts with ``choices``, or a benchmark, whose forget prompts are
            used.
        tokenizer: Tokenizer of a ``PreTrainedModel``.
        options: The answer that is scored: the option's letter, or its text.
        calibration: Calibration of the sum: ``"none"``, ``"length"`` or ``"neutral"``.
        neutral: Last turn of the prompt without content.
        batch_size: Answers per forward pass.

    Returns:
        One float64 array [choices] per prompt: the calibrated sum of log p over the tokens of the
        answer, in nats.

    Raises:
        ValueError: If ``options`` or ``calibration`` is unknown, a prompt does not have 2 to 26
            choices, or its reference is not one of them.
    """
    if calibration not in get_args(Calibration) or options not in get_args(Options):
        raise ValueError(f"unknown calibration {calibration!r} or options {options!r}")
    benchmark = None if isinstance(benchmark_or_prompts, Sequence) else benchmark_or_prompts
    prompts = _prompts(benchmark_or_prompts)
    source = resolve(model, benchmark, tokenizer)
    if isinstance(source, LoadedModel):
        network, tokenizer = source.model.eval(), source.tokenizer
    else:
        network, tokenizer = load_model(source), load_tokenizer(source)
    asked: list[list[_Answer]] = []
    premises: list[list[_Answer]] = []
    lengths: list[list[int]] = []
    for prompt in prompts:
        correct_choice(prompt)
        wordings = prompt.choices if options == "text" else LETTERS[: len(prompt.choices)]
        answers = [dataclasses.replace(prompt, reference=each) for each in wordings]
        lengths.append([len(each.reference.encode()) for each in answers])
        asked.append([_answer(tokenizer, each) for each in answers])
        if calibration == "neutral":
            turn = {**prompt.messages[-1], "content": neutral}
            messages = (*prompt.messages[:-1], turn)
            premises.append(
                [_answer(tokenizer, dataclasses.replace(e, messages=messages)) for e in answers]
            )
    found = _log_p(network, pad_id(tokenizer), chain(*asked, *premises), batch_size)
    rows = [np.array([found[each] for each in row]) for row in asked]
    if calibration == "neutral":
        return [r - [found[e] for e in row] for r, row in zip(rows, premises, strict=True)]
    if calibration == "length":
        return [row / each for row, each in zip(rows, lengths, strict=True)]
    return rows


def choice_likelihood_accuracy(
    model: Model,
    benchmark_or_prompts: Benchmark | Sequence[Prompt],
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    options: Options = "letter",
    calibration: Calibration = "neutral",
    neutral: str = NEUTRAL,
    batch_size: int = 16,
) -> Scores:
    """Score 1 for prompts whose right option is the most likely, else 0, without sampling.

    Equally likely options share the 1. Guessing scores 1 / options on average.

    Args:
        model: A folder, a hub id, a name of the profile that makes the benchmark's models, or a
            ``PreTrainedModel``.
        benchmark_or_prompts: Prompts with ``choices``, or a benchmark, whose forget prompts are
            used.
        tokenizer: Tokenizer of a ``PreTrainedModel``.
        options: The answer that is scored: the option's letter, or its text.
        calibration: ``"none"``, ``"length"`` or ``"neutral"``; see ``choice_log_likelihoods``.
        neutral: Last turn of the prompt without content.
        batch_size: Answers per forward pass.

    Returns:
        One score per prompt.

    Raises:
        ValueError: If ``options`` or ``calibration`` is unknown, a prompt does not have 2 to 26
            choices, or its reference is not one of them.
    """
    rows = choice_log_likelihoods(
        model,
        benchmark_or_prompts,
        tokenizer=tokenizer,
        options=options,
        calibration=calibration,
        neutral=neutral,
        batch_size=batch_size,
    )
    best = [row == row.max() for row in rows]
    return Scores.from_rows(
        [each[correct_choice(prompt)] / each.sum()]
        for prompt, each in zip(_prompts(benchmark_or_prompts), best, strict=True)
    )


def _prompts(given: Benchmark | Sequence[Prompt]) -> Sequence[Prompt]:
    return given if isinstance(given, Sequence) else given.forget


def _answer(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> _Answer:
    return tuple(asked_ids(tokenizer, prompt)), tuple(answer_ids(tokenizer, prompt))


@torch.inference_mode()
def _log_p(
    network: PreTrainedModel, pad: int, answers: Iterable[_Answer], batch_size: int
) -> dict[_Answer, float]:
    """Return the sum of log p over the tokens of each distinct answer, in nats."""
    items = list(dict.fromkeys(answers))
    found: dict[_Answer, float] = {}
    for start in tqdm(range(0, len(items), batch_size), unit="batch", desc="options"):
        part = items[start : start + batch_size]
        rows = [[*question, *answer] for question, answer in part]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [pad] * (longest - len(row)) for row in rows])
        ids = ids.to(network.device)
        lengths = torch.tensor([len(row) for row in rows], device=ids.device)
        mask = torch.arange(longest, device=ids.device) < lengths[:, None]
        logits = network(input_ids=ids, attention_mask=mask.long()).logits.double()
        steps = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
        for item, row, log_p in zip(part, rows, steps.cpu(), strict=True):
            found[item] = float(log_p[len(item[0]) - 1 : len(row) - 1].sum())
    return found
