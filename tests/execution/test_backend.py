"""The one way to say where work runs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

import leakrepro as lr
from leakrepro.execution.backend import Backend, takes_backend
from leakrepro.metrics import CosineSimilarity, EntailmentScore


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"executor": "dask"}, "unknown executor 'dask'; known are local, ray"),
        ({"workers": 0}, "workers must be at least 1, not 0"),
        ({"threads": 0}, "threads must be at least 1 or None, not 0"),
    ],
)
def test_a_wrong_value_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Backend(**options)


def test_it_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Backend().workers = 2  # type: ignore[misc]


def test_threads_are_shared_among_local_workers() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        assert Backend(workers=2).threads_per_worker() == 2
        assert Backend(workers=8).threads_per_worker() == 1
        assert Backend(workers=2, threads=3).threads_per_worker() == 3
        assert Backend(executor="ray", workers=2).threads_per_worker() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    "function", [lr.sample, lr.evaluate, lr.rule, lr.load_metric, lr.load_metrics]
)
@pytest.mark.parametrize("old", [{"engine": "vllm"}, {"executor": "ray"}, {"workers": 2}])
def test_the_old_keywords_name_the_new_one(function: Any, old: dict[str, Any]) -> None:
    ((name, value),) = old.items()
    message = rf"{function.__name__}\(\) takes backend=leakrepro.Backend\({name}={value!r}\)"
    with pytest.raises(TypeError, match=message):
        function("model", "benchmark", **old)


@pytest.mark.parametrize("metric", [EntailmentScore, CosineSimilarity])
def test_so_do_the_metrics_with_a_model(metric: Any) -> None:
    with pytest.raises(TypeError, match=rf"{metric.__name__}\(\) takes backend="):
        metric("model", workers=2)


def test_a_decorated_function_keeps_its_signature() -> None:
    @takes_backend
    def double(x: int, *, backend: Backend | None = None) -> int:
        """Twice x."""
        return 2 * x

    assert double(3, backend=Backend()) == 6
    assert double.__doc__ == "Twice x."
