"""Draws samples from language models and keeps them."""

from leakrepro.sampling.draw import sample
from leakrepro.sampling.engines.base import LogitsProcessor
from leakrepro.sampling.engines.hf import HFOptions, HFSampler
from leakrepro.sampling.engines.vllm import VLLMOptions
from leakrepro.sampling.generations import (
    export_generations,
    generation_scores,
    import_generations,
)
from leakrepro.sampling.samples import Samples, read_samples
from leakrepro.sampling.store import SampleStore

__all__ = [
    "HFOptions",
    "HFSampler",
    "LogitsProcessor",
    "SampleStore",
    "Samples",
    "VLLMOptions",
    "export_generations",
    "generation_scores",
    "import_generations",
    "read_samples",
    "sample",
]
