"""One decoding step, compared with a reference implementation in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import TopKLogitsWarper, TopPLogitsWarper

from leakrepro.sampling.engines import decode
from leakrepro.sampling.engines.decode import choose, decoding_logits
from leakrepro.types import Decoding

DECODINGS = [
    Decoding(),
    Decoding(temperature=0.7),
    Decoding(top_k=3),
    Decoding(top_p=0.6),
    Decoding(temperature=1.5, top_k=5, top_p=0.8),
    Decoding(top_k=1),
    Decoding(top_p=1e-9),
    Decoding(top_k=1000),
]


def reference(logits: list[float], decoding: Decoding) -> list[float]:
    """Reference implementation of the decoding distribution."""
    scores = [x / decoding.temperature for x in logits]
    if decoding.top_k is not None:
        smallest = sorted(scores, reverse=True)[: decoding.top_k][-1]
        scores = [x if x >= smallest else -math.inf for x in scores]
    top = max(scores)
    weights = [math.exp(x - top) for x in scores]
    probabilities = [w / math.fsum(weights) for w in weights]
    if decoding.top_p < 1:
        kept, mass = [], 0.0
        for i in sorted(range(len(scores)), key=lambda i: -probabilities[i]):
            if mass >= decoding.top_p:
                break
            kept.append(i)
            mass += probabilities[i]
        probabilities = [p / mass if i in kept else 0.0 for i, p in enumerate(probabilities)]
    return probabilities


@pytest.mark.parametrize("decoding", DECODINGS)
def test_distribution_equals_the_reference(decoding: Decoding) -> None:
    torch.manual_seed(0)
    logits = torch.randn(40, 12) * 2
    ours = decoding_logits(logits, decoding).softmax(-1)
    for row, mine in zip(logits.double().tolist(), ours.tolist(), strict=True):
        assert mine == pytest.approx(reference(row, decoding), abs=1e-12)


def test_distribution_equals_transformers() -> None:
    torch.manual_seed(1)
    logits = torch.randn(200, 50, dtype=torch.float64)
    decoding = Decoding(temperature=0.8, top_k=20, top_p=0.7)
    ids = torch.zeros((200, 1), dtype=torch.int64)
    theirs = TopPLogitsWarper(0.7)(ids, TopKLogitsWarper(20)(ids, logits / 0.8))
    torch.testing.assert_close(decoding_logits(logits, decoding), theirs)


def test_ties_with_the_kth_token_are_kept() -> None:
    kept = decoding_logits(torch.tensor([[1.0, 2.0, 1.0, 0.0]]), Decoding(top_k=2))
    assert kept.isfinite().tolist() == [[True, True, True, False]]


@pytest.mark.parametrize("decoding", DECODINGS)
def test_choice_inverts_the_distribution_function(decoding: Decoding) -> None:
    torch.manual_seed(2)
    logits = torch.randn(1, 9).expand(1001, -1).contiguous()
    uniform = torch.linspace(0, 1, 1002, dtype=torch.float64)[:-1] + 1e-7
    choice = choose(logits, logits, uniform, decoding)
    probabilities = np.array(reference(logits[0].double().tolist(), decoding))
    expected = np.searchsorted(np.cumsum(probabilities), uniform.numpy(), side="right")
    assert choice.token.tolist() == expected.tolist()
    np.testing.assert_allclose(choice.logq, np.log(probabilities[expected]), atol=1e-12)
    raw = logits[0].double().log_softmax(-1)[choice.token]
    torch.testing.assert_close(choice.logprob, raw, atol=1e-12, rtol=0)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([-math.inf, -800.0, 0.0, 1.0, 30.0]), min_size=2, max_size=9),
    st.sampled_from([0.0, math.ulp(0.0), 2**-53, 0.5, 1 - 2**-53]),
)
def test_no_draw_picks_a_token_of_probability_zero(scores: list[float], uniform: float) -> None:
    if max(scores) == -math.inf:
        scores[-1] = 0.0
    raw = torch.zeros(1, len(scores))
    processed = torch.tensor([scores])
    choice = choose(raw, processed, torch.tensor([uniform], dtype=torch.float64), Decoding())
    top = max(scores)
    assert math.exp(scores[int(choice.token)] - top) > 0
    assert math.isfinite(float(choice.logq))


@pytest.mark.parametrize(("uniform", "token"), [(0.0, 1), (0.5 - 2**-53, 1), (0.5, 3)])
def test_a_uniform_number_at_a_boundary_selects_the_next_token(uniform: float, token: int) -> None:
    scores = torch.tensor([[-math.inf, 0.0, -math.inf, 0.0, -math.inf]])
    draw = torch.tensor([uniform], dtype=torch.float64)
    assert choose(torch.zeros(1, 5), scores, draw, Decoding()).token.tolist() == [token]


def test_rounding_past_the_end_selects_a_token_with_positive_probability(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A cumulative sum that ends below the sum of the weights, as in parallel summation.
    cumsum = torch.Tensor.cumsum
    monkeypatch.setattr(torch.Tensor, "cumsum", lambda self, dim: cumsum(self, dim) * (1 - 1e-12))
    scores = torch.tensor([[0.0, 2.0, 0.0, -math.inf]])
    uniform = torch.tensor([1 - 2**-53], dtype=torch.float64)
    assert choose(torch.zeros(1, 4), scores, uniform, Decoding()).token.tolist() == [1]


def test_greedy_takes_the_largest_processed_logit() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 0.0, 0.0]])
    processed = torch.tensor([[0.0, -math.inf, 1.0], [5.0, 0.0, 0.0]])
    choice = choose(logits, processed, torch.empty(2, 0), Decoding().greedy())
    assert choice.token.tolist() == [2, 0]
    assert choice.logq.tolist() == [0.0, 0.0]
    expected = logits.double().log_softmax(-1)[[0, 1], [2, 0]]
    torch.testing.assert_close(choice.logprob, expected)


@pytest.mark.parametrize("decoding", [Decoding(), Decoding(top_p=0.9), Decoding().greedy()])
def test_results_do_not_depend_on_the_block_size(
    decoding: Decoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(3)
    logits, uniform = torch.randn(103, 11), torch.rand(103, dtype=torch.float64)
    whole = choose(logits, logits, uniform, decoding)
    monkeypatch.setattr(decode, "_BLOCK", {"cpu": 11 * 7})
    for a, b in zip(whole, choose(logits, logits, uniform, decoding), strict=True):
        assert torch.equal(a, b)
