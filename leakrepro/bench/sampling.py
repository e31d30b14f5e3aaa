"""Tokens per CPU second of this package's samplers and of transformers' ``generate``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig

from leakrepro.benchmarks import Benchmark, load_benchmark
from leakrepro.errors import installed
from leakrepro.models.chat import asked_ids, pad_id
from leakrepro.profiles.models import make_models
from leakrepro.profiles.schema import load_profile
from leakrepro.sampling import HFSampler, VLLMOptions
from leakrepro.sampling.store import Request
from leakrepro.types import Decoding, Prompt

_COPIES = 32  # copies of one prompt per batch in the authors' code

Draw = Callable[[], int]  # samples and returns the number of tokens


def bench_sampling(
    *,
    rounds: int,
    prompts: int = 8,
    model: str | Path = "Original",
    benchmark: Benchmark | None = None,
) -> dict[str, Any]:
    """Time all samplers in each round, after one warm-up run.

    CPU seconds count all threads; where there is a GPU, seconds of the clock are what counts.

    Args:
        rounds: How often each runs.
        prompts: Prompts of one run, 200 samples each (``generate``: 192 or 200).
        model: A model's folder, or the name of one of the embedded world, trained if need be.
        benchmark: Gives the prompts and the decoding; None for the embedded world.

    Returns:
        ``rows``: contestant, tokens of a run, tokens per CPU second and per second in each round.
    """
    profile = load_profile("embedded")
    if benchmark is None:
        benchmark = load_benchmark(profile.benchmark, **profile.benchmark_options)
    path = model if isinstance(model, Path) else make_models(profile, benchmark, [model])[model]
    chosen = benchmark.forget[:: max(1, len(benchmark.forget) // prompts)][:prompts]
    names: list[str] = []
    found: list[list[tuple[int, float, float]]] = []
    everyone = list(_contestants(path, chosen, benchmark.decoding))
    for name, draw in everyone:
        names.append(name)
        found.append([])
        draw()
    for turn in range(rounds):
        for i in range(len(everyone)):
            place = (i + turn) % len(everyone)
            cpu, clock = time.process_time(), time.perf_counter()
            tokens = everyone[place][1]()
            found[place].append((tokens, time.process_time() - cpu, time.perf_counter() - clock))
    return {
        "model": path.name,
        "device": "cuda" if torch.cuda.is_available() else "cpu",
        "prompts": len(chosen),
        "rows": [
            {
                "name": name,
                "tokens": int(np.median([tokens for tokens, *_ in runs])),
                "per_cpu_second": [tokens / cpu for tokens, cpu, _ in runs],
                "per_second": [tokens / clock for tokens, _, clock in runs],
            }
            for name, runs in zip(names, found, strict=True)
        ],
    }


def _contestants(
    path: Path, prompts: Sequence[Prompt], decoding: Decoding
) -> Iterator[tuple[str, Draw]]:
    sampler = HFSampler(path)
    requests = [Request(prompt, 0, 200) for prompt in prompts]

    def ours() -> int:
        return int(np.sum(sampler.draw(requests, decoding)["n_tokens"].to_numpy()))

    yield "leakrepro, hf", ours
    if installed("vllm"):
        fast = VLLMOptions().open(path)

        def vllm() -> int:
            return int(np.sum(fast.draw(requests, decoding)["n_tokens"].to_numpy()))

        yield "leakrepro, vllm", vllm
    for copies in (_COPIES, 200):
        yield f"generate, {copies} copies", _generate(sampler, prompts, decoding, copies)


def _generate(
    sampler: HFSampler, prompts: Sequence[Prompt], decoding: Decoding, copies: int
) -> Draw:
    config = GenerationConfig(
        do_sample=True,
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        top_k=0,
        max_new_tokens=decoding.max_new_tokens,
        eos_token_id=list(sampler.eos),
        pad_token_id=pad_id(sampler.tokenizer),
    )
    questions = [asked_ids(sampler.tokenizer, prompt) for prompt in prompts]
    ends = torch.tensor(sampler.eos)
    model: Any = sampler.model

    def run() -> int:
        tokens = 0
        for question in questions:
            batch = torch.tensor([question] * copies, device=sampler.device)
            for _ in range(200 // copies):
                with torch.inference_mode():
                    out = model.generate(
                        input_ids=batch,
                        attention_mask=torch.ones_like(batch),
                        generation_config=config,
                    )
                answers = out[:, len(question) :].cpu()
                # Tokens up to and including the first end token.
                ended = torch.isin(answers, ends).int().cumsum(-1)
                tokens += int((ended - torch.isin(answers, ends).int() == 0).sum())
        return tokens

    return run
