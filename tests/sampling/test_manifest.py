"""Manifests: every damage is found, older ones are read by path only, answers are never stale."""

from __future__ import annotations

import copy
import dataclasses
import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from worlds import make_prompts

from leakrepro.errors import StoreError
from leakrepro.evaluation.scores import score_samples
from leakrepro.metrics import load_metric
from leakrepro.models.load import load_tokenizer
from leakrepro.sampling import read_samples, sample
from leakrepro.sampling.manifest import SCHEMA_VERSION, Identity, prompts_hash, read_manifest
from leakrepro.sampling.store import SCHEMA, SampleStore, open_store
from leakrepro.stats.adaptive import AdaptivePlan
from leakrepro.storage.documents import CHECKSUM, dump_document
from leakrepro.storage.keys import digest
from leakrepro.types import Decoding, Prompt

DECODING = Decoding(n=2, max_new_tokens=4)
PROMPTS = make_prompts(3)


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "home"))


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """The manifest of a store that needs no samples to be opened."""
    prompts = (
        *make_prompts(2),
        Prompt("ä/3", ({"role": "text", "content": "a"},), "b", cluster="c", side="retain"),
    )
    identity = Identity(
        weights="w" * 32,
        tokenizer="t" * 32,
        prompts=prompts_hash(prompts),
        decoding=Decoding(n=4, max_new_tokens=8, stop=("x",), temperature=0.7),
        engine="hf",
        engine_version=1,
        dtype="float32",
        eos=(1, 2),
        rendered="r" * 32,
    )
    store = SampleStore(tmp_path / "s", identity, prompts, {"torch": "2", "engine": {"rows": None}})
    with store.writing():
        return store.path / "manifest.json"


def refused_or_equal(file: Path) -> str | None:
    """The message of the refusal; None for a manifest that is read."""
    message = None
    try:
        read_manifest(file.parent)
    except StoreError as error:
        message = str(error)
    assert message is None or str(file) in message
    return message


def test_every_flipped_bit_is_found(manifest: Path) -> None:
    expected, whole = read_manifest(manifest.parent), manifest.read_bytes()
    rng = random.Random(20261201)
    found = 0
    for place in range(len(whole)):
        bit = 1 << rng.randrange(8)
        manifest.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
        if refused_or_equal(manifest) is None:
            assert read_manifest(manifest.parent) == expected, f"byte {place}, bit {bit}"
        else:
            found += 1
    assert found > 0.8 * len(whole)  # the others are white space


@pytest.mark.parametrize("place", ["reference", "facts", "made_with", "cluster"])
def test_an_edited_value_is_found(manifest: Path, place: str) -> None:
    content = json.loads(manifest.read_bytes())
    if place == "made_with":
        content["made_with"]["torch"] = "3"
    else:
        content["prompts"][0][place] = ["other"] if place == "facts" else "other"
    manifest.write_text(json.dumps(content), encoding="utf-8")
    assert "is damaged (its checksum does not match" in str(refused_or_equal(manifest))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 90,
        b"null",
        b"[]",
        b"3",
        b'"text"',
        b"{}",
        b"\xff\xfe{}",
        b'{"asked": "\xe4"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"asked": NaN}',
        b'{"asked": -Infinity}',
        b'{"asked": ' + b"9" * 5000 + b"}",
        b'{"asked": {"schema": 3}}',
        b'{"asked": {"schema": [3]}}',
        b'{"asked": {"schema": {}}}',
        b'{"asked": [], "key": "", "made_with": {}, "prompts": []}',
        b"\xef\xbb\xbf{}",
    ],
)
def test_other_content_is_damaged(manifest: Path, content: bytes) -> None:
    manifest.write_bytes(content)
    assert "is damaged" in str(refused_or_equal(manifest))


WRONG = [
    None, True, -1, 2**70, 1.5, 1e308, "", "\ud800", "text", [], [[]], [None], {}, {"a": 1}, ["a"]
]  # fmt: skip


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items: Any = ()
    if isinstance(content, dict):
        items = content.items()
    elif isinstance(content, list):
        items = enumerate(content)
    for name, value in items:
        yield from places(value, (*path, name))


def changed(content: Any, path: tuple[Any, ...], change: Callable[[Any, Any], None]) -> Any:
    content = copy.deepcopy(content)
    inner = content
    for name in path[:-1]:
        inner = inner[name]
    change(inner, path[-1])
    return content


@pytest.mark.parametrize("schema", [2, 3])
def test_wrong_types_are_found_even_with_right_hashes(manifest: Path, schema: int) -> None:
    """Each value is replaced by each wrong one, removed and doubled; then all hashes are redone."""
    content = json.loads(manifest.read_bytes())
    del content[CHECKSUM]
    if schema == 2:
        del content["asked"]["rendered"]
        content["asked"]["schema"] = 2
        content["asked"]["prompts"] = digest([[p["id"], p["messages"]] for p in content["prompts"]])
        content["key"] = digest(content["asked"])
        manifest.write_text(json.dumps(content), encoding="utf-8")
    assert refused_or_equal(manifest) is None

    def put(value: Any) -> Callable[[Any, Any], None]:
        return lambda inner, name: inner.__setitem__(name, copy.deepcopy(value))

    def add(inner: Any, name: Any) -> None:
        inner.append(1) if isinstance(inner, list) else inner.__setitem__("more", 1)

    changes = [*map(put, WRONG), lambda inner, name: inner.__delitem__(name), add]
    refused = 0
    for path in places(content):
        if not path or path[0] == "made_with":
            continue  # facts of any form
        for change in changes:
            new = changed(content, path, change)
            asked = new.get("asked")
            if path[0] == "asked" and isinstance(asked, dict):
                new["key"] = digest(asked)
            if schema == 3:
                new[CHECKSUM] = digest(new)
            manifest.write_text(json.dumps(new), encoding="utf-8")
            message = refused_or_equal(manifest)
            if message is None:
                # A value of the right type: the store is then another one, or equal.
                store = open_store(manifest.parent)
                assert store.identity.key == new["key"]
                assert store.plan
            refused += message is not None
    assert refused > 700


@pytest.mark.parametrize("name", ["weights", "engine", "dtype", "decoding", "eos", "prompts"])
def test_a_missing_field_is_named(manifest: Path, name: str) -> None:
    content = json.loads(manifest.read_bytes())
    del content[CHECKSUM], content["asked"][name]
    content["key"] = digest(content["asked"])
    manifest.write_bytes(dump_document(content))
    assert f"asked.{name}: Field required" in str(refused_or_equal(manifest))


def test_a_manifest_without_its_checksum_is_damaged(manifest: Path) -> None:
    content = json.loads(manifest.read_bytes())
    del content[CHECKSUM]
    manifest.write_text(json.dumps(content), encoding="utf-8")
    assert "its checksum is missing" in str(refused_or_equal(manifest))


@pytest.fixture
def older(tiny_llama: Path, tmp_path: Path) -> Path:
    """A store of schema version 2, as version 2 wrote it, with the samples of a present one."""
    drawn = sample(tiny_llama, PROMPTS, DECODING, store=tmp_path / "new")
    (present,) = drawn.stores
    asked = present.identity.to_json()
    del asked["rendered"]
    asked |= {
        "schema": 2,
        "prompts": digest([[p.id, [dict(m) for m in p.messages]] for p in PROMPTS]),
    }
    key = digest(asked)
    folder = tmp_path / "home" / "samples" / key[:16]
    folder.mkdir(parents=True)
    content = {
        "key": key,
        "asked": asked,
        "made_with": {"torch": "2"},
        "prompts": [dataclasses.asdict(prompt) for prompt in PROMPTS],
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    table: pa.Table = drawn.table.cast(SCHEMA).replace_schema_metadata(
        {"leakrepro.key": key, "leakrepro.prompts": asked["prompts"], "leakrepro.shard": "0"}
    )
    pq.write_table(table, folder / "shard-00000.parquet", write_page_checksum=True)
    shutil.rmtree(tmp_path / "new")
    return folder


def test_an_older_store_is_read_by_path_and_never_by_key(older: Path, tiny_llama: Path) -> None:
    store = open_store(older)
    assert (store.identity.schema, store.identity.key[:16]) == (2, older.name)
    assert store.prompts == PROMPTS
    samples = read_samples(older)
    again = sample(tiny_llama, PROMPTS, DECODING)
    assert again.drawn == 6
    assert again.path != older
    assert samples.texts == again.texts
    scores = score_samples(samples, load_metric("rougeL_recall"))
    assert scores.values.tolist() == (
        score_samples(again, load_metric("rougeL_recall")).values.tolist()
    )
    with pytest.raises(StoreError, match=r"belongs to other samples \(differs in: .*schema\)"):
        sample(tiny_llama, PROMPTS, DECODING, store=older)


def test_an_unknown_schema_is_named(manifest: Path) -> None:
    content = json.loads(manifest.read_bytes())
    del content[CHECKSUM]
    content["asked"]["schema"] = SCHEMA_VERSION + 1
    manifest.write_bytes(dump_document(content))
    assert "has schema 4; this version reads 2 and 3" in str(refused_or_equal(manifest))


def test_a_corrected_answer_is_never_scored_by_the_old_one(
    tiny_llama: Path, tmp_path: Path
) -> None:
    first = sample(tiny_llama, PROMPTS, DECODING)
    corrected = tuple(dataclasses.replace(p, reference="corrected", facts=("c",)) for p in PROMPTS)
    second = sample(tiny_llama, corrected, DECODING)
    assert second.texts == first.texts
    assert second.path != first.path
    assert [p.reference for p in read_samples(second.path).prompts] == ["corrected"] * 3
    named = sample(tiny_llama, PROMPTS, DECODING, store=tmp_path / "named")
    with pytest.raises(StoreError, match=r"belongs to other samples \(differs in: prompts\)"):
        sample(tiny_llama, corrected, DECODING, store=named.path)


def test_the_rendered_prompts_are_part_of_the_key(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from leakrepro.models import chat

    first = sample(tiny_llama, PROMPTS, DECODING)
    monkeypatch.setattr(chat, "DATE", "11 Apr 2025")  # this template does not write it
    assert sample(tiny_llama, PROMPTS, DECODING).path == first.path
    real = chat._render
    monkeypatch.setattr(chat, "_render", lambda *args, **options: "a" + real(*args, **options))
    second = sample(tiny_llama, PROMPTS, DECODING)
    assert second.path != first.path
    one, other = (each.stores[0].identity for each in (first, second))
    assert dataclasses.replace(other, rendered=one.rendered) == one


def test_a_template_with_chance_is_refused(tiny_llama: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "model"))
    (folder / "complete.json").unlink()
    tokenizer = load_tokenizer(folder)
    tokenizer.chat_template = "{{ range(99999) | random }}{{ messages[0]['content'] }}"
    tokenizer.save_pretrained(folder)
    with pytest.raises(ValueError, match=r"prompt 'p.*' is rendered differently each time"):
        sample(folder, PROMPTS, DECODING)


def test_flipped_bits_of_a_plan_are_found(tiny_llama: Path, tmp_path: Path) -> None:
    plan = AdaptivePlan(hits=1, cap=4)
    metric = load_metric("rougeL_recall/stem")
    prompts = tuple(dataclasses.replace(p, reference="") for p in PROMPTS)
    drawn = sample(
        tiny_llama, prompts, DECODING, plan=plan, metric=_Never(metric.id), store=tmp_path / "p"
    )
    file = drawn.path / "plan.json"
    whole, rng = file.read_bytes(), random.Random(7)
    found = 0
    for place in rng.sample(range(len(whole)), 250):
        file.write_bytes(
            whole[:place] + bytes([whole[place] ^ 1 << rng.randrange(8)]) + whole[place + 1 :]
        )
        message, read = "", drawn
        try:
            read = read_samples(drawn.path)
        except StoreError as error:
            message = str(error)
        found += "plan.json" in message
        assert "plan.json" in message or not message
        assert (read.plan, read.prompts, read.counts) == (plan, prompts, drawn.counts)
    assert found > 150


@dataclasses.dataclass(frozen=True)
class _Never:
    """A metric without leaks."""

    id: str
    higher_is_better: bool = True

    def score(self, prompts: Any, candidates: Any) -> Any:
        from leakrepro.types import Scores

        return Scores.from_rows([0.0] * len(texts) for texts in candidates)
