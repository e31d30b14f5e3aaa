"""The memory estimate against what a training step really holds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from worlds import make_model

from leakrepro.models import load
from leakrepro.models.memory import estimate_memory

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("memory") / "model"
    return make_model(path, seed=0, hidden=128, layers=4)


def test_weights_gradients_and_moments_are_counted(model: Path) -> None:
    estimate = estimate_memory(model, CPU, rows=1, length=1)
    loaded = load.load_model(model, device="cpu", dtype="float32")
    count = sum(p.numel() for p in loaded.parameters())
    assert estimate.weights == estimate.gradients == 4 * count
    assert estimate.optimizer == 8 * count
    assert estimate.reference == 0
    assert estimate_memory(model, CPU, rows=1, length=1, reference=True).reference == 4 * count
    adapters = estimate_memory(model, CPU, rows=1, length=1, lora_rank=2)
    assert adapters.weights == 4 * count
    assert adapters.gradients < estimate.gradients / 4


@pytest.mark.parametrize(("rows", "length"), [(8, 40), (32, 160)])
def test_activations_are_of_the_right_size(model: Path, rows: int, length: int) -> None:
    """Within a factor of two of the tensors that autograd saves and the logits' gradient."""
    loaded = load.load_model(model, device="cpu", dtype="float32")
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {p.untyped_storage().data_ptr() for p in loaded.parameters()}
    ids = torch.randint(5, 100, (rows, length))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = loaded(input_ids=ids).logits
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten())
    held = sum(size for where, size in saved.items() if where not in weights)
    held += logits.nbytes
    estimate = estimate_memory(model, CPU, rows=rows, length=length)
    assert held / 2 < estimate.activations < 2 * held


def test_it_reads_the_configuration_alone(model: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((model / "config.json").read_bytes())
    whole = estimate_memory(model, CPU, rows=2, length=9)
    alone = estimate_memory(tmp_path, CPU, rows=2, length=9)
    assert dataclasses.replace(alone, available=whole.available) == whole
    assert str(whole).startswith(f"about {whole.total / 2**30:.2f} GiB (weights 0.00")
