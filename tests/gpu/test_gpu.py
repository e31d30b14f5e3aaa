"""What runs on a GPU gives what the CPU gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from worlds import make_prompts

from leakrepro.models.chat import pair
from leakrepro.models.load import load_model, load_tokenizer
from leakrepro.sampling.engines.hf import HFSampler
from leakrepro.sampling.store import Request
from leakrepro.types import Decoding
from leakrepro.unlearning.trainer import answer_nll


def draw(model: Path, decoding: Decoding, device: str, dtype: str) -> pa.Table:
    sampler = HFSampler(model, device=device, dtype=dtype)
    return sampler.draw([Request(p, 0, decoding.n) for p in make_prompts(8)], decoding)


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(n=200, max_new_tokens=16),
        Decoding(n=200, max_new_tokens=16, temperature=0.8, top_k=20, top_p=0.9),
        Decoding(n=1, max_new_tokens=16, temperature=0),
    ],
    ids=["plain", "truncated", "greedy"],
)
def test_samples_are_those_of_the_cpu(tiny_llama: Path, decoding: Decoding) -> None:
    cpu = draw(tiny_llama, decoding, "cpu", "float32")
    gpu = draw(tiny_llama, decoding, "cuda", "float32")
    same = np.array(cpu["text"].to_pylist()) == np.array(gpu["text"].to_pylist())
    assert same.mean() > 0.99  # rounding may move a draw over an edge
    for column in ("logprob", "logq"):
        a, b = (np.array(table[column])[same] for table in (cpu, gpu))
        np.testing.assert_allclose(a, b, atol=1e-3)


def test_bfloat16_samples_finish(tiny_llama: Path) -> None:
    table = draw(tiny_llama, Decoding(n=50, max_new_tokens=64), "cuda", "auto")
    assert np.isfinite(np.array(table["logprob"])).all()
    assert "stop" in table["finish_reason"].to_pylist()


def test_likelihoods_are_those_of_the_cpu(tiny_llama: Path) -> None:
    tokenizer = load_tokenizer(tiny_llama)
    pairs = [pair(tokenizer, prompt) for prompt in make_prompts(8)]
    cpu, gpu = (
        answer_nll(load_model(tiny_llama, device, "float32"), pairs, 0, 4)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(cpu, gpu, rtol=1e-4)


def test_the_native_module_sees_the_devices() -> None:
    native = pytest.importorskip("leakrepro._native")
    if not native.built_with_cuda():
        pytest.skip("the native module was built without CUDA")
    names = [name for name, _ in native.cuda_devices()]
    assert names == [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
