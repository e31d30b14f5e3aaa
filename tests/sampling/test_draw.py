"""``sample``: samples are drawn once and then read; killed runs resume."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from worlds import Ban, make_model, make_prompts

from leakrepro.benchmarks.base import Benchmark
from leakrepro.errors import StoreError
from leakrepro.execution.backend import Backend
from leakrepro.models.load import fingerprint
from leakrepro.sampling import SampleStore, read_samples, sample
from leakrepro.sampling import store as stores
from leakrepro.types import Decoding

DECODING = Decoding(n=20, max_new_tokens=12)
PROMPTS = make_prompts(10)


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(stores, "SHARD_ROWS", 50)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_samples_are_drawn_once_and_read_afterwards(
    tiny_llama: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = sample(tiny_llama, PROMPTS, DECODING)
    assert first.drawn == 200
    assert "200/200" in capfd.readouterr().err
    assert first.path.parent == tmp_path / "home" / "samples"
    assert first.weights_fingerprint == fingerprint(tiny_llama)
    assert [len(texts) for texts in first.texts] == [20] * 10
    reasons = first.table["finish_reason"].to_pylist()
    assert first.finished == reasons.count("stop") / 200
    assert 0 < first.finished < 1
    assert first.table["prompt_id"].to_pylist() == [p.id for p in PROMPTS for _ in range(20)]
    second = sample(str(tiny_llama), PROMPTS, DECODING)
    assert second.drawn == 0
    assert second.texts == first.texts
    assert capfd.readouterr().err == ""
    stored = read_samples(first.path)
    assert stored.table.equals(first.table)
    assert (stored.prompts, stored.decoding, stored.drawn) == (PROMPTS, DECODING, 0)


def test_a_benchmark_is_sampled_on_its_forget_prompts(tiny_llama: Path) -> None:
    benchmark = Benchmark(
        name="b", forget=PROMPTS[:3], retain=PROMPTS[3:], metrics=("m",), decoding=DECODING
    )
    samples = sample(tiny_llama, benchmark, DECODING.greedy())
    assert samples.prompts == PROMPTS[:3]
    assert [len(texts) for texts in samples.texts] == [1, 1, 1]


def test_every_input_that_changes_the_samples_changes_the_folder(
    tiny_llama: Path, tmp_path: Path
) -> None:
    other = make_model(tmp_path / "other", seed=1, end=12.0, spread=2.5)
    same = make_model(tmp_path / "same", seed=0, end=12.0, spread=2.5)
    calls = [
        sample(tiny_llama, PROMPTS[:2], DECODING),
        sample(tiny_llama, PROMPTS[:2], DECODING.replace(seed=1)),
        sample(tiny_llama, PROMPTS[1:3], DECODING),
        sample(tiny_llama, PROMPTS[:2], DECODING, logits_processors=[Ban(1)]),
        sample(other, PROMPTS[:2], DECODING),
    ]
    assert len({samples.path for samples in calls}) == 5
    assert len({str(samples.texts) for samples in calls}) == 5
    assert sample(same, PROMPTS[:2], DECODING).drawn == 0


def test_a_given_folder_accepts_only_the_same_samples(tiny_llama: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine"
    assert sample(tiny_llama, PROMPTS, DECODING, store=path).path == path
    assert sample(tiny_llama, PROMPTS, DECODING, store=str(path)).drawn == 0
    with pytest.raises(StoreError, match=r"belongs to other samples .*decoding"):
        sample(tiny_llama, PROMPTS, DECODING.replace(seed=9), store=path)


def test_two_workers_draw_the_same_samples_as_one(tiny_llama: Path, tmp_path: Path) -> None:
    one = sample(tiny_llama, PROMPTS, DECODING, store=tmp_path / "one")
    two = sample(tiny_llama, PROMPTS, DECODING, backend=Backend(workers=2), store=tmp_path / "two")
    assert two.drawn == one.drawn == 200
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_an_interrupted_store_resumes(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = SampleStore.write

    def interrupted(store: SampleStore, index: int, table: object) -> None:
        if index == 2:
            raise KeyboardInterrupt
        write(store, index, table)

    with monkeypatch.context() as patch:
        patch.setattr(SampleStore, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sample(tiny_llama, PROMPTS, DECODING, store=tmp_path / "s")
    with pytest.raises(StoreError, match="unfinished"):
        read_samples(tmp_path / "s")
    assert sample(tiny_llama, PROMPTS, DECODING, store=tmp_path / "s").drawn == 100
    sample(tiny_llama, PROMPTS, DECODING, store=tmp_path / "undisturbed")
    assert content(tmp_path / "s") == content(tmp_path / "undisturbed")


KILLER = """
import itertools, json, os, pathlib, random, signal, sys, time, warnings
warnings.simplefilter("error")
tests, model, folder, rounds = sys.argv[1:]
sys.path.insert(0, tests)
import torch
torch.set_num_threads(1)
from leakrepro.storage import atomic
from leakrepro.sampling import sample, store
from leakrepro.types import Decoding
from worlds import make_prompts

store.SHARD_ROWS = 50
sync, write_bytes = atomic.sync, pathlib.Path.write_bytes

def attempt(path, at_sync, at_write):
    syncs, writes = itertools.count(1), itertools.count(1)
    def deadly_sync(target):
        if next(syncs) == at_sync:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(target)
    def deadly_write(target, data):
        if next(writes) == at_write:
            write_bytes(target, data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return write_bytes(target, data)
    atomic.sync, pathlib.Path.write_bytes = deadly_sync, deadly_write
    sample(model, make_prompts(10), Decoding(n=20, max_new_tokens=12), store=path)

def fork(path, after=None, at_sync=None, at_write=None):
    child = os.fork()
    if child == 0:
        try:
            attempt(path, at_sync, at_write)
        except BaseException as error:
            print(error, file=sys.stderr)
            os._exit(1)
        os._exit(0)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)

start = time.monotonic()
codes = [fork(folder + "/undisturbed")]
whole = time.monotonic() - start
random.seed(0)
for i in range(int(rounds)):
    path = f"{folder}/killed-{i}"
    # Kills while the manifest or a shard is written, before and after each rename, and at random
    # times.
    codes += [fork(path, at_write=call) for call in (1, 2)]
    codes += [fork(path, at_sync=call) for call in (1, 2, 3, 4)[i::2]]
    codes += [fork(path, after=random.uniform(0, whole)) for _ in range(2)]
    codes.append(fork(path))
print(json.dumps(codes))
"""


def test_a_run_killed_at_any_moment_resumes_to_the_same_bytes(
    tiny_llama: Path, tmp_path: Path
) -> None:
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", KILLER, tests, tiny_llama, tmp_path, "2"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout)
    assert codes.count(-9) >= 8, done.stderr
    assert set(codes) <= {0, -9}, done.stderr
    for i in range(2):
        assert content(tmp_path / f"killed-{i}") == content(tmp_path / "undisturbed")
    assert len(content(tmp_path / "undisturbed")) == 5


def test_an_unknown_engine_is_rejected_with_the_known_names(tiny_llama: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown engine 'vlm'; known are hf, vllm"):
        sample(tiny_llama, PROMPTS, DECODING, backend=Backend("vlm"))


def test_invalid_input_does_not_create_a_store(tiny_llama: Path, tmp_path: Path) -> None:
    store = tmp_path / "s"
    with pytest.raises(FileNotFoundError, match="no such folder"):
        sample(tmp_path / "nowhere", PROMPTS, DECODING, store=store)
    with pytest.raises(ValueError, match="no prompts"):
        sample(tiny_llama, [], DECODING, store=store)
    with pytest.raises(ValueError, match="share the id"):
        sample(tiny_llama, PROMPTS[:1] * 2, DECODING, store=store)
    with pytest.raises(ValueError, match="needs an `id`"):
        sample(tiny_llama, PROMPTS, DECODING, logits_processors=[lambda i, s: s], store=store)  # type: ignore[list-item]
    assert not store.exists()
