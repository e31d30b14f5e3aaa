"""Loading benchmarks by name, and the checks of every benchmark."""

import pytest

import leakrepro as lr
from leakrepro.benchmarks import Benchmark, fictional
from leakrepro.types import Decoding, Prompt


def ask(id: str) -> Prompt:
    return Prompt(id, ({"role": "user", "content": "?"},), "!", cluster="c", side="forget")


def test_options_are_passed_to_the_benchmark() -> None:
    options = {"seed": 3, "prompt_key": "paraphrased_question", "forget_authors": 3}
    loaded = lr.load_benchmark("fictional", **options)
    assert loaded == fictional(**options)
    assert len({prompt.cluster for prompt in loaded.forget}) == 3


def test_an_unknown_benchmark_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown benchmark 'tofo'; known: fictional, .*tofu"):
        lr.load_benchmark("tofo")


def test_an_unknown_option_lists_the_known_ones() -> None:
    message = "'fictional' does not have the option sed; known: seed, prompt_key"
    with pytest.raises(ValueError, match=message):
        lr.load_benchmark("fictional", sed=3)


def test_ids_are_unique_across_both_sides() -> None:
    with pytest.raises(ValueError, match="two prompts share the id 'a'"):
        Benchmark("b", (ask("a"),), (ask("a"),), ("exact_match",), Decoding())


def test_a_benchmark_needs_a_metric() -> None:
    with pytest.raises(ValueError, match="'b' names no core metric"):
        Benchmark("b", (ask("a"),), (ask("b"),), (), Decoding())
