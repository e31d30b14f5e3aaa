"""The trainer: one step is the same however its batch is cut and on however many devices."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import two_steps
from torch import Tensor

from leakrepro.models import chat, load, train
from leakrepro.unlearning import losses
from leakrepro.unlearning.methods import METHODS, GradDiffOptions
from leakrepro.unlearning.trainer import GradDiffTrainer, UnlearnItem, answer_nll, collate


def moves(after: dict[str, Tensor], before: dict[str, Tensor]) -> Tensor:
    """All changes of the weights in one vector."""
    return torch.cat([(after[name] - before[name]).flatten() for name in before])


@pytest.fixture(scope="module")
def start(tiny_llama: Path) -> dict[str, Tensor]:
    return load.load_model(tiny_llama, device="cpu").state_dict()


@pytest.fixture(scope="module")
def whole(tiny_llama: Path, start: dict[str, Tensor]) -> dict[str, Tensor]:
    """Method -> the step of a batch of eight."""
    return {name: moves(two_steps.step(tiny_llama, name, 8, 1), start) for name in METHODS}


@pytest.mark.parametrize("method", METHODS)
def test_one_step_is_the_gradient_of_the_weighted_losses(
    tiny_llama: Path, whole: dict[str, Tensor], method: str
) -> None:
    """Against the formulas, one answer at a time, with no batch and no padding."""
    model = load.load_model(tiny_llama, device="cpu")
    items = two_steps.items(model.config.vocab_size)

    def nll(pair: chat.Pair) -> Tensor:
        ids = torch.tensor([pair.input_ids])
        log_p = torch.log_softmax(model(input_ids=ids).logits[0], dim=-1)
        positions = range(pair.prompt_tokens, len(pair.input_ids))
        return -torch.stack([log_p[t - 1, ids[0, t]] for t in positions]).sum()

    forget = [nll(item.forget) for item in items]
    retain = [nll(pair) for item in items for pair in item.retain]
    retain_tokens = sum(len(p.input_ids) - 4 for item in items for p in item.retain)
    if method == "NPO":
        pairs = zip(forget, items, strict=True)
        values = [2 / 0.3 * torch.log1p(((i.reference_nll - f) * 0.3).exp()) for f, i in pairs]
        forget_loss = torch.stack(values).mean()
    else:
        forget_loss = -torch.stack(forget).sum() / sum(two_steps.LENGTHS)
    loss = 0.7 * forget_loss + 2.0 * torch.stack(retain).sum() / retain_tokens
    loss.backward()
    expected = torch.cat([-0.1 * p.grad.flatten() for p in model.parameters()])
    torch.testing.assert_close(whole[method], expected, atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("batch_size", "accumulation"), [(2, 4), (1, 8), (3, 3)])
def test_accumulation_does_not_change_a_step(
    tiny_llama: Path,
    start: dict[str, Tensor],
    whole: dict[str, Tensor],
    method: str,
    batch_size: int,
    accumulation: int,
) -> None:
    cut = moves(two_steps.step(tiny_llama, method, batch_size, accumulation), start)
    assert float(whole[method].abs().max()) > 1e-2
    torch.testing.assert_close(cut, whole[method], atol=1e-6, rtol=0)


def test_two_processes_take_the_same_step_as_one(
    tiny_llama: Path, start: dict[str, Tensor], whole: dict[str, Tensor], tmp_path: Path
) -> None:
    launch = ["torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    arguments = [two_steps.__file__, tiny_llama, 2, 2, tmp_path / "weights.pt"]
    command = [sys.executable, "-m", *launch, *map(str, arguments)]
    root = Path(load.__file__).parents[2]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    result = torch.load(tmp_path / "weights.pt")
    assert result["world"] == 2
    for method, weights in result["weights"].items():
        torch.testing.assert_close(moves(weights, start), whole[method], atol=1e-6, rtol=0)


def test_nll_does_not_depend_on_the_batch(tiny_llama: Path) -> None:
    model = load.load_model(tiny_llama, device="cpu")
    pairs = [item.forget for item in two_steps.items(model.config.vocab_size)]
    alone = answer_nll(model, pairs, 0, 1)
    assert answer_nll(model, pairs, 0, 8) == pytest.approx(alone, rel=1e-5)
    assert answer_nll(model, pairs, 0, 3) == pytest.approx(alone, rel=1e-5)
    batch = chat.collate(pairs, 0)
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    assert losses.sequence_nll(logits, batch["labels"]).tolist() == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("steps", [1, 12])
def test_a_loss_that_is_no_number_ends_the_run(tiny_llama: Path, steps: int) -> None:
    model = load.load_model(tiny_llama, device="cpu")
    items = two_steps.items(model.config.vocab_size)[:1]
    with torch.no_grad():
        model.lm_head.weight.fill_(torch.nan)
    options = GradDiffOptions(batch_size=1, accumulation=1)
    with pytest.raises(FloatingPointError, match=r"nan by step \d+: training diverged; lower"):
        _run(options, model, items * steps)


def test_an_infinite_loss_in_the_middle_is_found(tiny_llama: Path) -> None:
    class Overflow(GradDiffTrainer):
        def forget_losses(self, nll: Tensor, inputs: dict[str, Tensor]) -> Tensor:
            return nll / (0.0 if self.state.global_step == 11 else 1.0)

    model = load.load_model(tiny_llama, device="cpu")
    items = two_steps.items(model.config.vocab_size)[:1]
    options = GradDiffOptions(batch_size=1, accumulation=1)
    with pytest.raises(FloatingPointError, match="training diverged"):
        _run(options, model, items * 14, Overflow)


def _run(
    options: GradDiffOptions,
    model: torch.nn.Module,
    items: list[UnlearnItem],
    trainer: type[GradDiffTrainer] = GradDiffTrainer,
) -> None:
    train.run(
        functools.partial(trainer, options),
        model,  # type: ignore[arg-type]
        items,
        lambda batch: collate(batch, 0),
        {"per_device_train_batch_size": 1, "learning_rate": 1e-3},
        label="x",
        progress=lambda done, total: None,
    )
