"""vLLM on CPU, compared with the reference sampler and the model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.stats import chisquare
from worlds import Ban, make_model, make_prompts

from leakrepro.errors import StoreError
from leakrepro.execution.backend import Backend
from leakrepro.models.chat import prompt_ids
from leakrepro.sampling import VLLMOptions, read_samples, sample
from leakrepro.sampling.engines.decode import decoding_logits
from leakrepro.sampling.engines.hf import HFSampler
from leakrepro.sampling.seeds import sample_seed
from leakrepro.sampling.store import SCHEMA, Request
from leakrepro.types import Decoding, Prompt

PROMPTS = make_prompts(24)
# vLLM and its dependencies raise warnings.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def sampler(llama: Path) -> Iterator[object]:
    opened = VLLMOptions().open(llama)
    yield opened
    opened.close()


def draw(sampler: object, prompts: tuple[Prompt, ...], decoding: Decoding) -> pa.Table:
    requests = [Request(prompt, 0, decoding.n) for prompt in prompts]
    return sampler.draw(requests, decoding)  # type: ignore[attr-defined]


def test_rows_are_in_the_order_of_the_requests(sampler: object) -> None:
    first, _, third, fourth = make_prompts(4)
    requests = [Request(fourth, 3, 6), Request(first, 0, 2), Request(third, 8, 90)]
    decoding = Decoding(n=90, max_new_tokens=12, seed=4)
    table = sampler.draw(requests, decoding)  # type: ignore[attr-defined]
    assert table.schema.equals(SCHEMA)
    rows = [(r.prompt.id, i) for r in requests for i in range(r.start, r.stop)]
    assert list(zip(*table.select(["prompt_id", "sample"]).to_pydict().values(), strict=True)) == (
        rows
    )
    assert table["seed"].to_pylist() == [sample_seed(4, prompt, i) for prompt, i in rows]
    # The sample of a seed does not depend on how requests are split.
    whole = draw(sampler, (third,), decoding)["text"].to_pylist()
    assert table["text"].to_pylist()[5:] == whole[8:]
    assert len(set(whole)) > 40


def test_greedy_answers_equal_the_reference_sampler(sampler: object, reference: HFSampler) -> None:
    decoding = Decoding(max_new_tokens=40).greedy()
    ours, theirs = draw(sampler, PROMPTS, decoding), draw(reference, PROMPTS, decoding)
    for name in ("prompt_id", "text", "n_tokens", "finish_reason", "logq"):
        assert ours[name].equals(theirs[name]), name
    np.testing.assert_allclose(ours["logprob"], theirs["logprob"], rtol=0, atol=1e-4)


def test_stop_strings_end_answers_as_in_the_reference_sampler(
    sampler: object, reference: HFSampler
) -> None:
    prompts = make_prompts(6)
    decoding = Decoding(temperature=0, n=1, max_new_tokens=24)
    whole = draw(reference, prompts, decoding)["text"].to_pylist()
    letter = max("aeiou", key=lambda c: sum(c in text for text in whole))
    stopping = decoding.replace(stop=(letter,))
    ours, theirs = draw(sampler, prompts, stopping), draw(reference, prompts, stopping)
    for column in ("text", "n_tokens", "finish_reason"):
        assert ours[column].to_pylist() == theirs[column].to_pylist(), column
    assert any(len(a) < len(b) for a, b in zip(ours["text"].to_pylist(), whole, strict=True))
    assert not any(letter in text for text in ours["text"].to_pylist())


@pytest.mark.parametrize(
    "decoding",
    [
        Decoding(n=3000, max_new_tokens=1),
        Decoding(n=3000, max_new_tokens=1, temperature=0.6, top_p=0.8),
        Decoding(n=3000, max_new_tokens=1, temperature=1.3, top_k=7),
    ],
)
def test_first_tokens_follow_the_decoding_distribution(
    sampler: object, reference: HFSampler, decoding: Decoding
) -> None:
    prompt = PROMPTS[1]
    ids = torch.tensor([prompt_ids(reference.tokenizer, prompt.messages)])
    with torch.inference_mode():
        logits = reference.model(ids).logits[0, -1:].float()
    expected = decoding_logits(logits, decoding).softmax(-1)[0].numpy()
    # Answers have one token, so texts identify tokens, except special tokens, which are empty.
    names = np.array(
        [reference.tokenizer.decode([i], skip_special_tokens=True) for i in range(len(expected))]
    )
    for answers in (draw(sampler, (prompt,), decoding), draw(reference, (prompt,), decoding)):
        texts = np.array(answers["text"].to_pylist())
        merged = {name: float(expected[names == name].sum()) for name in set(names.tolist())}
        assert all(merged[name] > 0 for name in set(texts.tolist()))
        common = [name for name, share in merged.items() if share * decoding.n >= 5]
        seen = np.array([np.sum(texts == name) for name in common] + [0])
        share = np.array([merged[name] for name in common] + [0.0])
        seen[-1], share[-1] = decoding.n - seen.sum(), max(1 - share.sum(), 1e-12)
        kept = share * decoding.n >= 1
        total = seen[kept].sum()
        assert chisquare(seen[kept], share[kept] / share[kept].sum() * total).pvalue > 1e-3


def test_logprobs_equal_the_model(sampler: object, reference: HFSampler) -> None:
    decoding = Decoding(n=20, max_new_tokens=30, temperature=0.8, top_p=0.9)
    table = draw(sampler, PROMPTS[:6], decoding)
    assert table["logq"].null_count == table.num_rows
    assert {"stop", "length"} == set(table["finish_reason"].to_pylist())
    plain = draw(sampler, PROMPTS[:6], decoding.replace(temperature=1, top_p=1))
    assert plain["logq"].equals(plain["logprob"])
    questions = {p.id: prompt_ids(reference.tokenizer, p.messages) for p in PROMPTS}
    checked = 0
    for row in table.to_pylist():
        ids = questions[row["prompt_id"]]
        answer = reference.tokenizer(row["text"], add_special_tokens=False)["input_ids"]
        answer += reference.eos * (row["finish_reason"] == "stop")
        if len(answer) != row["n_tokens"]:
            continue  # tokenising the text may give other tokens than the sampled ones
        with torch.inference_mode():
            logits = reference.model(torch.tensor([ids + answer])).logits[0].double()
        steps = logits.log_softmax(-1)[len(ids) - 1 : -1]
        total = float(steps.gather(-1, torch.tensor(answer)[:, None]).sum())
        # Other tokens of the same number are possible; their sum differs clearly.
        assert abs(total - row["logprob"]) < 1e-4 or abs(total - row["logprob"]) > 1e-2
        checked += abs(total - row["logprob"]) < 1e-4
    assert checked > 30


def test_invalid_requests_are_rejected(sampler: object, llama: Path, tmp_path: Path) -> None:
    decoding = Decoding(n=2, max_new_tokens=400)
    with pytest.raises(ValueError, match=r"prompt 'p0' has \d+ tokens.*context of 256"):
        draw(sampler, PROMPTS[:1], decoding)
    with pytest.raises(ValueError, match="need engine"):
        sample(
            llama,
            PROMPTS,
            decoding,
            backend=Backend("vllm"),
            logits_processors=[Ban(3)],
            store=tmp_path,
        )


SAMPLE = """
import json, sys
tests, model, folder = sys.argv[1:]
sys.path.insert(0, tests)
import torch
torch.set_num_threads(1)
from leakrepro.execution.backend import Backend
from leakrepro.sampling import sample
from leakrepro.types import Decoding
from worlds import make_prompts
decoding = Decoding(n=200, max_new_tokens=16)
samples = sample(model, make_prompts(80), decoding, backend=Backend("vllm"), store=folder)
print("drawn", samples.drawn)
"""


def start(llama: Path, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SAMPLE, Path(__file__).parents[1], llama, folder],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def content(path: Path) -> dict[str, bytes]:
    return {f.name: f.read_bytes() for f in path.glob("shard-*")}


def test_repeated_and_resumed_runs_write_the_same_bytes(llama: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        out, _ = start(llama, tmp_path / name).communicate(timeout=600)
        assert "drawn 16000" in out
    samples = read_samples(tmp_path / "one")
    assert len(set(samples.table["seed"].to_pylist())) == 16_000
    assert [len(texts) for texts in samples.texts] == [200] * 80
    whole = content(tmp_path / "one")
    assert len(whole) == 8
    assert content(tmp_path / "two") == whole
    manifest = json.loads((tmp_path / "one" / "manifest.json").read_text())
    assert manifest["asked"]["engine"] == "vllm"
    assert manifest["made_with"]["vllm"]

    # Kill the process when the third shard exists, then run it again.
    killed = start(llama, tmp_path / "killed")
    deadline = time.monotonic() + 300
    while len(list((tmp_path / "killed").glob("shard-*"))) < 3:
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.05)
    killed.kill()
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    left = len(content(tmp_path / "killed"))
    assert 3 <= left < 8
    with pytest.raises(StoreError, match="unfinished"):
        read_samples(tmp_path / "killed")
    out, _ = start(llama, tmp_path / "killed").communicate(timeout=600)
    assert f"drawn {16_000 - 2000 * left}" in out
    assert content(tmp_path / "killed") == whole


def test_several_engines_run_one_after_another_in_one_process(llama: Path, tmp_path: Path) -> None:
    other = make_model(tmp_path / "other", seed=1, hidden=128, end=22.0, spread=2.5)
    decoding = Decoding(n=4, max_new_tokens=8)
    one = sample(llama, PROMPTS[:4], decoding, backend=Backend("vllm"), store=tmp_path / "1")
    two = sample(other, PROMPTS[:4], decoding, backend=Backend("vllm"), store=tmp_path / "2")
    again = sample(
        llama,
        PROMPTS[:4],
        decoding,
        backend=Backend(VLLMOptions(max_num_seqs=8)),
        store=tmp_path / "3",
    )
    assert one.texts != two.texts
    assert again.texts == one.texts
    # The same request with another engine has another store.
    reference = sample(llama, PROMPTS[:4], decoding)
    assert reference.stores[0].identity.key != one.stores[0].identity.key
