"""Every family of causal models is sampled as full passes say, with or without the cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel
from worlds import make_prompts, make_tokenizer

import leakrepro as lr
from leakrepro.errors import ModelError
from leakrepro.models.chat import prompt_ids
from leakrepro.models.load import load_model, load_tokenizer
from leakrepro.sampling.engines import prefixes
from leakrepro.sampling.engines.hf import HFSampler
from leakrepro.sampling.store import Request
from leakrepro.types import Decoding

TOKENIZER = make_tokenizer()
SMALL: dict[str, Any] = {
    "vocab_size": 160,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "pad_token_id": TOKENIZER.pad_token_id,
    "bos_token_id": None,
    "eos_token_id": TOKENIZER.eos_token_id,
    # Sizes under the names of several families; a family uses those that it has.
    **dict.fromkeys(("hidden_size", "d_model", "n_embd"), 32),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads"), 4),
    **dict.fromkeys(("intermediate_size", "ffn_dim"), 48),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "head_dim": 8,
    "n_positions": 128,
}
MAMBA: dict[str, Any] = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8}
LINEAR: dict[str, Any] = {
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
    "layer_types": ["linear_attention", "full_attention"],
}
# Family -> what differs from SMALL. The cache holds the whole state of these.
CACHED: dict[str, dict[str, Any]] = {
    **{
        name: {}
        for name in (
            *("llama", "bloom", "falcon", "gemma", "gpt2", "gpt_bigcode", "gpt_neox", "granite"),
            *("mixtral", "mpt", "nemotron", "olmo2", "olmoe", "opt", "persimmon", "phi", "phi3"),
            *("phimoe", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "smollm3", "stablelm"),
            *("starcoder2", "glm4", "cohere", "biogpt", "xglm", "diffllama"),
        )
    },
    **{
        name: {"sliding_window": 6}
        for name in ("mistral", "gemma2", "gemma3_text", "gpt_oss", "cohere2", "olmo3", "ministral")
    },
    "modernbert-decoder": {"bos_token_id": 1},
    "llama4_text": {"attention_chunk_size": 8},
    "gptj": {"rotary_dim": 4},
    "codegen": {"rotary_dim": 4},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 6},
}
# Their state is outside the cache, or the cache cannot branch.
RECOMPUTED: dict[str, dict[str, Any]] = {
    **{name: {} for name in ("rwkv", "recurrent_gemma", "xlstm", "minimax")},
    **{name: {"state_size": 8, "time_step_rank": 4} for name in ("mamba", "falcon_mamba")},
    "mamba2": {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1, "chunk_size": 8},
    "jamba": {"mamba_d_state": 8, "attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "falcon_h1": {**MAMBA, "mamba_n_heads": 4, "mamba_d_ssm": 32, "mamba_chunk_size": 8},
    "bamba": {**MAMBA, "attn_layer_indices": [1], "mamba_chunk_size": 8},
    "granitemoehybrid": {**MAMBA, "layer_types": ["mamba", "attention"], "mamba_chunk_size": 8},
    "qwen3_next": LINEAR,
    "qwen3_5_text": LINEAR,
}
FAMILIES = {**CACHED, **RECOMPUTED}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(family: str, **more: Any) -> PreTrainedModel:
    like = AutoConfig.for_model(family)
    names = set(vars(like)) | set(like.attribute_map)
    sizes = {name: value for name, value in SMALL.items() if name in names}
    config = AutoConfig.for_model(family, **{**sizes, **FAMILIES.get(family, {}), **more})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config).eval()
    assert sum(p.numel() for p in model.parameters()) < 2e6
    return model


@torch.inference_mode()
def greedy(model: PreTrainedModel, ids: list[int], steps: int) -> list[int]:
    """Reference: full passes over one unpadded text, without a cache."""
    answer: list[int] = []
    while len(answer) < steps and (not answer or answer[-1] != TOKENIZER.eos_token_id):
        logits = model(torch.tensor([ids + answer]), use_cache=False).logits
        answer.append(int(logits[0, -1].argmax()))
    return answer


def texts(table: pa.Table) -> list[str]:
    found: list[str] = table["text"].to_pylist()
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_answers_equal_full_passes(
    family: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(family)
    sampler = HFSampler.around(model, TOKENIZER)
    assert sampler.cached is (family in CACHED)
    said = capsys.readouterr().err
    assert ("reads the whole text again" in said) is (family in RECOMPUTED)
    prompts, steps = make_prompts(4), 7
    decoding = Decoding(temperature=0, n=1, max_new_tokens=steps)
    table = sampler.draw([Request(p, 0, 1) for p in prompts], decoding)
    lengths = {len(prompt_ids(TOKENIZER, p.messages)) for p in prompts}
    assert len(lengths) > 1  # so that prompts are padded
    expected = []
    for prompt in prompts:
        answer = greedy(model, prompt_ids(TOKENIZER, prompt.messages), steps)
        expected.append(TOKENIZER.decode(answer, skip_special_tokens=True))
    assert texts(table) == expected


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["llama", "rwkv"])
def test_branches_of_samples_equal_full_passes(family: str) -> None:
    """The log-probabilities of branching samples, teacher-forced."""
    model = build(family)
    decoding = Decoding(n=12, max_new_tokens=6, seed=3)
    sampler = HFSampler.around(model, TOKENIZER)
    seen: list[list[int]] = []
    decode = TOKENIZER.batch_decode
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            TOKENIZER, "batch_decode", lambda ids, **more: seen.extend(ids) or decode(ids, **more)
        )
        table = sampler.draw([Request(p, 0, 12) for p in make_prompts(3)], decoding)
    asked = {p.id: prompt_ids(TOKENIZER, p.messages) for p in make_prompts(3)}
    rows = zip(table["prompt_id"].to_pylist(), seen, table.to_pylist(), strict=True)
    for name, ids, row in rows:
        ids = ids + [TOKENIZER.eos_token_id] * (row["finish_reason"] == "stop")
        with torch.inference_mode():
            logits = model(torch.tensor([asked[name] + ids])).logits[0].double().log_softmax(-1)
        start = len(asked[name]) - 1
        expected = sum(float(logits[start + i, token]) for i, token in enumerate(ids))
        assert row["logprob"] == pytest.approx(expected, abs=1e-3)


def test_the_check_runs_once_per_model_and_keeps_random_numbers(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = load_model(tiny_llama), load_tokenizer(tiny_llama)
    before = torch.get_rng_state()
    assert HFSampler.around(model, tokenizer).cached
    assert torch.equal(before, torch.get_rng_state())

    def fail(*arguments: object) -> None:
        raise AssertionError("checked again")

    monkeypatch.setattr(prefixes, "_steps", fail)
    assert HFSampler.around(model, tokenizer).cached


class Forgetful(torch.nn.Module):
    """Wraps an attention layer so that it ignores the cache, without a word."""

    def __init__(self, inner: torch.nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *arguments: Any, **options: Any) -> Any:
        options["past_key_values"] = None
        return self.inner(*arguments, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_check_sees_a_layer_that_ignores_the_cache(dtype: torch.dtype) -> None:
    right = build("llama").to(dtype)
    assert prefixes.cache_works(right, "right")
    wrong = build("llama").to(dtype)
    layer: Any = wrong.model.layers[1]
    layer.self_attn = Forgetful(layer.self_attn)
    assert not prefixes.cache_works(wrong, "wrong")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["bert", "roberta", "electra"])
def test_a_model_that_reads_ahead_is_refused_by_name(family: str) -> None:
    with pytest.raises(ModelError, match=r"LM.* is not a causal language model"):
        HFSampler.around(build(family), TOKENIZER)


@pytest.mark.filterwarnings("ignore")
def test_such_a_model_is_sampled_from_its_folder_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "home"))
    path = tmp_path / "rwkv"
    build("rwkv").save_pretrained(path)
    TOKENIZER.save_pretrained(path)
    prompts = make_prompts(3)
    found = lr.sample(path, prompts, Decoding(temperature=0, n=1, max_new_tokens=5))
    model = load_model(path)
    for prompt, (text,) in zip(prompts, found.texts, strict=True):
        answer = greedy(model, prompt_ids(TOKENIZER, prompt.messages), 5)
        assert text == TOKENIZER.decode(answer, skip_special_tokens=True)


def test_prompt_ids_beyond_the_embedding_are_refused_by_prompt() -> None:
    model = build("llama", vocab_size=20, pad_token_id=0, eos_token_id=1)
    sampler = HFSampler.around(model, TOKENIZER)
    with pytest.raises(ValueError, match=r"prompt 'p0' has the token id .* for 20 tokens"):
        sampler.draw([Request(make_prompts(1)[0], 0, 1)], Decoding(n=1, max_new_tokens=2))
