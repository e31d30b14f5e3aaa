"""Fixtures that several rooms share."""

from __future__ import annotations

from pathlib import Path

import pytest
from worlds import make_model


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama with a BPE tokenizer and a chat template; do not write to it."""
    return make_model(tmp_path_factory.mktemp("models") / "tiny", seed=0, end=12.0, spread=2.5)
