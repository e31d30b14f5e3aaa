"""The vLLM sampler: vLLM's offline engine with this package's seeds."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from leakrepro.errors import require
from leakrepro.models.chat import asked_ids
from leakrepro.models.files import refuse_unread_weights
from leakrepro.models.load import eos_ids, load_tokenizer, resolve_device
from leakrepro.models.reading import reading
from leakrepro.sampling.engines.base import LogitsProcessor, Sampler
from leakrepro.sampling.engines.hf import dtype_name
from leakrepro.sampling.engines.rows import answers_table, check_length
from leakrepro.sampling.seeds import sample_seed
from leakrepro.types import Decoding

if TYPE_CHECKING:
    import pyarrow as pa

    from leakrepro.sampling.store import Request

# vLLM creates one child request per sample. The limit keeps its queues short.
_SAMPLES_PER_REQUEST = 64


class VLLMSampler:
    """Draws samples with vLLM.

    vLLM seeds the i-th child of a request with ``seed + i``. This matches the consecutive seeds of
    ``leakrepro.sampling.seeds``, so a request can be split at any sample. vLLM uses its own random
    number generator: its samples differ from the samples of ``HFSampler``, but follow the same
    distribution. Each call empties the prefix cache, so a shard does not depend on earlier shards.

    Args:
        model_path: Folder of a local model; see ``leakrepro.models.load.locate``.
        options: The engine's options.
    """

    def __init__(self, model_path: str | Path, options: VLLMOptions) -> None:
        self._options = options
        # An engine in this process has a deterministic schedule.
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        from vllm import LLM

        settings: dict[str, Any] = {}
        if resolve_device().type == "cpu":
            # vLLM 0.32 crashes on CPU if chunked prefill splits a seeded request.
            settings = {"enforce_eager": True, "enable_chunked_prefill": False, "block_size": 32}
        elif options.enforce_eager:
            settings = {"enforce_eager": True}
        if options.max_num_seqs is not None:
            settings["max_num_seqs"] = options.max_num_seqs
        self.tokenizer = load_tokenizer(model_path)
        self.eos = eos_ids(model_path)
        with reading(model_path, "model"):
            self._llm: Any = LLM(
                str(model_path),
                trust_remote_code=False,
                dtype=options.resolved_dtype(),
                tensor_parallel_size=options.tensor_parallel_size,
                gpu_memory_utilization=options.gpu_memory_utilization,
                max_model_len=options.max_model_len,
                enable_prefix_caching=True,
                generation_config="vllm",  # ignore the model's sampling defaults
                logprobs_mode="raw_logprobs",
                seed=0,
                **settings,
            )

    def draw(
        self,
        requests: Sequence[Request],
        decoding: Decoding,
        logits_processors: Sequence[LogitsProcessor] = (),
        progress: Callable[[int], None] | None = None,
    ) -> pa.Table:
        """Draws the requested samples; see ``HFSampler.draw``.

        ``logq`` is available if decoding is greedy or does not change the model's distribution.
        Otherwise it is null, because vLLM reports only one of the two probabilities.

        Args:
            requests: The samples to draw.
            decoding: The decoding settings.
            logits_processors: Must be empty.
            progress: Called once, with the number of samples.

        Returns:
            A table with the columns of ``leakrepro.sampling.store.SCHEMA``, one row per sample.

        Raises:
            ValueError: If a prompt and its answer exceed the model's context, if a log-probability
                is not finite, or if there are logits processors.
        """
        from vllm import TokensPrompt

        self._options.check(logits_processors)
        context = self._llm.llm_engine.model_config.max_model_len
        asked, parameters = [], []
        for request in requests:
            ids = asked_ids(self.tokenizer, request.prompt)
            check_length(request.prompt, len(ids), decoding, context)
            for start in range(request.start, request.stop, _SAMPLES_PER_REQUEST):
                stop = min(start + _SAMPLES_PER_REQUEST, request.stop)
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
            # vLLM reports "stop" for end tokens and for stop strings. A stop string is part of the
            # text, an end token is not.
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
        """Shuts the engine down and frees its memory. The sampler cannot be used afterwards."""
        from vllm.distributed import cleanup_dist_env_and_memory

        self._llm.llm_engine.engine_core.shutdown()
        del self._llm
        cleanup_dist_env_and_memory()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _parameters(self, decoding: Decoding, prompt_id: str, start: int, n: int) -> Any:
        """Sets all fields that affect the samples, so no default of vLLM or the model applies."""
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
            logprobs=0,  # only of the chosen token
            detokenize=bool(decoding.stop),  # stop strings need the text
        )


@dataclass(frozen=True)
class VLLMOptions:
    """Options of vLLM's offline engine, the fastest on GPUs. The names are vLLM's.

    Attributes:
        dtype: Type of the weights. ``"auto"`` is bfloat16 on CUDA and float32 on CPU.
        tensor_parallel_size: Number of GPUs that share one model.
        gpu_memory_utilization: Share of each GPU's memory for weights and the key-value cache,
            from 0 to 1.
        max_model_len: Maximum number of tokens of prompt and answer together. None uses the
            model's context, whose key-value cache may not fit on a small GPU.
        max_num_seqs: Maximum number of samples generated in parallel. None uses vLLM's default.
        enforce_eager: Whether to disable CUDA graphs. The engine then starts faster and samples
            more slowly.
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
        """Number of GPUs that a sampler uses on a machine with GPUs."""
        return self.tensor_parallel_size

    def resolved_dtype(self) -> str:
        """Returns the type of the weights while sampling. It is part of the store's key."""
        return dtype_name(self.dtype, "auto")

    def check(self, processors: Sequence[LogitsProcessor]) -> None:
        """Checks that vLLM is installed and that there are no logits processors.

        Raises:
            MissingExtra: If vLLM is not installed.
            ValueError: If there are logits processors. vLLM accepts them only per engine.
        """
        require("vllm", 'engine "vllm"', "vllm")
        if processors:
            raise ValueError('logits processors need engine "hf": vLLM cannot set them per request')

    def open(self, model: Path) -> Sampler:
        """Starts an engine with the model.

        Raises:
            ValueError: If the folder contains weights that only one of vLLM and transformers reads.
        """
        refuse_unread_weights(model)
        return VLLMSampler(model, self)
