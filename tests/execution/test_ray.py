"""Tasks on a local Ray cluster: order, errors, and workers that are lost."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import tasks
import torch
from worlds import make_prompts

from leakrepro.errors import MissingExtra
from leakrepro.execution import ray as cluster
from leakrepro.execution.backend import Backend
from leakrepro.execution.local import WorkerError
from leakrepro.sampling import sample
from leakrepro.sampling import store as stores
from leakrepro.types import Decoding

# Ray's own code.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module", autouse=True)
def _ray() -> object:
    """One cluster for all tests here; starting one takes seconds."""
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def run(function: object, arguments: list[tuple[object, ...]], workers: int = 2) -> list[object]:
    results: list[object] = [None] * len(arguments)
    finished = cluster.stream(function, arguments, workers=workers)  # type: ignore[arg-type]
    with contextlib.closing(finished):
        for index, result in finished:
            results[index] = result
    return results


def test_results_come_with_their_index() -> None:
    seen: list[tuple[int, int, int]] = []
    finished = cluster.stream(
        tasks.square,
        [(i,) for i in range(7)],
        workers=2,
        watch=lambda *what: seen.append(what),
    )
    assert sorted(finished) == [(i, i * i) for i in range(7)]
    assert sorted(seen) == [(i, 1, 1) for i in range(7)]


def test_an_error_comes_back_with_its_traceback() -> None:
    with pytest.raises(ValueError, match="three is refused") as caught:
        run(tasks.fail_on_three, [(i,) for i in range(6)])
    assert "fail_on_three" in str(caught.value.__cause__)


def test_a_lost_worker_is_replaced_and_its_task_done_again(tmp_path: Path) -> None:
    arguments = [(i, str(tmp_path)) for i in range(6)]
    assert run(tasks.die_once, arguments) == [i * i for i in range(6)]
    assert sorted(f.name for f in tmp_path.iterdir()) == ["died-1", "died-4"]


def test_a_task_that_kills_every_worker_is_an_error() -> None:
    with pytest.raises(WorkerError, match="task 1 lost 3 workers"):
        run(tasks.die_always_at_one, [(0,), (1,)])


def test_without_ray_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r'pip install "leakrepro\[ray\]"'):
        cluster.stream(tasks.square, [(1,)], workers=1)


def content(path: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in path.glob("shard-*")}


def test_sampling_on_ray_draws_the_same_bytes(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "SHARD_ROWS", 50)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    decoding = Decoding(n=20, max_new_tokens=12)
    here = sample(tiny_llama, make_prompts(10), decoding, store=tmp_path / "here")
    there = sample(
        tiny_llama,
        make_prompts(10),
        decoding,
        backend=Backend(executor="ray", workers=2),
        store=tmp_path / "there",
    )
    torch.set_num_threads(threads)
    assert there.drawn == here.drawn == 200
    assert content(tmp_path / "there") == content(tmp_path / "here")
