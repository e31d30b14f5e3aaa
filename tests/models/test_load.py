"""Finding, loading, identifying and saving models."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import errors as hub_errors
from safetensors.torch import load_file, save_file
from worlds import make_model

from leakrepro.models import load
from leakrepro.models.load import (
    eos_ids,
    fingerprint,
    load_model,
    load_tokenizer,
    locate,
    save_model,
    tokenizer_fingerprint,
)
from leakrepro.storage import atomic
from leakrepro.storage.atomic import MARKER, is_sealed


@pytest.fixture
def copy(tiny_llama: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_llama, tmp_path / "copy"))


def test_a_local_model_is_found(tiny_llama: Path) -> None:
    assert locate(tiny_llama) == locate(str(tiny_llama)) == tiny_llama


def test_what_is_no_model_is_refused_with_what_was_looked_for(
    tmp_path: Path, tiny_llama: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=r"does not have a config\.json"):
        locate(tmp_path)
    for missing in (tmp_path / "nowhere", Path("nowhere"), f"{tmp_path}/nowhere", "./nowhere"):
        with pytest.raises(FileNotFoundError, match="nowhere: there is no such folder"):
            locate(missing)
    with pytest.raises(ValueError, match="does not have a revision"):
        locate(tiny_llama, revision="main")


def test_a_hub_id_brings_its_revision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[str, str | None]] = []

    def download(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        assert "*.safetensors" in allow_patterns
        asked.append((repository, revision))
        return str(tmp_path)

    monkeypatch.setattr(load, "snapshot_download", download)
    for model, revision in (("org/name", None), ("org/name@abc", None), ("org/name", "abc")):
        assert locate(model, revision) == tmp_path
    assert asked == [("org/name", None), ("org/name", "abc"), ("org/name", "abc")]


def _raised(kind: type[Exception]) -> Exception:
    """An error of the hub without the response that its constructor wants."""
    return kind.__new__(kind)


@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (
            _raised(hub_errors.RepositoryNotFoundError),
            FileNotFoundError,
            r"'org/none' at revision 'v1': there is neither a folder .*org/none.* nor such a repo",
        ),
        (
            _raised(hub_errors.RevisionNotFoundError),
            FileNotFoundError,
            r"'org/none' at revision 'v1': no such revision",
        ),
        (_raised(hub_errors.GatedRepoError), PermissionError, "gated.*access"),
        (
            _raised(hub_errors.LocalEntryNotFoundError),
            FileNotFoundError,
            "not in the local hub cache, and the hub could not be reached",
        ),
        (
            _raised(hub_errors.HfHubHTTPError),
            FileNotFoundError,
            "the hub could not be reached",
        ),
    ],
)
def test_every_failure_of_the_hub_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, error: Exception, expected: type[Exception], message: str
) -> None:
    def fail(*args: object, **options: object) -> str:
        raise error

    monkeypatch.setattr(load, "snapshot_download", fail)
    with pytest.raises(expected, match=message):
        locate("org/none", revision="v1")


def test_offline_mode_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"'org/none'.*offline mode is on"):
        locate("org/none")


def test_a_name_that_is_no_hub_id_is_one_clear_error() -> None:
    with pytest.raises(FileNotFoundError, match="neither a folder of this name"):
        locate("no such/model/at all")


def test_loaded_models_evaluate_in_the_asked_type(tiny_llama: Path) -> None:
    model = load_model(tiny_llama, "cpu")
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert load_model(tiny_llama, "cpu", "bfloat16").dtype == torch.bfloat16
    with pytest.raises(ValueError, match="dtype must be one of auto, float32"):
        load_model(tiny_llama, "cpu", "int7")


def test_missing_weights_are_refused(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    dropped = "model.layers.1.mlp.up_proj.weight"
    save_file(
        {name: w for name, w in weights.items() if name != dropped},
        copy / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(ValueError, match=rf"lacks 1 weights, the first is {dropped}"):
        load_model(copy)
    (copy / "model.safetensors").unlink()
    for function in (load_model, fingerprint):
        with pytest.raises(FileNotFoundError, match="does not have weights"):
            function(copy)


def test_fingerprints_are_of_content(tiny_llama: Path, copy: Path, tmp_path: Path) -> None:
    assert fingerprint(copy) == fingerprint(tiny_llama)
    assert fingerprint(make_model(tmp_path / "b", seed=1)) != fingerprint(tiny_llama)
    before = fingerprint(copy)
    stat = (copy / "model.safetensors").stat()
    weights = load_file(copy / "model.safetensors")
    weights["lm_head.weight"][3, 4] += 1e-3
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert (copy / "model.safetensors").stat().st_size == stat.st_size
    assert fingerprint(copy) != before
    os.remove(copy / "tokenizer.json")
    assert fingerprint(copy) != before


def test_configuration_is_part_of_the_fingerprint(copy: Path) -> None:
    before = fingerprint(copy)
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    config["rms_norm_eps"] = 1e-3
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert fingerprint(copy) != before


def test_the_chat_template_is_part_of_the_tokenizer(copy: Path, tiny_llama: Path) -> None:
    before = tokenizer_fingerprint(copy)
    assert before == tokenizer_fingerprint(tiny_llama)
    tokenizer = load_tokenizer(copy)
    assert isinstance(tokenizer.chat_template, str)
    tokenizer.chat_template = tokenizer.chat_template + " "
    tokenizer.save_pretrained(copy)
    assert tokenizer_fingerprint(copy) != before
    assert fingerprint(copy) == fingerprint(tiny_llama)
    with pytest.raises(FileNotFoundError, match="does not have tokenizer files"):
        tokenizer_fingerprint(copy.parent)


def test_end_tokens_come_from_all_places(copy: Path) -> None:
    end = load_tokenizer(copy).eos_token_id
    assert eos_ids(copy) == (end,)
    generation = copy / "generation_config.json"
    generation.write_text(json.dumps({"eos_token_id": [9, 7]}), encoding="utf-8")
    assert eos_ids(copy) == (end, 7, 9)
    generation.unlink()
    assert eos_ids(copy) == (end,)


def test_what_is_saved_is_loaded_and_complete(tiny_llama: Path, tmp_path: Path) -> None:
    model, tokenizer = load_model(tiny_llama), load_tokenizer(tiny_llama)
    path = save_model(model, tokenizer, tmp_path / "deep" / "saved")
    assert is_sealed(path)
    assert [file.name for file in path.parent.iterdir()] == ["saved"]
    again = load_model(path)
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert load_tokenizer(path).chat_template == tokenizer.chat_template
    with pytest.raises(FileExistsError, match="already holds a complete model"):
        save_model(model, tokenizer, path)


def test_a_save_that_fails_leaves_nothing_and_can_be_repeated(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = load_model(tiny_llama), load_tokenizer(tiny_llama)

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "sync", full)
        with pytest.raises(OSError, match="No space left"):
            save_model(model, tokenizer, tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []
    save_model(model, tokenizer, tmp_path / "saved")
    assert is_sealed(tmp_path / "saved")


def test_an_incomplete_model_is_told_and_replaced(copy: Path, tiny_llama: Path) -> None:
    assert is_sealed(copy)
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[:-1])
    assert not is_sealed(copy)
    save_model(load_model(tiny_llama), load_tokenizer(tiny_llama), copy)
    assert is_sealed(copy)
    (copy / MARKER).unlink()
    assert not is_sealed(copy)
    assert not is_sealed(copy / "nowhere")
