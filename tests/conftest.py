"""Shared fixtures."""

from __future__ import annotations

import os
from pathlib import Path

# Tests run on the CPU. `make gpu` runs those in tests/gpu and selects the device.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import pytest
from small_world import RECIPE, WORLD
from worlds import make_model

from leakrepro.benchmarks import Benchmark, fictional
from leakrepro.models.tiny import tiny_model


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama with a BPE tokenizer and a chat template; do not write to it."""
    return make_model(tmp_path_factory.mktemp("models") / "tiny", seed=0, end=12.0, spread=2.5)


@pytest.fixture(scope="session")
def small_world() -> Benchmark:
    """A fictional benchmark with two forget and two retain authors."""
    return fictional(**WORLD)


@pytest.fixture(scope="session")
def small_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shared ``LEAKREPRO_HOME``, so that every model is trained once per session."""
    return tmp_path_factory.mktemp("small-home")


@pytest.fixture(scope="session")
def small_original(small_home: Path, small_world: Benchmark) -> Path:
    """A model trained on all of ``small_world``; do not write to it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEAKREPRO_HOME", str(small_home))
        return tiny_model(small_world, "full", RECIPE)
