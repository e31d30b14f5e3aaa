"""Templates that think, tell the date, or treat the answer otherwise; tokenizers that append.

The templates write what those of the named models write around one question and its answer.
"""

from __future__ import annotations

import locale
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

from leakrepro.models import chat
from leakrepro.models.tiny import train_tokenizer
from leakrepro.types import Prompt

_ROLE = "{{ '<|im_start|>' + m['role'] + '\n' }}"
_EMPTY = "{{ '<think>\n\n</think>\n\n' }}"
# The last answer gets an empty think block; the prompt only if thinking is switched off.
QWEN_3 = (
    "{% for m in messages %}" + _ROLE + "{% if m['role'] == 'assistant' and loop.last %}"
    "{% if '</think>' in m['content'] %}{{ m['content'] }}"
    "{% else %}" + _EMPTY + "{{ m['content'].lstrip('\n') }}{% endif %}"
    "{% else %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}" + _EMPTY + "{% endif %}"
    "{% endif %}"
)
# Always opens a think block in the prompt, which the answered conversation closes.
QWEN_3_THINKING = QWEN_3.replace(
    "{% if enable_thinking is defined and enable_thinking is false %}" + _EMPTY + "{% endif %}",
    "{{ '<think>\n' }}",
)
# The switch does not exist: only the trained answer has the block.
QWEN_3_WITHOUT_SWITCH = QWEN_3.replace("enable_thinking", "other_switch")
DEEPSEEK_R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}"
    "{{ '<|User|>' + m['content'] }}{% elif m['role'] == 'assistant' %}"
    "{{ '<|Assistant|>' + m['content'].split('</think>')[-1] + '<|im_end|>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|Assistant|>' }}{% endif %}"
)
# Its later revision opens a think block that the answered conversation does not have.
DEEPSEEK_R1_OPENED = DEEPSEEK_R1.replace(
    "{{ '<|Assistant|>' }}{% endif %}", "{{ '<|Assistant|><think>\n' }}{% endif %}"
)
GPT_OSS = (
    "{{ 'Current date: ' + strftime_now('%Y-%m-%d') }}{% for m in messages %}"
    "{{ '<|im_start|>' + m['role'] }}"
    "{% if m['role'] == 'assistant' %}{{ '<|channel|>final' }}{% endif %}"
    "{{ '<|message|>' + m['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant' }}{% endif %}"
)
LLAMA_2 = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}"
    "{{ '[INST] ' + m['content'] + ' [/INST]' }}{% else %}"
    "{{ ' ' + m['content'] | trim + ' <|im_end|>' }}{% endif %}{% endfor %}"
)
LLAMA_3 = (
    "{{ bos_token }}{% if not date_string is defined %}"
    "{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "{{ 'Today Date: ' + date_string + '<|im_end|>' }}{% for m in messages %}"
    "{{ '<|start|>' + m['role'] + '<|stop|>\n\n' + m['content'] | trim + '<|im_end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant<|stop|>\n\n' }}{% endif %}"
)
# The prompt does not open the answer's turn at all.
NO_GENERATION_PROMPT = (
    "{% for m in messages %}{{ '### ' + m['role'] + ':\n' + m['content'] + '<|im_end|>' }}"
    "{% endfor %}"
)
# The start of the answer's turn, after the question.
OPENS = {
    "qwen-3": (QWEN_3, "<|im_start|>assistant\n<think>\n\n</think>\n\n"),
    "qwen-3-thinking": (QWEN_3_THINKING, "<|im_start|>assistant\n<think>\n\n</think>\n\n"),
    "qwen-3-no-switch": (QWEN_3_WITHOUT_SWITCH, "<|im_start|>assistant\n<think>\n\n</think>\n\n"),
    "deepseek-r1": (DEEPSEEK_R1, "<|Assistant|>"),
    "gpt-oss": (GPT_OSS, "<|im_start|>assistant<|channel|>final<|message|>"),
    "llama-2": (LLAMA_2, " [/INST]"),
    "llama-3": (LLAMA_3, "<|start|>assistant<|stop|>\n\n"),
    "no-generation-prompt": (NO_GENERATION_PROMPT, "### assistant:\n"),
}


def tokenizer_with(template: str) -> PreTrainedTokenizerFast:
    tokenizer = train_tokenizer(["ash birch oak elm? 10 Apr 2025"] * 9, 320)
    special = ["<|im_start|>", "<|channel|>", "<|message|>", "<|User|>", "<|Assistant|>"]
    tokenizer.add_special_tokens(
        {"bos_token": "<s>", "eos_token": "<|im_end|>", "additional_special_tokens": special}
    )
    tokenizer.chat_template = template
    return tokenizer


def ask(answer: str = "oak elm?") -> Prompt:
    messages = ({"role": "user", "content": "ash birch"},)
    return Prompt("p", messages, answer, cluster="c", side="forget")


@pytest.mark.parametrize("kind", OPENS)
@pytest.mark.parametrize("answer", ["oak elm?", "oak", "\noak ", "A"])
def test_what_is_sampled_trained_and_compared_is_the_same(kind: str, answer: str) -> None:
    template, opened = OPENS[kind]
    tokenizer = tokenizer_with(template)
    prompt = ask(answer)
    asked = chat.asked_ids(tokenizer, prompt)
    pair = chat.pair(tokenizer, prompt)
    assert tokenizer.decode(asked).endswith(opened)
    assert list(pair.input_ids[: pair.prompt_tokens]) == asked
    trained = list(pair.input_ids[pair.prompt_tokens :])
    compared = chat.answer_ids(tokenizer, prompt)
    assert trained[: len(compared)] == compared
    assert tokenizer.decode(compared).strip() == answer.strip()
    assert "think" not in tokenizer.decode(trained)
    assert trained.count(tokenizer.eos_token_id) == 1


def test_a_think_block_that_the_answer_does_not_close_cannot_be_trained_on() -> None:
    tokenizer = tokenizer_with(DEEPSEEK_R1_OPENED)
    assert tokenizer.decode(chat.asked_ids(tokenizer, ask())).endswith("<|Assistant|><think>\n")
    with pytest.raises(ValueError, match="prompt 'p': the chat template does not keep"):
        chat.pair(tokenizer, ask())


def test_a_template_that_refuses_answers_can_be_sampled() -> None:
    template = (
        "{% if messages[-1]['role'] == 'assistant' %}{{ raise_exception('no answers') }}{% endif %}"
        "{{ messages[-1]['content'] }}"
    )
    tokenizer = tokenizer_with(template)
    assert tokenizer.decode(chat.asked_ids(tokenizer, ask())) == "ash birch"
    with pytest.raises(ValueError, match=r"prompt .p.: the chat template .* fails: no answers"):
        chat.pair(tokenizer, ask())


class _Tomorrow(datetime):
    """A clock that is years ahead."""

    @classmethod
    def now(cls, tz: object = None) -> _Tomorrow:
        return cls(2031, 12, 24, 18, 30)


@pytest.mark.parametrize(
    ("form", "written"),
    [
        ("%d %b %Y", "10 Apr 2025"),
        ("%Y-%m-%d", "2025-04-10"),
        ("%-d. %B %Y, %A", "10. April 2025, Thursday"),
        ("%H:%M:%S %p", "00:00:00 AM"),
        ("100%% %x %X %Z%z", "100% 04/10/25 00:00:00 UTC+0000"),
        ("%c|%s", "Thu Apr 10 00:00:00 2025|1744243200"),
        ("", ""),
    ],
)
def test_templates_see_a_fixed_date(
    form: str, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = tokenizer_with("{{ strftime_now('" + form + "') + messages[0]['content'] }}")
    before = chat.prompt_ids(tokenizer, ask().messages)
    assert tokenizer.decode(before) == f"{written}ash birch"
    monkeypatch.setattr(chat_template_utils, "datetime", _Tomorrow)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert chat.prompt_ids(tokenizer, ask().messages) == before
    finally:
        monkeypatch.undo()
        time.tzset()


def test_templates_see_english_names_in_every_locale() -> None:
    names = [name for name in ("de_DE.UTF-8", "fr_FR.UTF-8") if _exists(name)]
    tokenizer = tokenizer_with("{{ strftime_now('%A %a %B %b %c') + messages[0]['content'] }}")
    expected = "Thursday Thu April Apr Thu Apr 10 00:00:00 2025ash birch"
    for name in ["C", *names]:
        kept = locale.setlocale(locale.LC_TIME)
        locale.setlocale(locale.LC_TIME, name)
        try:
            assert tokenizer.decode(chat.prompt_ids(tokenizer, ask().messages)) == expected
        finally:
            locale.setlocale(locale.LC_TIME, kept)


def _exists(name: str) -> bool:
    kept = locale.setlocale(locale.LC_TIME)
    try:
        locale.setlocale(locale.LC_TIME, name)
    except locale.Error:
        return False
    finally:
        locale.setlocale(locale.LC_TIME, kept)
    return True


def test_templates_are_rendered_in_one_place() -> None:
    root = Path(chat.__file__).parents[1]
    found = {
        file.relative_to(root).as_posix(): file.read_text(encoding="utf-8").count(
            "apply_chat_template"
        )
        for file in root.rglob("*.py")
    }
    assert {name: count for name, count in found.items() if count} == {"models/chat.py": 1}


def appending(template: str) -> PreTrainedTokenizerFast:
    tokenizer = train_tokenizer(["ash birch oak elm?"] * 9, 300)
    tokenizer.add_special_tokens({"bos_token": "<s>", "sep_token": "[SEP]"})
    names = ("<s>", "[SEP]", "<|end|>")
    special = [(name, tokenizer.convert_tokens_to_ids(name)) for name in names if name in template]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=template, special_tokens=special
    )
    return tokenizer


@pytest.mark.parametrize(
    ("template", "first"),
    [
        ("$A <|end|>", ""),
        ("<s> $A <|end|>", "<s>"),
        ("<s> $A [SEP]", "<s>"),
        ("<s> $A [SEP] <|end|>", "<s>"),
        ("<s> [SEP] $A", "<s>[SEP]"),
        ("$A", ""),
    ],
)
@pytest.mark.parametrize("text", ["ash:", "a", "ash: ", "\n", "oak <|end|>"])
def test_what_a_tokenizer_appends_is_not_part_of_the_prompt(
    template: str, first: str, text: str
) -> None:
    tokenizer = appending(template)
    prompt = Prompt("p", ({"role": "text", "content": text},), "oak", cluster="c", side="forget")
    asked = chat.asked_ids(tokenizer, prompt)
    assert tokenizer.decode(asked) == first + text
    pair = chat.pair(tokenizer, prompt)
    assert list(pair.input_ids[: pair.prompt_tokens]) == asked
    answer = list(pair.input_ids[pair.prompt_tokens :])
    assert answer == [*chat.answer_ids(tokenizer, prompt), tokenizer.eos_token_id]
    assert answer.count(tokenizer.eos_token_id) == 1


def test_an_answer_that_ends_with_the_end_token_gets_no_second_one() -> None:
    tokenizer = appending("<s> $A <|end|>")
    prompt = Prompt(
        "p", ({"role": "text", "content": "a"},), "oak<|end|>", cluster="c", side="forget"
    )
    assert chat.pair(tokenizer, prompt).input_ids.count(tokenizer.eos_token_id) == 1


@pytest.mark.parametrize("template", ["$A", "$A <|end|>"])
def test_an_empty_prompt_is_named(template: str) -> None:
    tokenizer = appending(template)
    prompt = Prompt("q/7", ({"role": "text", "content": ""},), "oak", cluster="c", side="forget")
    with pytest.raises(ValueError, match=r"prompt 'q/7': it is empty.*BOS.*write a text"):
        chat.asked_ids(tokenizer, prompt)
    assert chat.asked_ids(appending("<s> $A <|end|>"), prompt)  # BOS is a prompt


def test_errors_of_a_template_name_the_prompt() -> None:
    tokenizer = tokenizer_with("{{ messages[0]['content'] }}")
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match=r"prompt 'p': .*does not have a chat template"):
        chat.asked_ids(tokenizer, ask())


@pytest.mark.parametrize("function", [chat.asked_ids, chat.answer_ids, chat.pair])
def test_longer_conversations_keep_their_turns(
    function: Callable[[PreTrainedTokenizerFast, Prompt], object],
) -> None:
    turns = [("user", "ash"), ("assistant", "oak"), ("user", "elm?")]
    messages = tuple({"role": role, "content": content} for role, content in turns)
    prompt = Prompt("p", messages, "birch", cluster="c", side="forget")
    for template, _ in OPENS.values():
        assert function(tokenizer_with(template), prompt)
