"""The losses against their formulas, token by token, and their gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from leakrepro.unlearning import losses

IGNORED = -100
VOCABULARY = 7


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Logits [3, 6, 7] and labels of 2, 5 and 1 tokens; one answer starts at the first token."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(3, 6, VOCABULARY, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, VOCABULARY, (3, 6), generator=generator)
    labels[0, :3] = labels[0, 5:] = IGNORED
    labels[2, :5] = IGNORED
    return logits, labels


def nll_by_hand(logits: Tensor, labels: Tensor) -> list[float]:
    """-log p of each row: the logits at t - 1 predict the label at t."""
    rows = []
    for row, targets in zip(logits.tolist(), labels.tolist(), strict=True):
        total = 0.0
        for t in range(1, len(targets)):
            if targets[t] != IGNORED:
                biggest = max(row[t - 1])
                normaliser = biggest + math.log(sum(math.exp(v - biggest) for v in row[t - 1]))
                total += normaliser - row[t - 1][targets[t]]
        rows.append(total)
    return rows


def test_nll_is_the_sum_over_answer_tokens(batch: tuple[Tensor, Tensor]) -> None:
    logits, labels = batch
    nll = losses.sequence_nll(logits, labels)
    assert nll.dtype == torch.float64
    assert nll.tolist() == pytest.approx(nll_by_hand(logits, labels), rel=1e-12)
    # The first label has nothing before it that could predict it.
    assert losses.answer_tokens(labels).tolist() == [2, 5, 1]


def test_what_is_ignored_does_not_matter(batch: tuple[Tensor, Tensor]) -> None:
    logits, labels = batch
    before = losses.sequence_nll(logits, labels)
    changed = logits.clone()
    changed[:, :-1][labels[:, 1:] == IGNORED] += 100 * torch.rand(VOCABULARY, dtype=torch.float64)
    changed[:, -1] = 5.0
    assert torch.equal(losses.sequence_nll(changed, labels), before)
    padding = torch.full((3, 4), IGNORED)
    wider = torch.cat([logits, torch.randn(3, 4, VOCABULARY, dtype=torch.float64)], dim=1)
    longer = torch.cat([labels, padding], dim=1)
    assert losses.sequence_nll(wider, longer).tolist() == pytest.approx(before.tolist(), rel=1e-6)
    assert losses.answer_tokens(longer).tolist() == [2, 5, 1]


def test_the_gradient_of_nll_is_p_minus_one(batch: tuple[Tensor, Tensor]) -> None:
    logits, labels = batch
    logits.requires_grad_()
    losses.sequence_nll(logits, labels).sum().backward()
    expected = torch.zeros_like(logits)
    for i, row in enumerate(labels.tolist()):
        for t in range(1, len(row)):
            if row[t] != IGNORED:
                expected[i, t - 1] = torch.softmax(logits[i, t - 1].detach(), dim=0)
                expected[i, t - 1, row[t]] -= 1
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, expected, atol=1e-12, rtol=1e-10)


def test_bfloat16_logits_are_summed_in_float32() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 65, 50, generator=generator).bfloat16()
    labels = torch.randint(0, 50, (2, 65), generator=generator)
    nll = losses.sequence_nll(logits, labels)
    assert nll.dtype == torch.float32
    # Sums of 64 terms in bfloat16 would be off by a part in a hundred.
    assert nll.tolist() == pytest.approx(nll_by_hand(logits, labels), rel=1e-5)


def test_gradient_ascent_is_minus_the_nll(batch: tuple[Tensor, Tensor]) -> None:
    nll = losses.sequence_nll(*batch)
    assert torch.equal(losses.grad_ascent(nll), -nll)


@pytest.mark.parametrize("beta", [0.05, 0.5, 2.0])
def test_npo_is_its_equation(beta: float) -> None:
    nll, reference = [3.0, 0.5, 40.0, 1.0], [1.0, 2.5, 1.0, 1.0]
    values = losses.npo(torch.tensor(nll).double(), torch.tensor(reference).double(), beta)
    for value, log_p, log_r in zip(
        values.tolist(), (-x for x in nll), (-x for x in reference), strict=True
    ):
        # (2 / beta) log(1 + (p / r) ** beta), equation 3 of arXiv 2404.05868.
        expected = 2 / beta * math.log(1 + (math.exp(log_p) / math.exp(log_r)) ** beta)
        assert value == pytest.approx(expected, rel=1e-12)


def test_npo_and_its_gradient_agree() -> None:
    nll = torch.tensor([3.0, 0.5, 7.0, 1.0], dtype=torch.float64, requires_grad=True)
    reference = torch.tensor([1.0, 2.5, 1.0, 1.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: losses.npo(x, reference, 0.5), (nll,))
    assert torch.autograd.gradcheck(losses.grad_ascent, (nll,))


@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_npo_starts_as_gradient_ascent(beta: float) -> None:
    reference = torch.tensor([0.3, 5.0, 60.0], dtype=torch.float64)
    nll = reference.clone().requires_grad_()
    values = losses.npo(nll, reference, beta)
    assert values.tolist() == pytest.approx([2 / beta * math.log(2)] * 3, rel=1e-12)
    (gradient,) = torch.autograd.grad(values.sum(), nll)
    assert gradient.tolist() == pytest.approx([-1.0] * 3, rel=1e-12)


def test_npo_becomes_gradient_ascent_as_beta_goes_to_zero() -> None:
    reference = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    gaps = []
    for beta in (1e-1, 1e-3, 1e-5):
        nll = torch.tensor([4.0, 0.5, 30.0], dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(losses.npo(nll, reference, beta).sum(), nll)
        gaps.append(float((gradient + 1).abs().max()))
    assert gaps[0] > 50 * gaps[1] > 2500 * gaps[2] > 0
    assert gaps[2] < 1e-3


def test_npo_lets_go_of_what_is_forgotten() -> None:
    nll = torch.tensor([2000.0], requires_grad=True)
    value = losses.npo(nll, torch.tensor([1.0]), 0.5)
    (gradient,) = torch.autograd.grad(value.sum(), nll)
    assert value.item() == gradient.item() == 0.0


@pytest.mark.parametrize("beta", [0.0, -1.0])
def test_npo_needs_a_beta_above_zero(beta: float) -> None:
    with pytest.raises(ValueError, match="beta must be above 0"):
        losses.npo(torch.ones(1), torch.ones(1), beta)


@pytest.mark.parametrize(("beta", "delta"), [(0.5, 0.0), (4.5, 1.0)])
def test_simnpo_is_its_equation(beta: float, delta: float) -> None:
    nll, tokens = torch.tensor([3.0, 0.5, 40.0]).double(), torch.tensor([2, 5, 1])
    values = losses.simnpo(nll, tokens, beta, delta)
    for value, n, t in zip(values.tolist(), nll.tolist(), tokens.tolist(), strict=True):
        sigmoid = 1 / (1 + math.exp(-(beta * n / t - beta * delta)))  # gamma = beta x delta
        assert value == pytest.approx(-2 / beta * math.log(sigmoid), rel=1e-12)


def test_dpo_is_its_equation() -> None:
    p, r, p_alt, r_alt, beta = 0.01, 0.2, 0.3, 0.1, 0.7
    given = [torch.tensor([-math.log(x)], dtype=torch.float64) for x in (p, r, p_alt, r_alt)]
    inner = beta * (math.log(p_alt / r_alt) - math.log(p / r))
    expected = -2 / beta * math.log(1 / (1 + math.exp(-inner)))
    assert losses.dpo(*given, beta).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("loss", ["entropy", "kl"])
def test_distributions_are_compared_where_the_answer_is_predicted(
    batch: tuple[Tensor, Tensor], loss: str
) -> None:
    logits, labels = batch
    reference = logits.flip(-1)
    values = (
        losses.entropy(logits, labels)
        if loss == "entropy"
        else losses.kl(logits, reference, labels)
    )
    for value, row, other, targets in zip(
        values.tolist(), logits, reference, labels.tolist(), strict=True
    ):
        expected = 0.0
        for t in range(1, len(targets)):
            if targets[t] != IGNORED:
                p = torch.softmax(row[t - 1], 0).tolist()
                r = torch.softmax(other[t - 1], 0).tolist()
                pairs = zip(p, p if loss == "entropy" else r, strict=True)
                for a, b in pairs:
                    expected += -a * math.log(a) if loss == "entropy" else b * math.log(b / a)
        assert value == pytest.approx(expected, rel=1e-10)
    assert losses.kl(logits, logits, labels).tolist() == pytest.approx([0.0] * 3, abs=1e-12)


def test_squared_distance_is_over_the_answers_own_tokens() -> None:
    hidden = torch.arange(24.0, dtype=torch.float64).reshape(2, 4, 3)
    labels = torch.tensor([[IGNORED, 5, 6, IGNORED], [IGNORED, IGNORED, IGNORED, 7]])
    target = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    expected = [
        sum(
            sum((h - t) ** 2 for h, t in zip(hidden[i, j].tolist(), [1, 2, 3], strict=True)) / 3
            for j in positions
        )
        for i, positions in ((0, (1, 2)), (1, (3,)))
    ]
    assert losses.squared_distance(hidden, target, labels).tolist() == pytest.approx(expected)
    assert losses.squared_distance(hidden, hidden, labels).tolist() == [0.0, 0.0]


def test_blurs_weight() -> None:
    inner, square = torch.tensor(3.0).double(), torch.tensor(2.0).double()
    assert losses.blur_weight(inner, square, 2.0, clamp=False).item() == 0.5
    assert losses.blur_weight(inner, square, 1.0, clamp=False).item() == -0.5
    assert losses.blur_weight(inner, square, 1.0, clamp=True).item() == 0.0
    assert losses.blur_weight(inner, 0 * square, 1.0, clamp=False).item() == 0.0


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: losses.simnpo(x, torch.tensor([2, 3, 1, 7]), 2.5, 0.3),
        lambda x: losses.dpo(x, x.detach() + 1, 2 * x, x.detach(), 0.3),
        lambda x: losses.entropy(
            x[:, None, None] * torch.arange(6.0).double().reshape(1, 2, 3),
            torch.ones(4, 2, dtype=torch.long),
        ),
        lambda x: losses.kl(
            x[:, None, None] * torch.arange(6.0).double().reshape(1, 2, 3),
            torch.ones(4, 2, 3).double(),
            torch.ones(4, 2, dtype=torch.long),
        ),
    ],
)
def test_losses_and_their_gradients_agree(loss: Any) -> None:
    x = torch.tensor([3.0, 0.5, 7.0, 1.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (x,))
