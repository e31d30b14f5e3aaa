"""The reference sampler, compared with the model and with transformers' generate."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    GenerationConfig,
    MistralConfig,
    MistralForCausalLM,
)
from worlds import Ban, make_prompts

from leakrepro.models.chat import prompt_ids
from leakrepro.models.load import load_model, load_tokenizer
from leakrepro.sampling.engines import prefixes
from leakrepro.sampling.engines.hf import HFSampler, _branch
from leakrepro.sampling.engines.kv_cache import KVBuffers, make_cache
from leakrepro.sampling.seeds import sample_seed
from leakrepro.sampling.store import SCHEMA, Request
from leakrepro.types import Decoding, Prompt


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def draw(sampler: HFSampler, prompts: tuple[Prompt, ...], decoding: Decoding) -> pa.Table:
    return sampler.draw([Request(prompt, 0, decoding.n) for prompt in prompts], decoding)


def record_ids(sampler: HFSampler, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """Records the token ids of decoded answers, without end tokens, in the order of decoding."""
    seen: list[list[int]] = []
    decode = sampler.tokenizer.batch_decode

    def recording(ids: list[list[int]], **options: bool) -> list[str]:
        seen.extend(ids)
        return decode(ids, **options)

    monkeypatch.setattr(sampler.tokenizer, "batch_decode", recording)
    return seen


def log_softmax_after(sampler: HFSampler, ids: list[int]) -> Tensor:
    """Teacher-forced log-probabilities of the token after every position, float64."""
    with torch.inference_mode():
        return sampler.model(torch.tensor([ids])).logits[0].double().log_softmax(-1)


def same_share(a: pa.Table, b: pa.Table) -> float:
    return float(np.mean(np.array(a["text"].to_pylist()) == np.array(b["text"].to_pylist())))


def test_rows_are_in_the_order_of_the_requests(tiny_llama: Path) -> None:
    first, second, third, fourth = make_prompts(4)
    requests = [Request(fourth, 3, 6), Request(first, 0, 2), Request(third, 8, 9)]
    decoding = Decoding(n=10, max_new_tokens=12, seed=4)
    table = HFSampler(tiny_llama, max_rows=2).draw(requests, decoding)
    assert table.schema.equals(SCHEMA)
    rows = [(r.prompt.id, i) for r in requests for i in range(r.start, r.stop)]
    assert list(zip(*table.select(["prompt_id", "sample"]).to_pydict().values(), strict=True)) == (
        rows
    )
    assert table["seed"].to_pylist() == [sample_seed(4, prompt, i) for prompt, i in rows]
    single = HFSampler(tiny_llama).draw([Request(first, 1, 2)], decoding)
    assert single["text"][0] == table["text"][4]
    assert second.id not in table["prompt_id"].to_pylist()


def test_first_tokens_follow_the_softmax(tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = HFSampler(tiny_llama, max_rows=4000)
    seen = record_ids(sampler, monkeypatch)
    (prompt,) = make_prompts(1)
    n = 20_000
    draw(sampler, (prompt,), Decoding(n=n, max_new_tokens=1))
    (end,) = sampler.eos
    observed = np.bincount([ids[0] if ids else end for ids in seen], minlength=160)
    logits = log_softmax_after(sampler, prompt_ids(sampler.tokenizer, prompt.messages))[-1]

    def p_value(temperature: float) -> float:
        expected = n * (logits / temperature).softmax(-1).numpy()
        # Tokens with an expected count below 5 are merged into one cell.
        order = np.argsort(-expected)
        cells = np.minimum(np.arange(160), np.searchsorted(-expected[order], -5.0))
        counts = [np.bincount(cells, weights=x[order]) for x in (observed, expected)]
        return float(chisquare(*counts).pvalue)

    assert p_value(1.0) > 1e-3
    assert p_value(1.05) < 1e-6, "the test must detect a 5 % change of the temperature"


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(n=40, max_new_tokens=25),
        Decoding(n=40, max_new_tokens=25, temperature=0.8, top_k=20, top_p=0.9),
        Decoding(max_new_tokens=25).greedy(),
    ],
)
def test_log_probabilities_equal_a_teacher_forced_forward_pass(
    tiny_llama: Path, decoding: Decoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = HFSampler(tiny_llama)
    seen = record_ids(sampler, monkeypatch)
    # Sorted by length like the sampler's batches, so that answers are decoded in table order.
    prompts = tuple(
        sorted(
            make_prompts(8), key=lambda prompt: len(prompt_ids(sampler.tokenizer, prompt.messages))
        )
    )
    table = draw(sampler, prompts, decoding)
    by_id = {prompt.id: prompt for prompt in prompts}
    stops = 0
    for row, kept in zip(table.to_pylist(), seen, strict=True):
        start = prompt_ids(sampler.tokenizer, by_id[row["prompt_id"]].messages)
        answer = list(kept)
        if row["finish_reason"] == "stop":
            answer += sampler.eos
            stops += 1
        else:
            assert row["n_tokens"] == decoding.max_new_tokens
        assert row["n_tokens"] == len(answer)
        scores = log_softmax_after(sampler, start + answer)[len(start) - 1 : -1]
        picked = scores.gather(-1, torch.tensor(answer)[:, None])
        assert row["logprob"] == pytest.approx(float(picked.sum()), abs=1e-4)
        if decoding == Decoding(n=40, max_new_tokens=25):
            assert row["logq"] == row["logprob"]
        elif decoding.is_greedy:
            assert row["logq"] == 0.0
            assert answer == scores.argmax(-1).tolist()
        else:
            assert row["logprob"] < row["logq"] <= 0.0
    assert decoding.is_greedy or 0 < stops < table.num_rows


def test_greedy_decoding_equals_generate(tiny_llama: Path) -> None:
    decoding = Decoding(max_new_tokens=30).greedy()
    prompts = make_prompts(12)
    ours = draw(HFSampler(tiny_llama), prompts, decoding)["text"].to_pylist()
    model, tokenizer = load_model(tiny_llama), load_tokenizer(tiny_llama)
    for prompt, text in zip(prompts, ours, strict=True):
        ids = tokenizer.apply_chat_template(
            [dict(m) for m in prompt.messages], add_generation_prompt=True, return_tensors="pt"
        )
        output = model.generate(**ids, do_sample=False, max_new_tokens=30)
        answer = output[0, ids["input_ids"].shape[1] :]
        assert tokenizer.decode(answer, skip_special_tokens=True) == text


def test_samples_depend_on_the_batch_size_only_by_rounding(tiny_llama: Path) -> None:
    prompts, decoding = make_prompts(40), Decoding(n=25, max_new_tokens=20, seed=1)
    whole = draw(HFSampler(tiny_llama, max_rows=1000), prompts, decoding)
    for rows in (17, 64):
        other = draw(HFSampler(tiny_llama, max_rows=rows), prompts, decoding)
        assert same_share(whole, other) >= 0.999
        assert other["seed"].equals(whole["seed"])
        same = np.array(whole["text"].to_pylist()) == np.array(other["text"].to_pylist())
        difference = whole["logprob"].to_numpy() - other["logprob"].to_numpy()
        assert np.abs(difference[same]).max() < 1e-4


def test_left_padding_does_not_change_samples(tiny_llama: Path) -> None:
    prompts, decoding = make_prompts(8), Decoding(n=25, max_new_tokens=20, seed=2)
    sampler = HFSampler(tiny_llama, max_rows=200)
    assert len({len(prompt_ids(sampler.tokenizer, prompt.messages)) for prompt in prompts}) > 1
    together = draw(sampler, prompts, decoding)
    separate = pa.concat_tables([draw(sampler, (prompt,), decoding) for prompt in prompts])
    assert same_share(together, separate) >= 0.995
    difference = together["logprob"].to_numpy() - separate["logprob"].to_numpy()
    assert np.median(np.abs(difference)) < 1e-5


def test_cache_equals_that_of_transformers(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts, decoding = make_prompts(8), Decoding(n=20, max_new_tokens=80, seed=3)
    ours = draw(HFSampler(tiny_llama), prompts, decoding)
    monkeypatch.setattr(prefixes, "make_cache", lambda config, buffers: DynamicCache(config=config))
    theirs = draw(HFSampler(tiny_llama), prompts, decoding)
    assert same_share(ours, theirs) >= 0.99


@pytest.mark.parametrize("window", [12, 4096])
def test_sliding_windows_narrow_and_wide(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    like = load_model(tiny_llama)
    config = MistralConfig(**{**like.config.to_dict(), "sliding_window": window})
    model = MistralForCausalLM(config).eval()
    model.load_state_dict(like.state_dict())
    sampler = HFSampler.around(model, load_tokenizer(tiny_llama))
    prompts, decoding = make_prompts(6), Decoding(n=20, max_new_tokens=40, seed=3)
    ours = draw(sampler, prompts, decoding)
    monkeypatch.setattr(prefixes, "make_cache", lambda config, buffers: DynamicCache(config=config))
    assert same_share(ours, draw(sampler, prompts, decoding)) >= 0.99
    # Only the wide window equals full attention.
    full = draw(HFSampler(tiny_llama), prompts, decoding)
    assert (same_share(ours, full) >= 0.99) == (window == 4096)


@pytest.mark.parametrize("temperature", [0.05, 0.3, 1])
def test_common_prefixes_are_computed_once(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch, temperature: float
) -> None:
    sampler = HFSampler(tiny_llama)
    answers = record_ids(sampler, monkeypatch)
    rows: list[int] = []
    forward = sampler.model.forward

    def counting(input_ids: Tensor, **rest: Any) -> Any:
        rows.append(len(input_ids))
        return forward(input_ids=input_ids, **rest)

    monkeypatch.setattr(sampler.model, "forward", counting)
    prompts, steps = make_prompts(4), 12
    decoding = Decoding(temperature=temperature, n=30, max_new_tokens=steps, seed=6)
    table = draw(sampler, prompts, decoding)
    lengths = table["n_tokens"].to_pylist()
    distinct = [len(prompts)]
    for step in range(1, steps):
        answered = zip(table["prompt_id"].to_pylist(), answers, lengths, strict=True)
        distinct.append(
            len({(name, *ids[:step]) for name, ids, length in answered if length > step})
        )
    assert rows == [count for count in distinct if count]
    assert sum(rows) < sum(lengths) or temperature == 1


def test_samples_branch_into_one_row_per_prefix() -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        before, samples = random.integers(1, 12), random.integers(1, 40)
        node = torch.from_numpy(random.integers(0, before, samples))
        token = torch.from_numpy(random.integers(0, random.integers(1, 30), samples))
        parent, following, new = _branch(node, token)
        pairs = list(zip(node.tolist(), token.tolist(), strict=True))
        rows = list(zip(parent.tolist(), following.tolist(), strict=True))
        assert [rows[i] for i in new.tolist()] == pairs
        assert sorted(rows) == sorted(set(pairs))
        # Each used parent whose position still exists keeps one row at its position.
        in_place = {row for row, source in enumerate(parent.tolist()) if row == source}
        assert in_place == {i for i in set(node.tolist()) if i < len(rows)}


def test_cache_rows_follow_any_selection(tiny_llama: Path) -> None:
    config = load_model(tiny_llama).config
    ours, theirs = make_cache(config, KVBuffers(9, 20)), DynamicCache(config=config)
    generator = torch.Generator().manual_seed(0)
    rows = 2
    for more in [3, 1, 1, 5, 1, 2, 1, 6]:
        keys, values = torch.randn(2, rows, 4, more, 8, generator=generator)
        for a, b in zip(ours.update(keys, values, 0), theirs.update(keys, values, 0), strict=True):
            assert torch.equal(a, b)
        following = int(torch.randint(1, 10, (), generator=generator))
        chosen = torch.randint(0, rows, (following,), generator=generator)
        for each in (ours, theirs):
            each.batch_select_indices(chosen)
        rows = following
        assert torch.equal(ours.layers[0].keys, theirs.layers[0].keys)
        assert torch.equal(ours.layers[0].values, theirs.layers[0].values)
    assert ours.get_seq_length() == 20


def test_a_larger_n_only_adds_samples(tiny_llama: Path) -> None:
    prompts = make_prompts(3)
    sampler = HFSampler(tiny_llama)
    few = draw(sampler, prompts, Decoding(n=5, max_new_tokens=10))["text"].to_pylist()
    many = draw(sampler, prompts, Decoding(n=20, max_new_tokens=10))["text"].to_pylist()
    assert [many[i * 20 + j] for i in range(3) for j in range(5)] == few


def test_progress_is_monotonic_and_ends_at_all_rows(tiny_llama: Path) -> None:
    seen: list[int] = []
    requests = [Request(prompt, 0, 10) for prompt in make_prompts(4)]
    HFSampler(tiny_llama, max_rows=20).draw(
        requests, Decoding(n=10, max_new_tokens=8), progress=seen.append
    )
    assert seen == sorted(seen)
    assert seen[-1] == 40


def test_logits_processors_change_the_draw_and_not_the_raw_log_probability(
    tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = HFSampler(tiny_llama)
    (prompt,) = make_prompts(1)
    ban = Ban(sampler.eos[0])
    seen = record_ids(sampler, monkeypatch)
    table = sampler.draw([Request(prompt, 0, 30)], Decoding(n=30, max_new_tokens=15), [ban])
    assert set(table["finish_reason"].to_pylist()) == {"length"}
    start = prompt_ids(sampler.tokenizer, prompt.messages)
    assert [context.shape for context in ban.contexts] == [(30, len(start) + i) for i in range(15)]
    assert ban.contexts[-1][4].tolist() == start + seen[4][:-1]
    scores = log_softmax_after(sampler, start + seen[4])[len(start) - 1 : -1]
    index = torch.tensor(seen[4])[:, None]
    assert table["logprob"][4].as_py() == pytest.approx(
        float(scores.gather(-1, index).sum()), abs=1e-4
    )
    allowed = scores.index_fill(-1, torch.tensor([ban.token]), -torch.inf).log_softmax(-1)
    assert table["logq"][4].as_py() == pytest.approx(
        float(allowed.gather(-1, index).sum()), abs=1e-4
    )


def test_every_end_token_of_the_generation_config_ends_an_answer(
    tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (prompt,) = make_prompts(1)
    decoding = Decoding(n=200, max_new_tokens=40)
    sampler = HFSampler(tiny_llama)
    seen = record_ids(sampler, monkeypatch)
    before = draw(sampler, (prompt,), decoding)
    common = int(np.bincount(np.concatenate(seen).astype(int)).argmax())
    path = tmp_path / "two-ends"
    shutil.copytree(tiny_llama, path)
    config = GenerationConfig.from_pretrained(path)
    config.eos_token_id = [common]
    config.save_pretrained(path)
    two_ends = HFSampler(path)
    assert two_ends.eos == tuple(sorted([*sampler.eos, common]))
    after = draw(two_ends, (prompt,), decoding)
    # Random numbers are equal, so an answer ends at the first such token, without its text.
    for ids, old, new in zip(seen, before.to_pylist(), after.to_pylist(), strict=True):
        if common in ids:
            cut = ids.index(common)
            assert (new["n_tokens"], new["finish_reason"]) == (cut + 1, "stop")
            assert new["text"] == sampler.tokenizer.decode(ids[:cut], skip_special_tokens=True)
        else:
            assert new["text"] == old["text"]
    assert any(common in ids for ids in seen)


def test_a_tokenizer_without_chat_template_is_rejected(tiny_llama: Path) -> None:
    sampler = HFSampler(tiny_llama)
    sampler.tokenizer.chat_template = None
    with pytest.raises(ValueError, match="not have a chat template"):
        draw(sampler, make_prompts(1), Decoding(n=1))


def test_a_prompt_beyond_the_context_is_rejected_by_name(tiny_llama: Path) -> None:
    with pytest.raises(ValueError, match=r"prompt 'p0' has \d+ tokens.*context of 256"):
        draw(HFSampler(tiny_llama), make_prompts(1), Decoding(n=1, max_new_tokens=255))


@pytest.mark.parametrize("decoding", [Decoding(n=2, max_new_tokens=4), Decoding().greedy()])
def test_weights_with_nan_are_rejected(
    tiny_llama: Path, tmp_path: Path, decoding: Decoding
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    with torch.no_grad():
        model.lm_head.weight[7] = torch.nan
    # In memory they are found by their logits.
    sampler = HFSampler.around(model.eval(), load_tokenizer(tiny_llama))
    with pytest.raises(ValueError, match="'p0' are not finite"):
        draw(sampler, make_prompts(1), decoding)
    shutil.copytree(tiny_llama, tmp_path / "nan")
    model.save_pretrained(tmp_path / "nan")
    with pytest.raises(ValueError, match=r"nan: lm_head\.weight has 32 values that are nan"):
        HFSampler(tmp_path / "nan")


def test_max_rows_must_be_positive(tiny_llama: Path) -> None:
    with pytest.raises(ValueError, match="max_rows"):
        HFSampler(tiny_llama, max_rows=0)
