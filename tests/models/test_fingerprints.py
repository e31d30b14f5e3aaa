"""Fingerprints cover what is loaded, and a model that changes while it is loaded is refused."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from worlds import make_model

import leakrepro
from leakrepro.models import fingerprints
from leakrepro.models.files import refuse_unread_weights, tokenizer_files
from leakrepro.models.fingerprints import fingerprint, tokenizer_fingerprint, tree_fingerprint
from leakrepro.models.load import load_model, locate

WEIGHT = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture
def folder(tiny_llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_llama, tmp_path / "model"))


def shift(file: Path) -> None:
    """Changes one weight, and nothing else, in a weight file of either format."""
    if file.suffix == ".bin":
        weights = torch.load(file)
        weights[WEIGHT][0, 0] += 1
        torch.save(weights, file)
    else:
        weights = load_file(file)
        weights[WEIGHT][0, 0] += 1
        save_file(weights, file, metadata={"format": "pt"})


def split(folder: Path, index: str = "model.safetensors.index.json") -> None:
    """Writes the weights as two shards and an index, beside the file with all of them."""
    weights = load_file(folder / "model.safetensors")
    names = {name: "b.safetensors" if name == WEIGHT else "a.safetensors" for name in weights}
    for shard in ("a.safetensors", "b.safetensors"):
        part = {name: weight for name, weight in weights.items() if names[name] == shard}
        save_file(part, folder / shard, metadata={"format": "pt"})
    content = {"metadata": {"total_size": 1}, "weight_map": names}
    (folder / index).write_text(json.dumps(content), encoding="utf-8")


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")


def named_in_config(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["transformers_weights"] = "other.safetensors"
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    shutil.copy(folder / "model.safetensors", folder / "other.safetensors")


def layout_one_file_beside_shards(folder: Path) -> None:
    split(folder)


def layout_shards_beside_pickle(folder: Path) -> None:
    split(folder)
    pickled(folder)
    (folder / "model.safetensors").unlink()


def layout_pickle_beside_other_safetensors(folder: Path) -> None:
    pickled(folder)
    (folder / "model.safetensors").rename(folder / "adapter.safetensors")


def layout_named_in_config(folder: Path) -> None:
    named_in_config(folder)


LAYOUTS = [value for name, value in globals().items() if name.startswith("layout_")]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_exactly_the_weights_that_are_loaded_are_hashed(
    folder: Path, layout: Callable[[Path], None]
) -> None:
    layout(folder)
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")])
    assert len(files) > 1
    before = load_model(folder, "cpu").state_dict()[WEIGHT].clone()
    key = fingerprint(folder)
    seen = set()
    for file in files:
        if file.name == "a.safetensors":
            continue  # it does not have this weight
        kept = file.read_bytes()
        shift(file)
        loaded = not torch.equal(load_model(folder, "cpu").state_dict()[WEIGHT], before)
        assert (fingerprint(folder) != key) == loaded, file.name
        seen.add(loaded)
        file.write_bytes(kept)
    assert True in seen
    assert fingerprint(folder) == key


def test_an_index_is_part_of_the_fingerprint(folder: Path) -> None:
    split(folder)
    (folder / "model.safetensors").unlink()
    key = fingerprint(folder)
    assert key == fingerprint(Path(shutil.copytree(folder, folder.with_name("elsewhere"))))
    shutil.copy(folder / "b.safetensors", folder / "c.safetensors")
    assert fingerprint(folder) == key  # the file is not read
    index = folder / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("b.safetensors", "c.safetensors"), encoding="utf-8")
    shift(folder / "c.safetensors")
    assert fingerprint(folder) != key


@pytest.mark.parametrize("function", [fingerprint, load_model])
@pytest.mark.parametrize("place", ["../b.safetensors", "sub/../../b.safetensors", "absolute"])
def test_weights_outside_the_folder_are_refused(
    folder: Path, function: Callable[[Path], Any], place: str
) -> None:
    split(folder)
    (folder / "model.safetensors").unlink()
    (folder / "sub").mkdir()
    (folder / "b.safetensors").rename(folder.parent / "b.safetensors")
    place = str(folder.parent / "b.safetensors") if place == "absolute" else place
    index = folder / "model.safetensors.index.json"
    index.write_text(index.read_text().replace("b.safetensors", place), encoding="utf-8")
    with pytest.raises(ValueError, match=r"index.json names .* outside the folder: copy the file"):
        function(folder)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"weight_map": []}', '{"weight_map": {"a": 1}}', "[" * 99999]
)
def test_a_damaged_index_is_named(folder: Path, content: str) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(content, encoding="utf-8")
    for function in (fingerprint, load_model):
        with pytest.raises(ValueError, match=r"model.safetensors.index.json is damaged"):
            function(folder)


def test_a_missing_shard_is_named(folder: Path) -> None:
    split(folder)
    (folder / "model.safetensors").unlink()
    (folder / "b.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"b.safetensors is missing, which .*index.json"):
        fingerprint(folder)


@pytest.mark.parametrize("has_config", [True, False])
def test_an_adapter_is_refused_with_the_way_to_merge_it(folder: Path, has_config: bool) -> None:
    if not has_config:
        (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text('{"lora_alpha": 4}', encoding="utf-8")
    for function in (locate, fingerprint, load_model, tree_fingerprint, leakrepro.models.locate):
        with pytest.raises(ValueError, match=r"contains an adapter.*merge_and_unload\(\)"):
            function(folder)


def test_a_restored_time_does_not_hide_a_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "_SETTLED_NS", 0)  # cached at once
    file = folder / "model.safetensors"
    key, stat = fingerprint(folder), file.stat()
    with file.open("r+b") as stream:  # the same inode
        stream.seek(-1, os.SEEK_END)
        last = stream.read(1)[0]
        stream.seek(-1, os.SEEK_END)
        stream.write(bytes([last ^ 1]))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    now = file.stat()
    assert (now.st_size, now.st_mtime_ns, now.st_ino) == (
        stat.st_size,
        stat.st_mtime_ns,
        stat.st_ino,
    )
    assert fingerprint(folder) != key


def test_a_file_of_this_moment_is_read_each_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two writes in one tick of the file system's clock have the same times.
    reads: list[str] = []
    real = fingerprints.file_digest
    monkeypatch.setattr(
        fingerprints, "file_digest", lambda file: reads.append(file.name) or real(file)
    )
    (folder / "config.json").write_bytes((folder / "config.json").read_bytes())
    fingerprint(folder)
    fingerprint(folder)
    assert reads.count("config.json") == 2
    monkeypatch.setattr(fingerprints, "_SETTLED_NS", 0)
    reads.clear()
    fingerprint(folder)
    fingerprint(folder)
    assert reads.count("config.json") <= 1


def test_all_tokenizer_files_of_transformers_are_hashed(tmp_path: Path) -> None:
    names = {"tokenizer_config.json", "tokenizer.json", "chat_template.jinja", "tekken.json"}
    for source in Path(transformers.__file__).parent.glob("models/*/tokenization_*.py"):
        text = source.read_text(encoding="utf-8")
        for block in re.findall(r"^VOCAB_FILES_NAMES = \{(.*?)\}", text, re.DOTALL | re.MULTILINE):
            names |= set(re.findall(r":\s*\"([^\"]+)\"", block))
    assert len(names) > 20
    for name in names:
        (tmp_path / name).write_text(name, encoding="utf-8")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool.jinja").write_text("x", encoding="utf-8")
    assert {str(file.relative_to(tmp_path)) for file in tokenizer_files(tmp_path)} == {
        *names,
        "additional_chat_templates/tool.jinja",
    }


def test_an_additional_template_is_part_of_the_tokenizer(folder: Path) -> None:
    before = tokenizer_fingerprint(folder)
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool.jinja").write_text("x", encoding="utf-8")
    assert tokenizer_fingerprint(folder) != before


@pytest.mark.parametrize(
    ("names", "refused"),
    [
        (["model.safetensors"], False),
        (["model.safetensors", "pytorch_model.bin"], False),
        (["model.safetensors", "other.safetensors"], True),
        (["pytorch_model.bin", "training_args.bin"], False),
        (["pytorch_model.bin", "other.safetensors"], True),
        (["pytorch_model.bin", "other.bin"], True),
        (["a.safetensors", "b.safetensors", "model.safetensors.index.json"], False),
        (
            ["a.safetensors", "b.safetensors", "c.safetensors", "model.safetensors.index.json"],
            False,
        ),
        (
            ["model.safetensors", "a.safetensors", "b.safetensors", "model.safetensors.index.json"],
            True,
        ),
    ],
)
def test_vllm_reads_the_weights_that_are_hashed(
    tmp_path: Path, names: list[str], refused: bool
) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    for name in names:
        (tmp_path / name).write_text(
            json.dumps({"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}),
            encoding="utf-8",
        )
    if refused:
        with pytest.raises(ValueError, match="transformers and vLLM read different weights"):
            refuse_unread_weights(tmp_path)
    else:
        refuse_unread_weights(tmp_path)


# Modules that open models, and where the files are compared afterwards with the key.
COMPARED = {
    "metrics/cosine.py": "opened_as",
    "metrics/entailment.py": "opened_as",
    "unlearning/run.py": "require_unchanged",
    "sampling/draw.py": "require_unchanged",  # opens the engines, which open models
}
NO_KEY = {
    "models/load.py",  # the loader itself
    "models/weights.py",  # part of the loader
    "models/saved.py",  # compares what it has just saved
    "models/generation.py",  # reads a configuration
    "metrics/classifier.py",  # opened by entailment.py
    "metrics/choice.py",  # keeps nothing
    "sampling/engines/hf.py",  # opened by draw.py
    "sampling/engines/vllm.py",  # opened by draw.py
    "bench/sampling.py",  # keeps nothing
}
LOADERS = {
    "load_model",
    "load_classifier",
    "load_weights",
    "from_pretrained",
    "SentenceTransformer",
    "PairClassifier",
    "LLM",
    "HFSampler",
}


def test_every_module_that_opens_models_compares_them_with_its_key() -> None:
    root = Path(leakrepro.__file__).parent
    found = set()
    for file in root.rglob("*.py"):
        calls = {_called(node) for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))}
        if calls & LOADERS or "engine.open" in calls:
            found.add(file.relative_to(root).as_posix())
            check = COMPARED.get(file.relative_to(root).as_posix())
            assert check is None or check in calls, file
    # A module that is new here either compares, or is listed with the reason why it need not.
    assert found == COMPARED.keys() | NO_KEY


def _called(node: ast.AST) -> str | None:
    if not isinstance(node, ast.Call):
        return None
    function = node.func
    if isinstance(function, ast.Attribute):
        if function.attr == "open" and isinstance(function.value, ast.Name):
            return f"{function.value.id}.open"
        return function.attr
    return function.id if isinstance(function, ast.Name) else None


def test_another_model_has_another_fingerprint(folder: Path, tmp_path: Path) -> None:
    assert fingerprint(make_model(tmp_path / "b", seed=1)) != fingerprint(folder)
