"""Draws samples from language models and keeps them."""

from leakrepro.sampling.api import Samples, read_samples, sample
from leakrepro.sampling.engines import HFOptions, VLLMOptions
from leakrepro.sampling.generations import (
    export_generations,
    generation_scores,
    import_generations,
)
from leakrepro.sampling.hf import HFSampler, LogitsProcessor
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
