"""Keys: the same content has the same key in any process, other content another."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from dataclasses import dataclass

import pytest

from leakrepro.storage.keys import digest, fields, pairs_digest
from leakrepro.types import Decoding, Prompt
from leakrepro.unlearning import NPOOptions


@dataclass
class Two:
    a: int
    b: tuple[float, ...]


def ask(question: str = "q", answer: str = "a", id: str = "i") -> Prompt:
    messages = ({"role": "user", "content": question},)
    return Prompt(id, messages, answer, cluster="c", side="forget")


def test_a_key_is_the_same_in_every_process() -> None:
    given = "{'b': [1, 2.5], 'a': {'y', 'x'} and 1}"
    code = f"from leakrepro.storage.keys import digest; print(digest({given}))"
    command = [sys.executable, "-c", code]
    printed = {
        subprocess.run(
            command, env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert printed == {digest({"a": 1, "b": [1, 2.5]})}


def test_the_key_is_blake2b_of_canonical_json() -> None:
    # Computed once with `printf '{"a":1,"b":[1,2.5]}' | b2sum -l 128`: a key must stay.
    assert digest({"b": [1, 2.5], "a": 1}) == "f63c12c39388440609705c6796137811"


def test_order_of_names_does_not_matter_and_order_of_items_does() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest([1, 2]) != digest([2, 1])


def test_dataclasses_are_their_fields_at_any_depth() -> None:
    assert digest(Two(1, (0.5,))) == digest({"a": 1, "b": [0.5]})
    assert digest([Two(1, ())]) == digest([{"a": 1, "b": []}])
    one = Decoding()
    assert digest(one) == digest(Decoding())
    for field in dataclasses.fields(Decoding):
        other = {"top_p": 0.5, "top_k": 7, "stop": ("end",)}.get(field.name, 2)
        assert digest(one) != digest(one.replace(**{field.name: other})), field.name


def test_a_field_that_came_later_keeps_old_keys() -> None:
    before = {
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": None,
        "max_new_tokens": 200,
        "n": 200,
        "seed": 0,
    }
    assert digest(Decoding()) == digest(before)
    assert digest(Decoding(stop=("end",))) == digest(before | {"stop": ["end"]})


@pytest.mark.parametrize(
    "values", [(1, "1"), (1, 1.5), (None, "null"), (True, "true"), ([], {}), ("é", "e\u0301")]
)
def test_other_content_has_another_key(values: tuple[object, object]) -> None:
    assert digest(values[0]) != digest(values[1])


def test_lone_surrogates_have_a_key() -> None:
    assert digest("\ud800") != digest("\ud801")


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", Two, [digest]])
def test_what_has_no_stable_text_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="cannot be part of a key"):
        digest(value)


def test_equal_options_have_the_same_key() -> None:
    assert digest(Decoding(temperature=1, top_p=1)) == digest(Decoding())
    # Stores make a mapping of it first.
    assert digest(fields(Decoding(temperature=1, top_p=1))) == digest(Decoding())
    assert digest([NPOOptions(warmup_epochs=0, beta=1)]) == digest(
        [NPOOptions(warmup_epochs=0.0, beta=1.0)]
    )


def test_fields_is_for_instances_alone() -> None:
    assert fields(Two(1, (2.0,))) == {"a": 1, "b": (2.0,)}
    with pytest.raises(TypeError, match="type cannot be part of a key"):
        fields(Two)


def test_a_training_set_is_its_questions_and_answers_in_order() -> None:
    first, second = ask("q1", "a1"), ask("q2", "a2")
    key = pairs_digest([first, second])
    assert key == pairs_digest(iter((first, second)))
    assert key == pairs_digest([ask("q1", "a1", id="other"), second])
    for others in (
        [second, first],
        [first],
        [first, second, second],
        [ask("q1", "a2"), second],
        [ask("q", "a1"), second],
        [ask("q1", "a1q2"), ask("", "a2")],
    ):
        assert pairs_digest(others) != key
    two_turns = ({"role": "user", "content": "q1"}, {"role": "assistant", "content": "x"})
    assert pairs_digest([dataclasses.replace(first, messages=two_turns), second]) != key
