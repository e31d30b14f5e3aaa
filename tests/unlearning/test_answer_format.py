"""Prompts that end with a space, as TOFU's "Answer: ", are sampled and unlearned alike."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
from worlds import make_prompts, make_tokenizer

import leakrepro as lr
from leakrepro.benchmarks import Benchmark
from leakrepro.models import chat, load
from leakrepro.storage.atomic import MARKER
from leakrepro.types import Decoding
from leakrepro.unlearning import METHODS

# The tokenizer of this project's tests joins a space and a following word, as most do.
TEMPLATE = (
    "{% for m in messages %}"
    "{% if m['role'] == 'user' %}ask {{ m['content'] }}? answer. "
    "{% else %}{{ m['content'] }}<|end|>{% endif %}"
    "{% endfor %}"
)


def asking(count: int) -> tuple[lr.Prompt, ...]:
    return tuple(dataclasses.replace(p, reference="oak larch") for p in make_prompts(count))


def test_the_answer_is_tokenised_apart_from_the_space() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = TEMPLATE
    (prompt,) = asking(1)
    asked = chat.prompt_ids(tokenizer, prompt.messages)
    whole = "ask ash? answer. oak larch<|end|>"
    together = tokenizer(whole)["input_ids"]
    assert tokenizer.decode(asked) == "ask ash? answer. "
    assert together[: len(asked)] != asked  # the space joins the answer
    pair = chat.pair(tokenizer, prompt)
    assert pair.prompt_tokens == len(asked)
    assert list(pair.input_ids[: len(asked)]) == asked
    answer = list(pair.input_ids[len(asked) :])
    assert answer == tokenizer("oak larch<|end|>", add_special_tokens=False)["input_ids"]
    assert answer[:-1] == chat.answer_ids(tokenizer, prompt)
    assert tokenizer.decode(pair.input_ids) == whole


@pytest.mark.parametrize("plain", [False, True])
def test_such_prompts_are_sampled_and_unlearned(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: bool
) -> None:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "home"))
    path = Path(shutil.copytree(tiny_llama, tmp_path / "model"))
    (path / MARKER).unlink()
    tokenizer = load.load_tokenizer(path)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(path)
    prompts = asking(4)
    if plain:
        prompts = tuple(
            dataclasses.replace(
                p,
                messages=(
                    {"role": "text", "content": f"ask {p.messages[0]['content']}? answer. "},
                ),
            )
            for p in prompts
        )
    benchmark = Benchmark(
        name="answers",
        forget=prompts[:2],
        retain=prompts[2:],
        metrics=("rougeL_recall",),
        decoding=Decoding(n=2, max_new_tokens=3),
        train_forget=prompts[:2],
        train_retain=prompts[2:],
    )
    assert len(lr.sample(path, benchmark, benchmark.decoding).texts) == 2
    options = METHODS["GradDiff"].options(steps=1, batch_size=2, accumulation=1)
    done = lr.unlearn(path, benchmark, "GradDiff", options)
    assert len(lr.sample(done, benchmark, benchmark.decoding).texts) == 2
