"""The engines that draw samples, each with its options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from leakrepro.extras import require
from leakrepro.models.load import resolve_device, resolve_dtype
from leakrepro.sampling.hf import SAMPLER_VERSION, HFSampler, LogitsProcessor
from leakrepro.types import Decoding

if TYPE_CHECKING:
    import pyarrow as pa

    from leakrepro.sampling.store import Request


class Sampler(Protocol):
    """Draws samples of one model that it holds."""

    def draw(
        self,
        requests: Sequence[Request],
        decoding: Decoding,
        logits_processors: Sequence[LogitsProcessor] = (),
        progress: Callable[[int], None] | None = None,
    ) -> pa.Table:
        """One row of ``leakrepro.sampling.store.SCHEMA`` for each sample, in order."""
        ...

    def close(self) -> None:
        """Frees the model's memory."""
        ...


@dataclass(frozen=True)
class HFOptions:
    """The reference engine: transformers' models under this package's own sampling loop.

    Attributes:
        device: ``"auto"``: CUDA where there is one.
        dtype: ``"auto"``: bfloat16 on CUDA, float32 on CPU.
        max_rows: Samples at the same time at most; None for what fits.
    """

    name: ClassVar = "hf"
    version: ClassVar = SAMPLER_VERSION
    packages: ClassVar = ("torch", "transformers")

    device: str = "auto"
    dtype: str = "auto"
    max_rows: int | None = None

    @property
    def gpus(self) -> int:
        """GPUs that a sampler takes where there are some."""
        return 1

    def resolved_dtype(self) -> str:
        """Type of the weights while sampling; it is part of the store's key."""
        return _dtype_name(self.dtype, self.device)

    def check(self, processors: Sequence[LogitsProcessor]) -> None:
        """Raises unless the engine is installed and can do what is asked."""

    def open(self, model: Path) -> Sampler:
        """Loads a model."""
        return HFSampler(model, device=self.device, dtype=self.dtype, max_rows=self.max_rows)


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
        return _dtype_name(self.dtype, "auto")

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
        from leakrepro.sampling.vllm import VLLMSampler

        return VLLMSampler(model, self)


Engine = HFOptions | VLLMOptions
ENGINES: dict[str, type[HFOptions] | type[VLLMOptions]] = {
    kind.name: kind for kind in (HFOptions, VLLMOptions)
}


def find_engine(engine: str | Engine) -> Engine:
    """An engine's options as they are, or its defaults by name.

    Raises:
        ValueError: for an unknown name; the message lists the known ones.
    """
    if not isinstance(engine, str):
        return engine
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}; known are {', '.join(ENGINES)}")
    return ENGINES[engine]()


def _dtype_name(dtype: str, device: str) -> str:
    return str(resolve_dtype(dtype, resolve_device(device))).removeprefix("torch.")
