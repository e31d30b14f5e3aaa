"""Benchmarks made from a seed, with no download: authors, news and substances that do not exist."""

from leakrepro.benchmarks.fictional.authors import fictional
from leakrepro.benchmarks.fictional.chemistry import fictional_chemistry
from leakrepro.benchmarks.fictional.news import fictional_news

__all__ = ["fictional", "fictional_chemistry", "fictional_news"]
