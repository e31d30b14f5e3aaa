"""The fast sampler: vLLM's offline engine under the same seeds."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from leakrepro.models.chat import prompt_ids
from leakrepro.models.load import eos_ids, load_tokenizer, resolve_device
from leakrepro.sampling.engines.rows import answers_table, check_length
from leakrepro.sampling.seeds import sample_seed
from leakrepro.types import Decoding

if TYPE_CHECKING:
    import pyarrow as pa

    from leakrepro.sampling.engines.base import LogitsProcessor
    from leakrepro.sampling.store import Request
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from leakrepro.errors import require
from leakrepro.sampling.engines.base import LogitsProcessor

if TYPE_CHECKING:
    import pyarrow as pa

    from leakrepro.sampling.store import Request
from leakrepro.sampling.engines.base import Sampler
from leakrepro.sampling.engines.hf import dtype_name

# vLLM makes a child of each sample of a request; a bounded number keeps its queues short.
_SAMPLES_A_REQUEST = 64


class VLLMSampler:
    """Draws samples with vLLM.

    vLLM seeds the i-th child of a request with ``seed + i``, as ``leakrepro.sampling.seeds`` lays
    seeds out, so that requests may be cut anywhere. Its random numbers are its own: samples differ
    from those of ``HFSampler`` and follow the same distribution. The prefix cache is emptied before
    each call, so that a shard does not depend on those before it.

    Args:
        model_path: A local model, see ``leakrepro.models.load.locate``.
        options: See ``VLLMOptions``.
    """

    def __init__(self, model_path: str | Path, options: VLLMOptions) -> None:
        self._options = options
        # An engine in this process schedules the same way each time.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        from vllm import LLM

        settings: dict[str, Any] = {}
        if resolve_device().type == "cpu":
            # vLLM 0.32 on CPU: a seeded request that chunked prefill splits ends in a crash.
            settings = {"enforce_eager": True, "enable_chunked_prefill": False, "block_size": 32}
        elif options.enforce_eager:
            settings = {"enforce_eager": True}
        if options.max_num_seqs is not None:
            settings["max_num_seqs"] = options.max_num_seqs
        self._llm: Any = LLM(
            str(model_path),
            dtype=options.resolved_dtype(),
            tensor_parallel_size=options.tensor_parallel_size,
            gpu_memory_utilization=options.gpu_memory_utilization,
            max_model_len=options.max_model_len,
            enable_prefix_caching=True,
            generation_config="vllm",  # no sampling default of the model's author
            logprobs_mode="raw_logprobs",
            seed=0,
            **settings,
        )
        self.tokenizer = load_tokenizer(model_path)
        self.eos = eos_ids(model_path)

    def draw(
        self,
        requests: Sequence[Request],
        decoding: Decoding,
        logits_processors: Sequence[LogitsProcessor] = (),
        progress: Callable[[int], None] | None = None,
    ) -> pa.Table:
        """Draws the requested samples; see ``HFSampler.draw``.

        ``logq`` is known where the decoding distribution is the model's own, or greedy; elsewhere
        it is null, since vLLM tells one of the two probabilities alone.

        Raises:
            ValueError: as ``HFSampler.draw``, and for logits processors.
        """
        from vllm import TokensPrompt

        self._options.check(logits_processors)
        context = self._llm.llm_engine.model_config.max_model_len
        asked, parameters = [], []
        for request in requests:
            ids = prompt_ids(self.tokenizer, request.prompt.messages)
            check_length(request.prompt, len(ids), decoding, context)
            for start in range(request.start, request.stop, _SAMPLES_A_REQUEST):
                stop = min(start + _SAMPLES_A_REQUEST, request.stop)
                asked.append(TokensPrompt(prompt_token_ids=ids))
                parameters.append(
                    self._parameters(decoding, request.prompt.id, start, stop - start)
                )
        self._llm.reset_prefix_cache()
        answers = self._llm.generate(asked, parameters, use_tqdm=False)
        completions = [each for answer in answers for each in answer.outputs]
        rows = [(r.prompt.id, i) for r in requests for i in range(r.start, r.stop)]
        logprob = [each.cumulative_logprob for each in completions]
        plain = decoding.temperature == 1 and decoding.top_p == 1 and decoding.top_k is None
        table = answers_table(
            self.tokenizer,
            prompt_ids=[prompt_id for prompt_id, _ in rows],
            samples=[index for _, index in rows],
            tokens=[list(each.token_ids) for each in completions],
            # Of the two ends that vLLM calls "stop" only the token is no part of the text.
            stopped=[
                each.finish_reason == "stop" and not isinstance(each.stop_reason, str)
                for each in completions
            ],
            seeds=[sample_seed(decoding.seed, prompt_id, index) for prompt_id, index in rows],
            logprob=logprob,
            logq=[0.0] * len(rows) if decoding.is_greedy else logprob if plain else None,
            stop=decoding.stop,
        )
        if progress is not None:
            progress(len(rows))
        return table

    def close(self) -> None:
        """Ends the engine and frees its memory; the sampler cannot be used afterwards."""
        from vllm.distributed import cleanup_dist_env_and_memory

        self._llm.llm_engine.engine_core.shutdown()
        del self._llm
        cleanup_dist_env_and_memory()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _parameters(self, decoding: Decoding, prompt_id: str, start: int, n: int) -> Any:
        """Every field that changes what is drawn, none left to a default of vLLM or the model."""
        from vllm import SamplingParams

        return SamplingParams(
            n=n,
            seed=sample_seed(decoding.seed, prompt_id, start),
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            top_k=decoding.top_k or 0,
            min_p=0.0,
            presence_penalty=0.0,
            frequency_penalty=0.0,
            repetition_penalty=1.0,
            max_tokens=decoding.max_new_tokens,
            min_tokens=0,
            stop=list(decoding.stop) or None,
            stop_token_ids=list(self.eos),
            ignore_eos=False,
            logprobs=0,  # of the chosen token alone
            detokenize=bool(decoding.stop),  # which stop strings need
        )


@dataclass(frozen=True)
class VLLMOptions:
    """vLLM's offline engine: the fastest on GPUs. Fields are passed on under vLLM's names.

    Attributes:
        dtype: ``"auto"``: bfloat16 on CUDA, float32 on CPU.
        tensor_parallel_size: GPUs that share one model.
        gpu_memory_utilization: Share of each GPU's memory for weights and keys and values.
        max_model_len: Longest prompt and answer together; None for the model's context, whose keys
            and values may not fit a small GPU.
        max_num_seqs: Samples that are generated at the same time; None for vLLM's choice.
        enforce_eager: No CUDA graphs: starts faster, samples more slowly.
    """

    name: ClassVar = "vllm"
    version: ClassVar = 1
    packages: ClassVar = ("torch", "transformers", "vllm")

    dtype: str = "auto"
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float = 0.9
    max_model_len: int | None = None
    max_num_seqs: int | None = None
    enforce_eager: bool = False

    @property
    def gpus(self) -> int:
        """GPUs that a sampler takes where there are some."""
        return self.tensor_parallel_size

    def resolved_dtype(self) -> str:
        """Type of the weights while sampling; it is part of the store's key."""
        return dtype_name(self.dtype, "auto")

    def check(self, processors: Sequence[LogitsProcessor]) -> None:
        """Raises unless the engine is installed and can do what is asked.

        Raises:
            MissingExtra: when vLLM is not installed.
            ValueError: for logits processors, which vLLM takes for a whole engine alone.
        """
        require("vllm", 'engine "vllm"', "vllm")
        if processors:
            raise ValueError('logits processors need engine "hf": vLLM takes none for a request')

    def open(self, model: Path) -> Sampler:
        """Starts an engine."""

        return VLLMSampler(model, self)
