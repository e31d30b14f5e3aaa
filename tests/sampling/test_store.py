"""The sample store with synthetic samples: invalid content, crashes and full disks."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import make_prompts

from leakrepro.errors import StoreError
from leakrepro.sampling import store as stores
from leakrepro.sampling.store import (
    SCHEMA,
    Identity,
    OtherVersions,
    Request,
    SampleStore,
    open_store,
    plan_shards,
    prompts_hash,
)
from leakrepro.storage import atomic
from leakrepro.types import Decoding, Prompt

PROMPTS = make_prompts(5)
DECODING = Decoding(n=4, max_new_tokens=8)


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "SHARD_ROWS", 6)


def make_store(
    path: Path,
    *,
    prompts: tuple[Prompt, ...] = PROMPTS,
    weights: str = "w",
    version: str = "1",
    decoding: Decoding = DECODING,
) -> SampleStore:
    identity = Identity(
        weights=weights,
        tokenizer="t",
        prompts=prompts_hash(prompts),
        decoding=decoding,
        engine="hf",
        engine_version=1,
        dtype="float32",
        eos=(1, 2),
    )
    return SampleStore(path, identity, prompts, {"torch": version, "threads": 1})


def make_table(requests: Sequence[Request]) -> pa.Table:
    rows = [(r.prompt.id, i) for r in requests for i in range(r.start, r.stop)]
    return pa.Table.from_pylist(
        [
            {
                "prompt_id": prompt,
                "sample": i,
                "text": f"answer {i} of {prompt}: ä\0 漢" * 40,
                "n_tokens": 3,
                "finish_reason": "stop",
                "seed": 2**63 - 1 - i,
                "logprob": -0.1 * i,
                "logq": -0.2 * i,
            }
            for prompt, i in rows
        ],
        schema=SCHEMA,
    )


def fill(store: SampleStore) -> None:
    with store.writing():
        for index in store.missing():
            store.write(index, make_table(store.plan[index]))


def content(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir()}


@given(st.integers(1, 40), st.integers(1, 40))
def test_plan_contains_every_sample_once_in_order(count: int, n: int) -> None:
    prompts = make_prompts(count)
    plan = plan_shards(prompts, n)
    rows = [(r.prompt.id, i) for requests in plan for r in requests for i in range(r.start, r.stop)]
    assert rows == [(prompt.id, i) for prompt in prompts for i in range(n)]
    assert all(
        sum(r.stop - r.start for r in requests) == stores.SHARD_ROWS for requests in plan[:-1]
    )


def test_written_samples_are_read_back(tmp_path: Path) -> None:
    store = make_store(tmp_path / "deep" / "store")
    assert not store.is_complete()
    fill(store)
    assert store.is_complete()
    table = store.read()
    assert table.equals(make_table([Request(prompt, 0, 4) for prompt in PROMPTS]))
    assert sorted(content(store.path)) == [
        "manifest.json",
        *(f"shard-0000{i}.parquet" for i in range(4)),
    ]
    again = open_store(store.path)
    assert (again.prompts, again.identity) == (PROMPTS, store.identity)
    assert again.read().equals(table)


def test_equal_stores_have_equal_bytes(tmp_path: Path) -> None:
    fill(make_store(tmp_path / "a"))
    other = make_store(tmp_path / "b")
    for index in (2, 0, 3, 1):
        with other.writing():
            other.write(index, make_table(other.plan[index]))
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_key_depends_on_all_content() -> None:
    base = make_store(Path("x")).identity
    assert base.key == make_store(Path("y"), version="2").identity.key
    keys = {
        base.key,
        make_store(Path("x"), weights="v").identity.key,
        make_store(Path("x"), decoding=DECODING.replace(seed=1)).identity.key,
        make_store(Path("x"), prompts=PROMPTS[:4]).identity.key,
        make_store(Path("x"), prompts=PROMPTS[::-1]).identity.key,
    }
    assert len(keys) == 5
    # A corrected answer makes another store: with the first one, its old answer would be scored.
    changes: dict[str, object] = {
        "id": "other",
        "messages": ({"role": "user", "content": "other"},),
        "reference": "other",
        "cluster": "other",
        "side": "retain",
        "facts": ("other",),
        "choices": ("other",),
    }
    assert changes.keys() == {field.name for field in dataclasses.fields(Prompt)}
    for name, value in changes.items():
        changed = (*PROMPTS[:2], dataclasses.replace(PROMPTS[2], **{name: value}), *PROMPTS[3:])
        assert prompts_hash(changed) != prompts_hash(PROMPTS), name


def test_a_truncated_shard_is_rejected_by_name(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s")
    fill(store)
    shard = store.shard_path(2)
    whole = shard.read_bytes()
    for cut in (0, 3, 100, len(whole) // 2, len(whole) - 1):
        shard.write_bytes(whole[:cut])
        with pytest.raises(StoreError, match=r"shard-00002.parquet is damaged.*delete it"):
            store.read()
    shard.unlink()
    with pytest.raises(StoreError, match=r"shard-00002.parquet is missing"):
        store.read()
    fill(store)
    assert shard.read_bytes() == whole


def test_a_flipped_bit_never_changes_what_is_read(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", prompts=PROMPTS[:1])
    fill(store)
    expected = store.read()
    shard = store.shard_path(0)
    whole = shard.read_bytes()
    rejected = []
    for place in range(0, len(whole), 7):
        bit = 1 << place % 8
        shard.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        try:
            assert store.read().equals(expected), f"byte {place}"
        except StoreError as error:
            rejected.append(str(error))
    assert len(rejected) > 200
    assert all("shard-00000.parquet" in message for message in rejected)


def test_a_shard_of_another_store_is_rejected_by_name(tmp_path: Path) -> None:
    store, other = make_store(tmp_path / "a"), make_store(tmp_path / "b", weights="other")
    fill(store)
    fill(other)
    shutil.copy(other.shard_path(1), store.shard_path(1))
    with pytest.raises(StoreError, match=r"shard-00001.parquet is not a shard.*key"):
        store.read()
    shutil.copy(store.shard_path(2), store.shard_path(1))
    with pytest.raises(StoreError, match=r"shard-00001.parquet is not a shard.*shard differs"):
        store.read()
    pq.write_table(make_table(store.plan[1]), store.shard_path(1))
    with pytest.raises(StoreError, match=r"shard-00001.parquet is not a shard"):
        store.read()


def test_unplanned_rows_are_rejected(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s")
    fill(store)
    store.shard_path(0).unlink()
    with store.writing():
        store.write(0, make_table(store.plan[0]).slice(1))
    with pytest.raises(StoreError, match=r"shard-00000.parquet does not contain the planned rows"):
        store.read()


def test_a_manifest_of_other_samples_is_rejected(tmp_path: Path) -> None:
    fill(make_store(tmp_path / "s"))
    other = make_store(tmp_path / "s", weights="other")
    with pytest.raises(StoreError, match=r"manifest.json belongs to other samples .*weights"):
        other.read()
    with pytest.raises(StoreError, match="other samples"), other.writing():
        pass
    assert make_store(tmp_path / "s").read().num_rows == 20


@pytest.mark.parametrize("damage", ["cut", "list", "edited", "schema", "prompts"])
def test_a_damaged_manifest_is_rejected(tmp_path: Path, damage: str) -> None:
    store = make_store(tmp_path / "s")
    fill(store)
    manifest = store.path / "manifest.json"
    text = manifest.read_text(encoding="utf-8")
    changed = json.loads(text)
    if damage == "edited":
        changed["asked"]["decoding"]["n"] = 5
    elif damage == "schema":
        changed["asked"]["schema"] = 99
    elif damage == "prompts":
        changed["prompts"][0]["messages"][0]["content"] = "something else"
    new = {"cut": text[:-40], "list": "[]"}.get(damage, json.dumps(changed))
    manifest.write_text(new, encoding="utf-8")
    with pytest.raises(StoreError, match=r"manifest.json"):
        open_store(store.path)


def test_a_folder_with_other_files_is_rejected_and_unchanged(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work", encoding="utf-8")
    store = make_store(tmp_path)
    with pytest.raises(StoreError, match=r"thesis.tex does not belong"), store.writing():
        pass
    assert sorted(content(tmp_path)) == ["thesis.tex"]
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(StoreError, match=r"is not a sample store"):
            open_store(path)
        with pytest.raises(StoreError, match=r"is not a sample store"):
            make_store(path).read()


def test_shards_without_a_manifest_are_rejected(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s")
    fill(store)
    (store.path / "manifest.json").unlink()
    with pytest.raises(StoreError, match="contains shards but no manifest"), store.writing():
        pass


def test_leftovers_of_a_killed_writer_are_ignored_and_removed(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s")
    store.path.mkdir()
    leftover = store.path / ".shard-00001.parquet.123.tmp"
    leftover.write_bytes(b"half")
    fill(store)
    assert not leftover.exists()
    leftover.write_bytes(b"half")
    assert store.read().num_rows == 20


def test_continuing_with_other_versions_warns(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s")
    with store.writing():
        store.write(0, make_table(store.plan[0]))
    newer = make_store(tmp_path / "s", version="2")
    with pytest.warns(OtherVersions, match="torch 1 -> 2"):
        fill(newer)
    newer.read()
    make_store(tmp_path / "s", version="3").read()


def test_a_full_disk_error_keeps_finished_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = make_store(tmp_path / "a")
    fill(undisturbed)
    store = make_store(tmp_path / "b")
    calls = 0

    def full(path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == 7:  # two for the manifest, two per shard: the temporary file of the third shard
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "sync", full)
        with pytest.raises(StoreError, match=r"No space left.*2 of 4 shards are safe") as caught:
            fill(store)
    assert str(store.path) in str(caught.value)
    assert sorted(content(store.path)) == [
        "manifest.json",
        "shard-00000.parquet",
        "shard-00001.parquet",
    ]
    fill(store)
    assert content(store.path) == content(undisturbed.path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", disk], check=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="the mount command is missing")
def test_a_full_disk(small_disk: Path) -> None:
    store = make_store(small_disk / "s")
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 48_000)
    with pytest.raises(StoreError, match=r"No space left.*of 4 shards are safe"):
        fill(store)
    before = content(store.path)
    assert len(before) < 5
    assert not [name for name in before if name.endswith(".tmp")]
    filler.unlink()
    fill(store)
    assert store.read().num_rows == 20
    assert before.items() <= content(store.path).items()


def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError, match=r"cannot write to .*file.*0 of 4 shards"):
        fill(make_store(tmp_path / "file" / "store"))


def test_a_second_writer_waits_for_the_first(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s")
    store.path.mkdir()
    descriptor = os.open(store.path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    writer = threading.Thread(target=fill, args=(store,))
    writer.start()
    writer.join(0.3)
    assert writer.is_alive()
    assert not store.is_complete()
    os.close(descriptor)
    writer.join(20)
    assert store.is_complete()
