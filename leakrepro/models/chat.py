"""Token ids of prompts and answers, by the tokenizer's chat template or as plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from transformers import PreTrainedTokenizerBase

from leakrepro.models.reading import reading
from leakrepro.types import Prompt

IGNORED = -100  # the label that cross-entropy skips
# Llama 3's template writes today's date if none is given, so that prompts would change every day.
# This is the date with which open-unlearning trains its checkpoints.
DATE = "10 Apr 2025"


@dataclass(frozen=True)
class Pair:
    """One tokenised question and answer.

    Attributes:
        input_ids: Prompt, answer and end of turn.
        prompt_tokens: Number of prompt tokens. The loss is computed on the other tokens.
    """

    input_ids: tuple[int, ...]
    prompt_tokens: int


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]]
) -> list[int]:
    """Return the token ids of a prompt, up to the start of the answer.

    Plain text gets the special tokens that the tokenizer puts in front, such as BOS.

    Raises:
        ValueError: If the prompt is a chat and the tokenizer does not have a chat template.
    """
    if messages[0]["role"] == "text":
        return _encode(tokenizer, messages[0]["content"])
    return _apply(tokenizer, messages, add_generation_prompt=True)


def pair(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> Pair:
    """Return the token ids of a prompt with its reference answer.

    Raises:
        ValueError: If the tokenizer does not have a chat template, or its template writes the
            prompt differently when an answer follows.
    """
    asked = prompt_ids(tokenizer, prompt.messages)
    if prompt.messages[0]["role"] == "text":
        end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        return Pair((*asked, *answer_ids(tokenizer, prompt), *end), len(asked))
    answered = _apply(
        tokenizer,
        [*prompt.messages, {"role": "assistant", "content": prompt.reference}],
        add_generation_prompt=False,
    )
    if answered[: len(asked)] != asked or len(answered) == len(asked):
        raise ValueError(
            f"prompt {prompt.id!r}: the chat template does not keep the prompt's tokens in front "
            "of the answer, so the tokens of the answer are not known"
        )
    return Pair(tuple(answered), len(asked))


def answer_ids(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
    """Return the token ids of the reference answer after its prompt, without an end token.

    In plain text a space separates them if neither has one.

    Raises:
        ValueError: If the prompt is a chat and the tokenizer does not have a chat template.
    """
    asked, answer = prompt_ids(tokenizer, prompt.messages), prompt.reference
    plain = prompt.messages[0]["role"] == "text"
    if plain:
        text = prompt.messages[0]["content"]
        if text and not text[-1].isspace() and not answer[:1].isspace():
            answer = f" {answer}"
    else:
        with reading(tokenizer.name_or_path, "chat template"):
            rendered = tokenizer.apply_chat_template(
                [dict(m) for m in prompt.messages],
                add_generation_prompt=True,
                tokenize=False,
                date_string=DATE,
            )
        text = cast(str, rendered)
    whole = _encode(tokenizer, text + answer, special=plain)
    if whole[: len(asked)] == asked:
        return whole[len(asked) :]
    # The two are tokenised separately: a sampler cannot draw a token that starts in the prompt.
    return _encode(tokenizer, answer, special=False)


def collate(pairs: Sequence[Pair], pad_token_id: int) -> dict[str, torch.Tensor]:
    """Return ``input_ids``, ``attention_mask`` and ``labels``, [pairs, longest], right-padded.

    Labels are ``IGNORED`` on the prompt and on padding.
    """
    width = max(len(p.input_ids) for p in pairs)
    input_ids = torch.full((len(pairs), width), pad_token_id, dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    labels = torch.full_like(input_ids, IGNORED)
    for row, item in enumerate(pairs):
        ids = torch.tensor(item.input_ids)
        input_ids[row, : len(ids)] = ids
        attention_mask[row, : len(ids)] = 1
        labels[row, item.prompt_tokens : len(ids)] = ids[item.prompt_tokens :]
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


def pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the id of the padding token, or of the end token if there is none (Llama)."""
    for token_id in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if isinstance(token_id, int):
            return token_id
    raise ValueError("the tokenizer has neither a padding nor an end token")


def _encode(tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool = True) -> list[int]:
    with reading(tokenizer.name_or_path, "tokenizer"):
        encoded = tokenizer(text, add_special_tokens=special, verbose=False)
    return cast(list[int], encoded["input_ids"])


def _apply(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, str]],
    *,
    add_generation_prompt: bool,
) -> list[int]:
    if tokenizer.chat_template is None:
        raise ValueError(
            f"the tokenizer of {tokenizer.name_or_path!r} does not have a chat template; set "
            "tokenizer.chat_template (a Jinja text) and save the tokenizer next to the weights"
        )
    with reading(tokenizer.name_or_path, "chat template"):
        ids = tokenizer.apply_chat_template(
            [dict(m) for m in messages],
            add_generation_prompt=add_generation_prompt,
            return_dict=False,
            date_string=DATE,
        )
    return cast(list[int], ids)
