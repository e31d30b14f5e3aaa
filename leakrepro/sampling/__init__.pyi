from .draw import sample
from .engines.base import LogitsProcessor
from .engines.hf import HFOptions, HFSampler
from .engines.vllm import VLLMOptions
from .generations import (
    export_generations,
    generation_scores,
    import_generations,
)
from .samples import Samples, read_samples
from .store import SampleStore

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
