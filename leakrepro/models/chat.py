"""Token ids of prompts and answers, by the tokenizer's chat template or as plain text."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, cast

import torch
from transformers import PreTrainedTokenizerBase

from leakrepro.errors import ModelError
from leakrepro.models.reading import reading
from leakrepro.types import Prompt

IGNORED = -100  # the label that cross-entropy skips
# Templates write today's date, so that prompts would change every day. This is the date with which
# open-unlearning trains its checkpoints.
DATE = "10 Apr 2025"
_NOW = datetime(2025, 4, 10)
# Directives of strftime that depend on the locale or the time zone.
_FIXED = {
    "a": "Thu",
    "A": "Thursday",
    "b": "Apr",
    "B": "April",
    "c": "Thu Apr 10 00:00:00 2025",
    "h": "Apr",
    "p": "AM",
    "P": "am",
    "r": "12:00:00 AM",
    "s": "1744243200",
    "x": "04/10/25",
    "X": "00:00:00",
    "z": "+0000",
    "Z": "UTC",
    "%": "%",
}
_PROBE = "leakrepro-answer-5c1e"  # an answer that no template changes and no prompt contains


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

    Plain text gets the special tokens that the tokenizer puts in front, such as BOS, but not those
    that it puts behind, such as its end token. A chat is rendered by the tokenizer's template,
    without thinking if the template offers that. What the template writes in front of each trained
    answer, such as an empty think block, is part of the prompt.

    Raises:
        ValueError: If the prompt is a chat and the tokenizer does not have a chat template, or the
            template fails.
    """
    if messages[0]["role"] == "text":
        text = messages[0]["content"]
        return [*_leading(tokenizer, text), *_encode(tokenizer, text)]
    return _encode(tokenizer, _frame(tokenizer, messages).before)


def asked_ids(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
    """Return the token ids of a prompt that a model can answer; see ``prompt_ids``.

    Raises:
        ValueError: If the prompt does not have any token, or is a chat and the tokenizer does not
            have a chat template. The message names the prompt.
    """
    with _named(prompt):
        ids = prompt_ids(tokenizer, prompt.messages)
        if not ids:
            raise ValueError(
                f"it is empty, and the tokenizer {tokenizer.name_or_path!r} does not put a token "
                "such as BOS in front, so that there is nothing to answer; write a text"
            )
    return ids


def pair(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> Pair:
    """Return the token ids of a prompt with its reference answer.

    Raises:
        ValueError: If the tokenizer does not have a chat template, or its template fails or writes
            the prompt differently when an answer follows. The message names the prompt.
    """
    with _named(prompt):
        return _pair(tokenizer, prompt)


def _pair(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> Pair:
    asked = prompt_ids(tokenizer, prompt.messages)
    if prompt.messages[0]["role"] == "text":
        answer, end = _answer_ids(tokenizer, prompt), tokenizer.eos_token_id
        closing = [] if end is None or answer[-1:] == [end] else [end]
        return Pair((*asked, *answer, *closing), len(asked))
    text = _answered(tokenizer, prompt.messages, prompt.reference)
    answered = _encode(tokenizer, text)
    before = _frame(tokenizer, prompt.messages).before
    if answered[: len(asked)] != asked and text.startswith(before):
        # The last token of a prompt such as "Answer: " would join the answer. The two are tokenised
        # separately, as in sampling.
        answered = [*asked, *_encode(tokenizer, text[len(before) :])]
    if answered[: len(asked)] != asked or len(answered) == len(asked):
        raise ValueError(
            "the chat template does not keep the prompt's tokens in front of the answer, so the "
            "tokens of the answer are not known; set another chat_template"
        )
    return Pair(tuple(answered), len(asked))


def answer_ids(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
    """Return the token ids of the reference answer after its prompt, without an end token.

    In plain text a space separates them if neither has one.

    Raises:
        ValueError: If the prompt is a chat and the tokenizer does not have a chat template, or the
            template fails. The message names the prompt.
    """
    with _named(prompt):
        return _answer_ids(tokenizer, prompt)


def _answer_ids(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> list[int]:
    answer = prompt.reference
    if prompt.messages[0]["role"] == "text":
        text = prompt.messages[0]["content"]
        if text and not text[-1].isspace() and not answer[:1].isspace():
            answer = f" {answer}"
    else:
        frame = _frame(tokenizer, prompt.messages)
        text = frame.before
        whole = _answered(tokenizer, prompt.messages, answer)
        if frame.after is not None and whole.startswith(text) and whole.endswith(frame.after):
            # As it is trained: templates strip the answer or put a space in front.
            answer = whole[len(text) : len(whole) - len(frame.after)]
    asked, ids = _encode(tokenizer, text), _encode(tokenizer, text + answer)
    if ids[: len(asked)] == asked:
        return ids[len(asked) :]
    # The two are tokenised separately: a sampler cannot draw a token that starts in the prompt.
    return _encode(tokenizer, answer)


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


def _encode(tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool = False) -> list[int]:
    with reading(tokenizer.name_or_path, "tokenizer"):
        encoded = tokenizer(text, add_special_tokens=special, verbose=False)
    return cast(list[int], encoded["input_ids"])


def _leading(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The special tokens that a tokenizer puts in front of a plain text."""
    plain, whole = (_encode(tokenizer, text or "a", special=special) for special in (False, True))
    if not plain:  # a text without known characters
        return [i for i in whole[:1] if i == tokenizer.bos_token_id]
    for start in range(len(whole) - len(plain) + 1):
        if whole[start : start + len(plain)] == plain:
            return whole[:start]
    raise ValueError(
        f"the tokenizer of {tokenizer.name_or_path!r} encodes a text differently with and without "
        f"special tokens: {text[:40]!r}"
    )


class _TemplateError(ModelError):
    """A chat template fails on a conversation."""


@contextlib.contextmanager
def _named(prompt: Prompt) -> Iterator[None]:
    """Add the name of the prompt to a ValueError."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"prompt {prompt.id!r}: {error}") from error


class _Frame(NamedTuple):
    """What a chat template writes around the answer; ``after`` is None if that is not known."""

    before: str
    after: str | None


def _frame(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]]) -> _Frame:
    prompt = _render(tokenizer, messages, add_generation_prompt=True)
    try:
        answered = _answered(tokenizer, messages, _PROBE)
    except _TemplateError:  # a template without answers cannot disagree with the prompt
        return _Frame(prompt, None)
    before, found, after = answered.rpartition(_PROBE)
    if not found or not before.startswith(prompt):
        return _Frame(prompt, None)
    # White space belongs to the answer: "[/INST] yes" has one token for the space and the word.
    return _Frame(before if before[len(prompt) :].strip() else prompt, after)


def _answered(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]], answer: str
) -> str:
    turn = {"role": "assistant", "content": answer}
    return _render(tokenizer, [*messages, turn], add_generation_prompt=False)


def _render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Mapping[str, str]],
    *,
    add_generation_prompt: bool,
) -> str:
    """Render a conversation; all chat templates are rendered here, under a fixed clock."""
    if tokenizer.chat_template is None:
        raise ValueError(
            f"the tokenizer of {tokenizer.name_or_path!r} does not have a chat template; set "
            "tokenizer.chat_template (a Jinja text) and save the tokenizer next to the weights"
        )
    try:
        text = tokenizer.apply_chat_template(
            [dict(m) for m in messages],
            add_generation_prompt=add_generation_prompt,
            tokenize=False,
            date_string=DATE,
            strftime_now=_strftime,  # replaces the function that transformers gives to templates
            enable_thinking=False,
        )
    except ImportError:  # of jinja2
        raise
    except Exception as error:  # a template is a program, which can fail in any way
        raise _TemplateError(
            f"the chat template of the tokenizer {tokenizer.name_or_path!r} fails: "
            f"{' '.join(str(error).split())}"
        ) from error
    return cast(str, text)


def _strftime(form: str) -> str:
    """``strftime`` of ``DATE``, with English names whatever the locale is."""

    def fixed(directive: re.Match[str]) -> str:
        value = _FIXED.get(directive[1])
        return directive[0] if value is None else value.replace("%", "%%")

    return _NOW.strftime(re.sub(r"%[-_0^#]?([a-zA-Z%])", fixed, form))
