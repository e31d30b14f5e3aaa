"""Token ids of questions and answers: where the loss is, under templates of real models."""

from __future__ import annotations

import pytest
from tokenizers.normalizers import Prepend
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast
from worlds import make_prompts, make_tokenizer

from leakrepro.models import chat
from leakrepro.models.tiny import train_tokenizer
from leakrepro.types import Prompt

LLAMA_3 = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{% set system_message = messages[0]['content'] %}{% set messages = messages[1:] %}"
    "{% else %}{% set system_message = '' %}{% endif %}"
    "{{ '<|start_header_id|>system<|end_header_id|>\n\n' + system_message + '<|eot_id|>' }}"
    "{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{{ message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# What must follow the answer: the tokens that end the turn in each template.
ENDINGS = {"llama-3": "<|eot_id|>", "chatml": "<|im_end|>\n"}


def tokenizer_of(kind: str) -> PreTrainedTokenizerFast:
    tokenizer = train_tokenizer(["ash birch oak elm?"] * 9, 300)  # can write any byte
    if kind == "llama-3":
        special = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
        tokenizer.add_special_tokens(
            {
                "bos_token": "<|begin_of_text|>",
                "eos_token": "<|eot_id|>",
                "additional_special_tokens": special,
            }
        )
        tokenizer.chat_template = LLAMA_3
    else:
        special = ["<|im_start|>"]
        tokenizer.add_special_tokens(
            {"eos_token": "<|im_end|>", "additional_special_tokens": special}
        )
        tokenizer.chat_template = CHATML
    return tokenizer


def ask(*turns: tuple[str, str], answer: str = "oak elm?") -> Prompt:
    messages = tuple({"role": role, "content": content} for role, content in turns)
    return Prompt("p", messages, answer, cluster="c", side="forget")


@pytest.mark.parametrize("kind", ENDINGS)
@pytest.mark.parametrize(
    "turns",
    [
        (("user", "ash birch"),),
        (("system", "elm"), ("user", "ash birch")),
        (("user", "fir"), ("assistant", "oak"), ("user", "pine?")),
    ],
)
def test_the_loss_is_on_the_answer_and_its_end(
    kind: str, turns: tuple[tuple[str, str], ...]
) -> None:
    tokenizer = tokenizer_of(kind)
    prompt = ask(*turns)
    pair = chat.pair(tokenizer, prompt)
    ids = list(pair.input_ids)
    assert ids[: pair.prompt_tokens] == chat.prompt_ids(tokenizer, prompt.messages)
    assert tokenizer.decode(ids[pair.prompt_tokens :]) == f"oak elm?{ENDINGS[kind]}"
    assert tokenizer.eos_token_id in ids[pair.prompt_tokens :]
    # Token for token what the model's own template writes, and no special token twice.
    messages = [*map(dict, prompt.messages), {"role": "assistant", "content": "oak elm?"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    assert tokenizer.decode(ids) == text
    assert ids == tokenizer(text, add_special_tokens=False)["input_ids"]
    if kind == "llama-3":
        assert ids.count(tokenizer.bos_token_id) == 1
    (labels,) = chat.collate([pair], 0)["labels"].tolist()
    assert labels == [-100] * pair.prompt_tokens + ids[pair.prompt_tokens :]


def test_a_batch_is_padded_on_the_right_with_no_loss_there() -> None:
    pairs = [chat.Pair((5, 6, 7, 8), 2), chat.Pair((9, 3), 1), chat.Pair((4, 0, 5), 1)]
    batch = chat.collate(pairs, 0)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8], [9, 3, 0, 0], [4, 0, 5, 0]]
    # The padding token in an answer is an answer's token.
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]]
    assert batch["labels"].tolist() == [
        [-100, -100, 7, 8],
        [-100, 3, -100, -100],
        [-100, 0, 5, -100],
    ]


def test_the_end_token_keeps_its_loss_when_it_also_pads() -> None:
    tokenizer = tokenizer_of("llama-3")
    tokenizer.pad_token = None
    pad = chat.pad_id(tokenizer)
    assert pad == tokenizer.eos_token_id
    first, second = ask(("user", "ash")), ask(("user", "ash"), answer="oak elm fir hazel larch")
    pairs = [chat.pair(tokenizer, prompt) for prompt in (first, second)]
    labels = chat.collate(pairs, pad)["labels"]
    assert (labels == pad).sum(dim=1).tolist() == [1, 1]


def test_a_tokenizer_pads_with_its_padding_token() -> None:
    tokenizer = make_tokenizer()
    assert chat.pad_id(tokenizer) == tokenizer.convert_tokens_to_ids("<|pad|>")
    tokenizer.pad_token = tokenizer.eos_token = None
    with pytest.raises(ValueError, match="neither a padding nor an end token"):
        chat.pad_id(tokenizer)


@pytest.mark.parametrize(
    "template",
    [
        # The prompt changes once it is answered, as with templates that drop earlier thoughts.
        "{% for m in messages %}<|{{ m['role'] }}|>{% if loop.last %}{{ m['content'] }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
        # The answer is left out.
        "{{ messages[0]['content'] }}",
        # What opens the answer is not what stands before it.
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}<|system|>{% endif %}",
    ],
)
def test_a_template_that_loses_the_border_is_refused(template: str) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    with pytest.raises(ValueError, match="prompt 'p': the chat template does not keep"):
        chat.pair(tokenizer, ask(("user", "ash birch")))


def test_a_tokenizer_without_template_is_refused() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match="does not have a chat template; set"):
        chat.prompt_ids(tokenizer, make_prompts(1)[0].messages)


def text_prompt(text: str, answer: str) -> Prompt:
    return Prompt("p", ({"role": "text", "content": text},), answer, cluster="c", side="forget")


@pytest.mark.parametrize(
    ("text", "answer", "written"),
    [
        ("ash:", "oak", "ash: oak"),
        ("ash: ", "oak", "ash: oak"),
        ("ash:", "\noak", "ash:\noak"),
        ("", "oak", "oak"),
    ],
)
def test_plain_text_goes_on_without_a_template(text: str, answer: str, written: str) -> None:
    tokenizer = train_tokenizer(["ash birch oak elm?"] * 9, 300)
    pair = chat.pair(tokenizer, text_prompt(text, answer))
    asked = chat.prompt_ids(tokenizer, text_prompt(text, answer).messages)
    assert list(pair.input_ids[: pair.prompt_tokens]) == asked
    assert tokenizer.decode(asked) == text
    assert tokenizer.decode(pair.input_ids) == written + tokenizer.eos_token


def test_plain_text_begins_as_the_tokenizer_begins() -> None:
    tokenizer = train_tokenizer(["ash birch oak elm?"] * 9, 300)
    tokenizer.add_special_tokens({"bos_token": "<s>"})
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    pair = chat.pair(tokenizer, text_prompt("ash:", "oak"))
    assert tokenizer.decode(pair.input_ids) == f"<s>ash: oak{tokenizer.eos_token}"


def test_the_answer_of_a_chat_is_what_its_pair_holds() -> None:
    tokenizer = train_tokenizer(["ash birch oak elm? A B"] * 9, 300)
    prompt = ask(("user", "ash birch"))
    answer = chat.answer_ids(tokenizer, prompt)
    pair = chat.pair(tokenizer, prompt)
    assert pair.input_ids[pair.prompt_tokens :] == (*answer, tokenizer.eos_token_id)


def test_a_letter_after_a_template_is_no_new_word() -> None:
    # As Llama 2's: alone, a text gets a space in front; after a turn's mark it does not.
    tokenizer = train_tokenizer(["ash A B", "A B"] * 9, 300)
    tokenizer.backend_tokenizer.normalizer = Prepend(" ")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}:{% endfor %}"
    prompt = Prompt("p", ({"role": "user", "content": "ash"},), "A", cluster="c", side="forget")
    assert tokenizer.convert_ids_to_tokens(chat.answer_ids(tokenizer, prompt)) == ["A"]
    assert tokenizer.tokenize("A") == ["\u0120A"]
