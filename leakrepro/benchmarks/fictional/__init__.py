"""Benchmarks generated from a seed, without a download: fictional authors, news and chemistry."""

from leakrepro.benchmarks.fictional.authors import fictional
from leakrepro.benchmarks.fictional.chemistry import fictional_chemistry
from leakrepro.benchmarks.fictional.news import fictional_news

__all__ = ["fictional", "fictional_chemistry", "fictional_news"]
