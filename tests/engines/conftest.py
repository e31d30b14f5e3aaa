"""Fixtures of tests that need vLLM.

The tests are skipped if vLLM is not installed, but fail with LEAKREPRO_REQUIRE_VLLM=1
(make test-vllm).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from worlds import make_model

from leakrepro.errors import installed
from leakrepro.sampling.engines.hf import HFSampler

# vLLM reads these on import. 1 GiB is enough for the key-value caches of these models.
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")


@pytest.fixture(autouse=True, scope="session")
def _vllm() -> None:
    if installed("vllm"):
        return
    if os.environ.get("LEAKREPRO_REQUIRE_VLLM") == "1":
        pytest.fail("vLLM is not installed")
    pytest.skip("vLLM is not installed; run `make test-vllm`")


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with a head size that vLLM supports on CPU; do not write to it."""
    folder = tmp_path_factory.mktemp("vllm-models") / "llama"
    return make_model(folder, seed=0, hidden=128, end=22.0, spread=2.5)


@pytest.fixture(scope="session")
def reference(llama: Path) -> Iterator[HFSampler]:
    sampler = HFSampler(llama)
    yield sampler
    sampler.close()
