"""Draws samples from language models and keeps them."""

from leakrepro.sampling.api import Samples, read_samples, sample
from leakrepro.sampling.hf import HFSampler, LogitsProcessor
from leakrepro.sampling.store import SampleStore

__all__ = ["HFSampler", "LogitsProcessor", "SampleStore", "Samples", "read_samples", "sample"]
