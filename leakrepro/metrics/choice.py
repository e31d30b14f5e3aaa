"""Multiple choice: the option that an answer names, and the likelihood of each option."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from leakrepro.metrics.text import check_candidates, normalise
from leakrepro.models.chat import pad_id, prompt_ids
from leakrepro.models.load import load_model, load_tokenizer, locate
from leakrepro.types import Prompt, Scores

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# A letter that stands for an option: alone, closed by punctuation or a line's end, or named as the
# answer. "A sample of ..." names none.
_LEADING = re.compile(r"\s*[(\[*\"']*([A-Z])(?:[)\].:,*\"']|\s*$|\s*\n)")
_NAMED = re.compile(r"\b(?:answer|option|choice)\b\W*(?:is|:)?\W*([A-Z])(?![\w'])", re.IGNORECASE)


class ChoiceAccuracy:
    """1 when a candidate names the right option of its prompt, else 0.

    An option is named by its letter, first (``B``, ``(B)``, ``B. ...``) or as ``the answer is B``,
    or by its text alone. A candidate that names none scores 0. A guesser's leak@k is
    ``chance_curve`` of the numbers of options.
    """

    id = "choice_accuracy"
    higher_is_better = True

    def score(self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scores:
        """Scores the candidates; see ``CoreMetric``.

        Raises:
            ValueError: when there is not one list of candidates a prompt, or a prompt's reference
                is none of its choices.
            TypeError: for a candidate that is not a string; the message names its prompt.
        """
        check_candidates(prompts, candidates)
        rows = []
        for prompt, texts in zip(prompts, candidates, strict=True):
            right = correct_choice(prompt)
            told = {text: float(named_choice(text, prompt.choices) == right) for text in set(texts)}
            rows.append([told[text] for text in texts])
        return Scores.from_rows(rows)


def correct_choice(prompt: Prompt) -> int:
    """Index of the right option.

    Raises:
        ValueError: when the prompt has fewer than two choices, more than there are letters, or its
            reference is none of them.
    """
    if not 2 <= len(prompt.choices) <= len(LETTERS):
        raise ValueError(f"prompt {prompt.id!r} has {len(prompt.choices)} choices; 2 to 26 are due")
    if prompt.reference not in prompt.choices:
        raise ValueError(f"prompt {prompt.id!r}: its reference is none of its choices")
    return prompt.choices.index(prompt.reference)


def named_choice(text: str, choices: Sequence[str]) -> int | None:
    """Index of the option that an answer names, or None.

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


@torch.inference_mode()
def choice_log_likelihoods(
    model: str | Path,
    prompts: Sequence[Prompt],
    *,
    options: Literal["letter", "text"] = "letter",
    batch_size: int = 16,
) -> list[NDArray[np.float64]]:
    """Log-likelihood of each option as the model's answer, with no sampling.

    Args:
        model: A folder or a hub id.
        prompts: With ``choices``.
        options: The answer that is scored: the option's letter, or its text; texts of different
            length are compared by the sum over their tokens, and by what ``argmax`` of the caller
            makes of it.
        batch_size: Answers a forward pass.

    Returns:
        One float64 array [choices] a prompt: the sum over the answer's tokens of log p.

    Raises:
        ValueError: as ``correct_choice``.
    """
    path = locate(model)
    tokenizer, network = load_tokenizer(path), load_model(path)
    pad = pad_id(tokenizer)
    items: list[tuple[int, list[int], int]] = []
    for number, prompt in enumerate(prompts):
        correct_choice(prompt)
        question = prompt_ids(tokenizer, prompt.messages)
        for letter, text in zip(LETTERS, prompt.choices, strict=False):
            answer = letter if options == "letter" else text
            ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
            items.append((number, question + ids, len(ids)))
    totals: list[list[float]] = [[] for _ in prompts]
    for start in tqdm(range(0, len(items), batch_size), unit="batch", desc="options"):
        part = items[start : start + batch_size]
        longest = max(len(ids) for _, ids, _ in part)
        ids = torch.tensor([row + [pad] * (longest - len(row)) for _, row, _ in part])
        ids = ids.to(network.device)
        lengths = torch.tensor([len(row) for _, row, _ in part], device=ids.device)
        mask = torch.arange(longest, device=ids.device) < lengths[:, None]
        logits = network(input_ids=ids, attention_mask=mask.long()).logits.double()
        steps = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
        for (number, row, n), log_p in zip(part, steps.cpu(), strict=True):
            totals[number].append(float(log_p[len(row) - 1 - n : len(row) - 1].sum()))
    return [np.array(row) for row in totals]
