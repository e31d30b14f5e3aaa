"""What is saved is what was trained, and saving does not fail after the training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)
from worlds import make_prompts, make_tokenizer

import leakrepro as lr
from leakrepro.benchmarks import Benchmark
from leakrepro.errors import ModelError
from leakrepro.models import load, train
from leakrepro.models.generation import load_generation_config
from leakrepro.models.saved import check_savable
from leakrepro.storage.atomic import MARKER, is_sealed
from leakrepro.types import Decoding
from leakrepro.unlearning import METHODS, LoRAOptions
from leakrepro.unlearning.methods.rmu import RMUOptions, RMUTrainer, decoder_layers


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKREPRO_HOME", str(tmp_path / "home"))


def options(method: str, **changes: Any) -> Any:
    sizes = {"batch_size": 2, "accumulation": 1, "steps": 2, "learning_rate": 1e-2}
    return METHODS[method].options(**sizes | changes)


def world() -> Benchmark:
    prompts = make_prompts(4)
    return Benchmark(
        name="four",
        forget=prompts[:2],
        retain=prompts[2:],
        metrics=("rougeL_recall",),
        decoding=Decoding(n=1, max_new_tokens=2),
        train_forget=prompts[:2],
        train_retain=prompts[2:],
    )


def tied_model(path: Path, *, tied: bool = True) -> Path:
    tokenizer = make_tokenizer()
    config = AutoConfig.for_model(
        "llama",
        vocab_size=160,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        tie_word_embeddings=tied,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    return load.save_model(AutoModelForCausalLM.from_config(config), tokenizer, path)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("targets", [("lm_head",), ("embed_tokens",), ("q_proj", "lm_head")])
def test_adapters_of_tied_weights_are_refused_before_training(
    tmp_path: Path, targets: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "run", lambda *arguments, **options: pytest.fail("it trained"))
    path = tied_model(tmp_path / "tied")
    chosen = options("GradDiff", lora=LoRAOptions(rank=2, targets=targets))
    with pytest.raises(ValueError, match=r"(lm_head|embed_tokens) of .*tied.*name other targets"):
        lr.unlearn(path, world(), "GradDiff", chosen)


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
@pytest.mark.parametrize("targets", [("lm_head",), ("embed_tokens",), ("all-linear",)])
def test_adapters_of_untied_weights_are_saved_as_trained(
    tmp_path: Path, targets: tuple[str, ...]
) -> None:
    path = tied_model(tmp_path / "untied", tied=False)
    chosen = options("GradDiff", lora=LoRAOptions(rank=2, targets=targets))
    done = lr.unlearn(path, world(), "GradDiff", chosen)
    before, after = load.load_model(path).state_dict(), load.load_model(done).state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    expected = {"lm_head.weight": ("lm_head",), "model.embed_tokens.weight": ("embed_tokens",)}
    for name, owners in expected.items():
        assert (name in moved) is (targets == owners)


def test_unknown_adapter_targets_are_one_error(tmp_path: Path) -> None:
    path = tied_model(tmp_path / "tied")
    chosen = options("GradDiff", lora=LoRAOptions(targets=("no_such",)))
    with pytest.raises(ValueError, match=r"tied: the lora target \['no_such'\] cannot be read"):
        lr.unlearn(path, world(), "GradDiff", chosen)


class Doubled(LlamaForCausalLM):
    """Computes something else than the class that is loaded again."""

    def forward(self, *arguments: Any, **options: Any) -> Any:
        output = super().forward(*arguments, **options)
        output.logits = 2 * output.logits
        return output


def test_a_model_that_computes_something_else_when_loaded_is_not_saved(
    tiny_llama: Path, tmp_path: Path
) -> None:
    model = Doubled.from_pretrained(tiny_llama).eval()
    target = tmp_path / "doubled"
    with pytest.raises(ModelError, match=r"doubled: the logits of its saved copy differ by"):
        load.save_model(model, load.load_tokenizer(tiny_llama), target)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_saved_otherwise_are_named(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load.load_model(tiny_llama)
    save = PreTrainedModel.save_pretrained

    def save_another(self: Any, folder: Path) -> None:
        with torch.no_grad():
            self.lm_head.weight[3, 3] += 1e-4
            save(self, folder)
            self.lm_head.weight[3, 3] -= 1e-4

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", save_another)
    with pytest.raises(ModelError, match=r"copy: lm_head\.weight is saved with other values"):
        load.save_model(model, load.load_tokenizer(tiny_llama), tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_the_training_mode_stays(tiny_llama: Path, tmp_path: Path) -> None:
    model = load.load_model(tiny_llama).train()
    load.save_model(model, load.load_tokenizer(tiny_llama), tmp_path / "copy")
    assert model.training
    assert is_sealed(tmp_path / "copy")


SETTINGS: list[dict[str, Any]] = [
    {"temperature": 0.6},
    {"do_sample": False, "top_p": 0.9, "top_k": 7},
    {"do_sample": False, "min_p": 0.1, "typical_p": 0.5, "epsilon_cutoff": 0.1, "eta_cutoff": 0.1},
    {"early_stopping": True, "length_penalty": 2.0},
    {"output_scores": True},
    {"use_cache": False, "cache_implementation": "static"},
    {"do_sample": None, "temperature": 0.0},
    {"pad_token_id": -1, "temperature": 0.3},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_contradicting_generation_settings_do_not_end_a_training(
    tiny_llama: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    path = Path(shutil.copytree(tiny_llama, tmp_path / "flags"))
    (path / MARKER).unlink()
    file = path / "generation_config.json"
    end = json.loads(file.read_text())["eos_token_id"]
    ends = [end, end + 1, 7]
    file.write_text(json.dumps({"eos_token_id": ends, "pad_token_id": 0, **settings}))
    with pytest.raises(ValueError, match="Fix these issues to save"):
        GenerationConfig.from_pretrained(path).save_pretrained(tmp_path / "refused")
    done = lr.unlearn(path, world(), "GradDiff", options("GradDiff"), checkpoint_every=1)
    assert load.eos_ids(done) == load.eos_ids(path) == tuple(sorted(ends))
    saved = load_generation_config(done)
    assert saved.do_sample is not True
    # A model in memory keeps its settings, and is saved as well.
    model = AutoModelForCausalLM.from_pretrained(path)
    before = model.generation_config.to_dict()
    copy = load.save_model(model, load.load_tokenizer(path), tmp_path / "copy")
    assert model.generation_config.to_dict() == before
    assert load.eos_ids(copy) == tuple(sorted(ends))


def test_consistent_generation_settings_are_kept(tiny_llama: Path, tmp_path: Path) -> None:
    model = load.load_model(tiny_llama)
    model.generation_config = GenerationConfig(do_sample=True, temperature=0.6, eos_token_id=1)
    copy = load.save_model(model, load.load_tokenizer(tiny_llama), tmp_path / "copy")
    kept = load_generation_config(copy)
    assert (kept.do_sample, kept.temperature, kept.eos_token_id) == (True, 0.6, 1)


def test_what_cannot_be_saved_is_found_before_training(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "run", lambda *arguments, **options: pytest.fail("it trained"))
    tokenizer = load.load_tokenizer(tiny_llama)

    def fail(*arguments: Any, **options: Any) -> None:
        raise KeyError("vocab_file")

    monkeypatch.setattr(type(tokenizer), "save_pretrained", fail)
    with pytest.raises(ModelError, match=r"tiny: the tokenizer \(to save it again\).*vocab_file"):
        lr.unlearn(tiny_llama, world(), "GradDiff", options("GradDiff"))
    with pytest.raises(ModelError, match="mine: the tokenizer"):
        check_savable(load.load_model(tiny_llama), tokenizer, "mine")


SIZES = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 24,
    "ffn_dim": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_local_experts": 2,
    "num_experts": 2,
    "moe_intermediate_size": 8,
    "word_embed_proj_dim": 16,
}
PROJECTIONS = {
    "llama": {"mlp.down_proj.weight"},
    "gpt_neox": {"mlp.dense_4h_to_h.weight", "mlp.dense_4h_to_h.bias"},
    "opt": {"fc2.weight", "fc2.bias"},
    "gpt2": {"mlp.c_proj.weight", "mlp.c_proj.bias"},
    "bloom": {"mlp.dense_4h_to_h.weight", "mlp.dense_4h_to_h.bias"},
    "gptj": {"mlp.fc_out.weight", "mlp.fc_out.bias"},
    "phi": {"mlp.fc2.weight", "mlp.fc2.bias"},
    "falcon": {"mlp.dense_4h_to_h.weight"},
    "mixtral": {"mlp.experts.down_proj"},
    "starcoder2": {"mlp.c_proj.weight", "mlp.c_proj.bias"},
    "mpt": {"ffn.down_proj.weight"},
}


def small(family: str) -> Any:
    like = AutoConfig.for_model(family)
    names = set(vars(like)) | set(like.attribute_map)
    sizes = {name: value for name, value in SIZES.items() if name in names}
    if family == "gptj":
        sizes["rotary_dim"] = 4
    if family == "mpt":
        sizes |= {"d_model": 16, "n_layers": 3, "n_heads": 2}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes))


@pytest.mark.parametrize("family", PROJECTIONS)
def test_rmu_finds_the_down_projections(family: str) -> None:
    model = small(family)
    RMUTrainer.check(RMUOptions(layer=2, trainable="down_proj"), model)
    for layer in decoder_layers(model):
        trained = {name for name, p in layer.named_parameters() if p.requires_grad}
        assert trained == PROJECTIONS[family]
    inside = {id(p) for layer in decoder_layers(model) for p in layer.parameters()}
    assert not any(p.requires_grad for p in model.parameters() if id(p) not in inside)


def test_rmu_names_the_modules_where_it_finds_none() -> None:
    model = small("llama")
    for layer in model.model.layers:
        layer.mlp.odd = layer.mlp.down_proj
        del layer.mlp.down_proj
    with pytest.raises(ValueError, match=r"it has .*mlp\.odd.*: set trainable='all'"):
        RMUTrainer.check(RMUOptions(layer=2, trainable="down_proj"), model)
