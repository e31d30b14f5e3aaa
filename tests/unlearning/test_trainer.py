"""The trainer: one step is the same however its batch is cut and on however many devices."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import by_hand
import pytest
import torch
import two_steps
from cases import CASES, options_of
from torch import Tensor

from leakrepro.models import chat, load, train
from leakrepro.unlearning import losses
from leakrepro.unlearning.methods.grad_diff import GradDiffOptions, GradDiffTrainer
from leakrepro.unlearning.methods.table import METHODS, find_method
from leakrepro.unlearning.trainer import (
    UnlearnItem,
    UnlearnTrainer,
    answer_nll,
    collate,
    reference_nll,
)

# A step moves single weights by up to several hundredths; float32 leaves a millionth.
RESIDUAL = 2e-6


def test_every_method_has_a_case() -> None:
    assert {case.method for case in CASES.values()} == set(METHODS)


def moves(after: dict[str, Tensor], before: dict[str, Tensor]) -> Tensor:
    """All changes of the weights in one vector."""
    return torch.cat([(after[name] - before[name]).flatten() for name in before])


@pytest.fixture(scope="module")
def start(tiny_llama: Path) -> dict[str, Tensor]:
    return load.load_model(tiny_llama, device="cpu").state_dict()


@pytest.fixture(scope="module")
def whole(tiny_llama: Path) -> dict[str, dict[str, Tensor]]:
    """Case -> the weights after a batch of eight."""
    return {case: two_steps.step(tiny_llama, case, 8, 1) for case in CASES}


@pytest.mark.parametrize("case", CASES)
def test_one_step_is_the_gradient_of_the_equations(
    tiny_llama: Path, start: dict[str, Tensor], whole: dict[str, dict[str, Tensor]], case: str
) -> None:
    expected, forget, retain = by_hand.step(case, tiny_llama)
    flat = torch.cat([expected[name].flatten() for name in start]).float()
    assert float(flat.abs().max()) > 1e-3
    torch.testing.assert_close(moves(whole[case], start), flat, atol=RESIDUAL, rtol=1e-3)
    _, logged_forget, logged_retain = whole[case][""].tolist()
    assert logged_forget == pytest.approx(forget, rel=1e-5)
    assert logged_retain == pytest.approx(retain, rel=1e-5)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("batch_size", "accumulation"), [(2, 4), (1, 8), (3, 3)])
def test_accumulation_does_not_change_a_step(
    tiny_llama: Path,
    start: dict[str, Tensor],
    whole: dict[str, dict[str, Tensor]],
    case: str,
    batch_size: int,
    accumulation: int,
) -> None:
    cut = two_steps.step(tiny_llama, case, batch_size, accumulation)
    torch.testing.assert_close(
        moves(cut, start), moves(whole[case], start), atol=RESIDUAL, rtol=1e-4
    )
    torch.testing.assert_close(cut[""], whole[case][""], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_rows_without_answer_count_for_nothing(
    tiny_llama: Path, start: dict[str, Tensor], whole: dict[str, dict[str, Tensor]], case: str
) -> None:
    padded = two_steps.step(tiny_llama, case, 5, 2, blanks=2)
    torch.testing.assert_close(
        moves(padded, start), moves(whole[case], start), atol=RESIDUAL, rtol=1e-4
    )


def test_two_processes_take_the_same_step_as_one(
    tiny_llama: Path,
    start: dict[str, Tensor],
    whole: dict[str, dict[str, Tensor]],
    tmp_path: Path,
) -> None:
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    arguments = [two_steps.__file__, tiny_llama, 2, 2, tmp_path / "weights.pt"]
    done = run_python(["-m", *launch, *map(str, arguments)])
    assert done.returncode == 0, done.stderr
    result = torch.load(tmp_path / "weights.pt")
    assert result["world"] == 2
    for case, weights in result["weights"].items():
        torch.testing.assert_close(
            moves(weights, start), moves(whole[case], start), atol=RESIDUAL, rtol=1e-4
        )
        torch.testing.assert_close(weights[""], whole[case][""], rtol=1e-5, atol=1e-6)


def run_python(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    root = Path(load.__file__).parents[2]
    settings = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root), "PYTHONWARNINGS": "ignore"}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | settings | environment,
        timeout=300,
    )


def test_upstreams_kl_counts_all_positions(tiny_llama: Path) -> None:
    model = load.load_model(tiny_llama, device="cpu", dtype="float32")
    options = GradDiffOptions(retain_loss="kl_all", batch_size=8, accumulation=1)
    items = two_steps.items("GradDiff, KL", model.config.vocab_size)
    reference = two_steps.reference_of(tiny_llama)
    batch = collate(items, 0)["retain"]
    with torch.no_grad():
        given = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        log_p = torch.log_softmax(model(**given).logits[:, :-1], -1)
        log_r = torch.log_softmax(reference(**given).logits[:, :-1], -1)
    expected = (log_r.exp() * (log_r - log_p)).sum(-1).mean()
    (entry, _) = run_once(options, model, items, reference=reference)
    assert entry["retain_loss"] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("layer", [0, 1])
def test_rmu_trains_what_its_loss_reaches(tiny_llama: Path, layer: int) -> None:
    trainer = find_method("RMU").trainer
    model = load.load_model(tiny_llama, device="cpu")
    trainer.check(options_of("RMU", layer=layer), model)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name.split(".")[2] for name in trained if ".layers." in name} == set(
        map(str, range(layer + 1))
    )
    assert "model.embed_tokens.weight" in trained
    assert not {"model.norm.weight", "lm_head.weight"} & trained
    model = load.load_model(tiny_llama, device="cpu")
    trainer.check(options_of("RMU, down projections", layer=layer), model)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {f"model.layers.{i}.mlp.down_proj.weight" for i in range(layer + 1)}


def test_rmu_refuses_a_layer_that_does_not_exist(tiny_llama: Path) -> None:
    model = load.load_model(tiny_llama, device="cpu")
    with pytest.raises(ValueError, match=r"layer 7, but the model has layers 0 to 1; set layer"):
        find_method("RMU").trainer.check(options_of("RMU", layer=7), model)


def test_blur_keeps_the_rate_at_which_the_forget_loss_falls(
    tiny_llama: Path, start: dict[str, Tensor]
) -> None:
    forget, _, model = by_hand.losses_of("BLUR-NPO", tiny_llama)
    options = options_of("BLUR-NPO")
    weights = list(model.parameters())
    gradients = torch.autograd.grad(options.forget_weight * forget, weights)
    g_f = torch.cat([g.flatten() for g in gradients])
    after = two_steps.step(tiny_llama, "BLUR-NPO", 8, 1)
    moved = moves(after, {name: start[name] for name, _ in model.named_parameters()})
    rate = float(-moved.double() @ g_f / two_steps.RATE)
    assert rate == pytest.approx(options.gamma * float(g_f @ g_f), rel=1e-3)


def test_blur_refuses_sharded_weights(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UnlearnTrainer, "is_fsdp_enabled", True, raising=False)

    def sharded(self: Any, *args: Any, **kwargs: Any) -> None:
        self.is_deepspeed_enabled, self.is_fsdp_enabled = False, True

    monkeypatch.setattr(UnlearnTrainer, "__init__", sharded)
    with pytest.raises(ValueError, match="BLUR-NPO combines two whole gradients, but DeepSpeed"):
        find_method("BLUR-NPO").trainer(options_of("BLUR-NPO"))


def test_nll_does_not_depend_on_the_batch(tiny_llama: Path) -> None:
    model = load.load_model(tiny_llama, device="cpu")
    pairs = [item.forget for item in two_steps.items("NPO", model.config.vocab_size)]
    alone = reference_nll(model, pairs, 0, 1)
    assert reference_nll(model, pairs, 0, 8) == pytest.approx(alone, rel=1e-5)
    assert reference_nll(model, pairs, 0, 3) == pytest.approx(alone, rel=1e-5)
    batch = chat.collate(pairs, 0)
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    assert losses.sequence_nll(logits, batch["labels"]).tolist() == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("steps", [1, 12])
def test_a_loss_that_is_no_number_ends_the_run(tiny_llama: Path, steps: int) -> None:
    model = load.load_model(tiny_llama, device="cpu")
    items = two_steps.items("GradDiff", model.config.vocab_size)[:1]
    with torch.no_grad():
        model.lm_head.weight.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match=r"nan by step 1: training diverged; lower"):
        run_once(GradDiffOptions(batch_size=1, accumulation=1), model, items * steps)


class Overflow(GradDiffTrainer):
    """Its twelfth step has an infinite gradient."""

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        return loss * (torch.inf if self.state.global_step == 11 else 1.0)


def test_an_infinite_loss_in_the_middle_is_found(tiny_llama: Path) -> None:
    model = load.load_model(tiny_llama, device="cpu")
    items = two_steps.items("GradDiff", model.config.vocab_size)[:1]
    options = GradDiffOptions(batch_size=1, accumulation=1, retain_weight=0.0)
    with pytest.raises(FloatingPointError, match="by step 12: training diverged"):
        run_once(options, model, items * 14, Overflow)


def test_a_retain_loss_worse_than_guessing_ends_the_run(tiny_llama: Path) -> None:
    model = load.load_model(tiny_llama, device="cpu")
    items = two_steps.items("GradDiff", model.config.vocab_size)[:2]
    with torch.no_grad():
        model.lm_head.weight.mul_(10)  # sure of itself, and wrong: the answers are random
    options = GradDiffOptions(batch_size=2, accumulation=1, retain_weight=1e-6)
    message = r"retain loss of the last 10 steps, .* at step 10, is above 5\.08, that of uniform"
    with pytest.raises(FloatingPointError, match=message):
        run_once(options, model, items * 12)


def test_the_nll_of_a_batch_is_that_of_its_answers(tiny_llama: Path) -> None:
    model = load.load_model(tiny_llama, device="cpu")
    pairs = [item.forget for item in two_steps.items("NPO", model.config.vocab_size)]
    assert answer_nll(model, chat.collate(pairs, 0)).shape == (len(pairs),)


def run_once(
    options: GradDiffOptions,
    model: Any,
    items: list[UnlearnItem],
    trainer: type[GradDiffTrainer] = GradDiffTrainer,
    reference: Any = None,
) -> train.Log:
    return train.run(
        functools.partial(trainer, options, reference),
        model,
        items,
        lambda batch: collate(batch, 0),
        {"per_device_train_batch_size": options.batch_size, "learning_rate": 1e-4},
        label="x",
        progress=lambda done, total: None,
    )
