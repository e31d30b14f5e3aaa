"""Benchmarks by name, and what every benchmark must be."""

import pytest

import leakrepro as lr
from leakrepro.benchmarks import Benchmark, fictional
from leakrepro.types import Decoding, Prompt


def ask(id: str) -> Prompt:
    return Prompt(id, ({"role": "user", "content": "?"},), "!", cluster="c", side="forget")


def test_options_reach_the_benchmark() -> None:
    options = {"seed": 3, "prompt_key": "paraphrased_question", "forget_authors": 3}
    loaded = lr.load_benchmark("fictional", **options)
    assert loaded == fictional(**options)
    assert len({prompt.cluster for prompt in loaded.forget}) == 3


def test_an_unknown_benchmark_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"unknown benchmark 'tofo'; known: fictional, .*tofu"):
        lr.load_benchmark("tofo")


def test_an_unknown_option_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"'fictional' has no option sed; known: seed, prompt_key"):
        lr.load_benchmark("fictional", sed=3)


def test_prompts_have_different_ids_on_both_sides() -> None:
    with pytest.raises(ValueError, match="two prompts share the id 'a'"):
        Benchmark("b", (ask("a"),), (ask("a"),), ("exact_match",), Decoding())


def test_a_benchmark_names_a_metric() -> None:
    with pytest.raises(ValueError, match="'b' names no core metric"):
        Benchmark("b", (ask("a"),), (ask("b"),), (), Decoding())
