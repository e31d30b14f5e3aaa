"""Tests that need a GPU: skipped without one, unless LEAKREPRO_REQUIRE_GPU=1 (``make gpu``)."""

from __future__ import annotations

import os

import pytest
import torch


@pytest.fixture(autouse=True)
def _gpu() -> None:
    if torch.cuda.is_available():
        return
    if os.environ.get("LEAKREPRO_REQUIRE_GPU") == "1":
        pytest.fail("torch sees no CUDA device")
    pytest.skip("torch sees no CUDA device; run `make gpu` where there is one")
