"""leakrepro: leak@k of unlearned language models, exact, fast and resumable."""

__version__ = "0.1.0"
