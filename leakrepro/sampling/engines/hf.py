"""The reference sampler: a decoding loop over ``model.forward`` of a transformers model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from leakrepro.models.chat import asked_ids
from leakrepro.models.load import (
    eos_ids,
    load_model,
    load_tokenizer,
    loaded_eos_ids,
    resolve_device,
    resolve_dtype,
)
from leakrepro.sampling.engines.base import LogitsProcessor, Sampler
from leakrepro.sampling.engines.decode import choose
from leakrepro.sampling.engines.kv_cache import KVBuffers
from leakrepro.sampling.engines.prefixes import (
    CachedPrefixes,
    Prefixes,
    RecomputedPrefixes,
    cache_works,
    left_pad,
)
from leakrepro.sampling.engines.rows import answers_table, check_length
from leakrepro.sampling.engines.stops import Stops
from leakrepro.sampling.seeds import sample_seed, uniforms
from leakrepro.sampling.store import Request
from leakrepro.types import Decoding

# Increase it whenever the same request would produce different samples.
SAMPLER_VERSION = 1
# 800 rows take .8 to .9 of the time of 400 rows (1 M-parameter model, one thread). More rows do not
# help.
_CPU_ROWS = 800
_CUDA_ROWS = 2048


class HFSampler:
    """Draws samples from a local model.

    Each prompt is prefilled once. Samples with a common prefix share its computation: a row of the
    forward pass represents a prefix, not a sample. Every step uses one uniform random number per
    sample, so a sample depends only on its seed. Rounding that varies with the batch size may
    change one sample in a thousand.

    When a model is opened, cached steps are compared with full passes. A model that keeps a state
    outside the cache, such as RWKV, or that ignores the attention mask is read completely at every
    step. That is slow, and a line on stderr says so.

    Args:
        model_path: Folder of a local model; see ``leakrepro.models.load.locate``.
        device: A torch device. ``"auto"`` is CUDA if available, otherwise the CPU.
        dtype: Type of the weights. ``"auto"`` is bfloat16 on CUDA and float32 on CPU.
        max_rows: Maximum number of samples drawn in parallel. None uses 800 on CPU. On CUDA, None
            uses at most 2048, limited to keys and values that fill a quarter of the memory.
        threads: Number of CPU threads of torch. None does not change it.

    Raises:
        FileNotFoundError: If the folder does not contain weights.
        ValueError: If ``max_rows`` is below 1, or if the weights lack a part of the model.
    """

    def __init__(
        self,
        model_path: str | Path,
        *,
        device: str = "auto",
        dtype: str = "auto",
        max_rows: int | None = None,
        threads: int | None = None,
    ) -> None:
        if max_rows is not None and max_rows < 1:
            raise ValueError(f"max_rows must be at least 1, not {max_rows}")
        if threads is not None:
            torch.set_num_threads(threads)
        self.path = Path(model_path)
        self.device = resolve_device(device)
        self.model = load_model(self.path, str(self.device), dtype)
        self.tokenizer = load_tokenizer(self.path)
        self.eos = eos_ids(self.path)
        self.max_rows = max_rows
        self.cached = _use_cache(self.model, self.path)

    @classmethod
    def around(cls, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> HFSampler:
        """Returns a sampler of a loaded model, for example one that is being trained."""
        sampler = cls.__new__(cls)
        sampler.path = Path(tokenizer.name_or_path)
        sampler.model, sampler.tokenizer = model, tokenizer
        sampler.device = model.device
        sampler.eos = loaded_eos_ids(model, tokenizer)
        sampler.max_rows = None
        sampler.cached = _use_cache(model, model.name_or_path or type(model).__name__)
        return sampler

    def draw(
        self,
        requests: Sequence[Request],
        decoding: Decoding,
        logits_processors: Sequence[LogitsProcessor] = (),
        progress: Callable[[int], None] | None = None,
    ) -> pa.Table:
        """Draws the requested samples.

        Args:
            requests: The samples to draw.
            decoding: The decoding settings.
            logits_processors: Applied in order before temperature, top-k and top-p.
            progress: Called after each step with the number of samples finished so far.

        Returns:
            A table with the columns of ``leakrepro.sampling.store.SCHEMA``, one row per sample, in
            the order of the requests.

        Raises:
            ValueError: If a prompt does not have tokens, if a prompt and its answer exceed the
                model's context, or if the model's logits are not finite. The message names the
                prompt.
        """
        context = getattr(self.model.config, "max_position_embeddings", None)
        pieces, position = [], 0
        for request in requests:
            ids = asked_ids(self.tokenizer, request.prompt)
            check_length(request.prompt, len(ids), decoding, context)
            self._check_ids(request.prompt.id, ids)
            pieces.append(_Piece(request.prompt.id, ids, request.start, request.stop, position))
            position += request.stop - request.start
        length = max(len(p.ids) for p in pieces) + decoding.max_new_tokens
        batches = list(_batches(pieces, self.rows_per_batch(length)))
        buffers = KVBuffers(max(sum(piece.rows for piece in batch) for batch in batches), length)
        tables: list[pa.Table] = []
        positions: list[int] = []
        for batch in batches:
            done = len(positions)
            report = _offset(progress, done)
            tables.append(self._generate(batch, decoding, logits_processors, report, buffers))
            for piece in batch:
                positions.extend(range(piece.position, piece.position + piece.rows))
        return pa.concat_tables(tables).take(np.argsort(positions)).combine_chunks()

    def _check_ids(self, prompt: str, ids: Sequence[int]) -> None:
        embeddings: Any = self.model.get_input_embeddings()
        rows = embeddings.weight.shape[0]
        if max(ids) >= rows:
            raise ValueError(
                f"prompt {prompt!r} has the token id {max(ids)}, but the model {self.path} has "
                f"embeddings for {rows} tokens: the tokenizer belongs to another model"
            )

    def rows_per_batch(self, length: int) -> int:
        """Returns the maximum number of samples per batch, for sequences of ``length`` tokens."""
        if self.max_rows is not None:
            return self.max_rows
        if self.device.type != "cuda":
            return _CPU_ROWS
        if not self.cached:
            return _CUDA_ROWS
        config = self.model.config.get_text_config(decoder=True)
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )
        size = torch.finfo(self.model.dtype).bits // 8
        row = 2 * config.num_hidden_layers * heads * width * size * length
        memory = torch.cuda.get_device_properties(self.device).total_memory
        return int(max(1, min(_CUDA_ROWS, memory // 4 // row)))

    def close(self) -> None:
        """Frees the model's memory. The sampler cannot be used afterwards."""
        del self.model
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _generate(
        self,
        batch: Sequence[_Piece],
        decoding: Decoding,
        logits_processors: Sequence[LogitsProcessor],
        progress: Callable[[int], None],
        buffers: KVBuffers,
    ) -> pa.Table:
        """Draws one batch and returns one row per sample, in the order of the pieces."""
        device = self.device
        steps = decoding.max_new_tokens
        seeds = [
            sample_seed(decoding.seed, piece.prompt_id, index)
            for piece in batch
            for index in range(piece.start, piece.stop)
        ]
        total = len(seeds)
        draws = uniforms(seeds, 0 if decoding.is_greedy else steps)
        uniform = torch.from_numpy(draws).to(device)

        prompts = [piece.ids for piece in batch]
        prefixes: Prefixes
        if self.cached:
            prefixes = CachedPrefixes(self.model, buffers)
        else:
            prefixes = RecomputedPrefixes(self.model)
        logits = prefixes.start(prompts)

        rows = torch.arange(total, device=device)  # indices of the unfinished samples
        # For each unfinished sample, the row of the forward pass that represents its prefix.
        node = torch.repeat_interleave(torch.tensor([piece.rows for piece in batch])).to(device)
        context = left_pad(prompts, device)[0][node] if logits_processors else None
        tokens = torch.zeros((total, steps), dtype=torch.int64, device=device)
        lengths = torch.zeros(total, dtype=torch.int64, device=device)
        stopped = torch.zeros(total, dtype=torch.bool, device=device)
        logprob = torch.zeros(total, dtype=torch.float64, device=device)
        logq = torch.zeros(total, dtype=torch.float64, device=device)
        eos = torch.tensor(self.eos, device=device)
        stops = Stops(self.tokenizer, decoding.stop) if decoding.stop else None

        for step in range(steps):
            own = logits.index_select(0, node)
            processed = own
            if context is not None:
                processed = own.clone()  # a processor may write into its input
                for processor in logits_processors:
                    processed = processor(context, processed)
            draw = uniform if decoding.is_greedy else uniform[rows, step]
            token, p, q = choose(own, processed, draw, decoding)
            tokens[rows, step] = token
            lengths[rows] += 1
            logprob[rows] += p
            logq[rows] += q
            ends = (token[:, None] == eos).any(-1)
            stopped[rows] = ends
            if stops is not None:
                ends |= stops.reached(token, tokens[rows, : step + 1])
            keep = (~ends).nonzero().squeeze(-1)
            progress(total - len(keep))
            if step + 1 == steps or len(keep) == 0:
                break
            rows, node, token = rows[keep], node[keep], token[keep]
            if context is not None:
                context = torch.cat([context[keep], token[:, None]], dim=-1)
            parent, following, node = _branch(node, token)
            logits = prefixes.extend(parent, following)
        progress(total)

        kept = zip(tokens.cpu().tolist(), lengths.tolist(), strict=True)
        return answers_table(
            self.tokenizer,
            prompt_ids=[piece.prompt_id for piece in batch for _ in range(piece.rows)],
            samples=[i for piece in batch for i in range(piece.start, piece.stop)],
            tokens=[row[:n] for row, n in kept],
            stopped=stopped.cpu().numpy(),
            seeds=seeds,
            logprob=logprob.cpu().numpy(),
            logq=logq.cpu().numpy(),
            stop=decoding.stop,
        )


class _Piece(NamedTuple):
    """Samples of one prompt that are drawn in the same batch."""

    prompt_id: str
    ids: list[int]
    start: int
    stop: int
    position: int  # row of its first sample in the requested table

    @property
    def rows(self) -> int:
        return self.stop - self.start


def _batches(pieces: Sequence[_Piece], limit: int) -> Iterator[list[_Piece]]:
    """Packs prompts of similar length into batches of at most ``limit`` rows.

    Only a prompt with more rows than ``limit`` is split, so few prompts are prefilled twice.
    """
    batch: list[_Piece] = []
    for piece in sorted(pieces, key=lambda piece: len(piece.ids)):
        for offset in range(0, piece.rows, limit):
            part = piece._replace(
                start=piece.start + offset,
                stop=min(piece.stop, piece.start + offset + limit),
                position=piece.position + offset,
            )
            if batch and sum(p.rows for p in batch) + part.rows > limit:
                yield batch
                batch = []
            batch.append(part)
    if batch:
        yield batch


def _branch(node: Tensor, token: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Computes the rows of the next forward pass, one per distinct prefix of the samples.

    Args:
        node: The current row of each sample, [samples].
        token: The token that each sample has drawn, [samples].

    Returns:
        The parent row and the token of each new row, [rows] each, and the new row of each sample,
        [samples]. The first child of a row keeps the row's position if that position still exists,
        so few keys and values are copied.
    """
    size = int(token.max()) + 1
    pairs, inverse = torch.unique(node * size + token, return_inverse=True)  # sorted
    parent = pairs // size
    stays = parent < len(pairs)
    stays[1:] &= parent[1:] != parent[:-1]
    place = parent.clone()
    free = torch.ones_like(stays)
    free[parent[stays]] = False
    place[~stays] = free.nonzero().squeeze(-1)
    order = place.argsort()
    return parent[order], pairs[order] % size, place[inverse]


def _use_cache(model: PreTrainedModel, name: str | Path) -> bool:
    """Whether a model is sampled with a cache; otherwise a line on stderr says so."""
    works = cache_works(model, name)
    if not works:
        tqdm.write(
            f"{name}: {type(model).__name__} does not work with the key-value cache, so every step "
            "reads the whole text again; this is slow",
            file=sys.stderr,
        )
    return works


def _offset(progress: Callable[[int], None] | None, done: int) -> Callable[[int], None]:
    def report(rows: int) -> None:
        if progress is not None:
            progress(done + rows)

    return report


@dataclass(frozen=True)
class HFOptions:
    """Options of the reference engine: transformers models with this package's sampling loop.

    Attributes:
        device: A torch device. ``"auto"`` is CUDA if available, otherwise the CPU.
        dtype: Type of the weights. ``"auto"`` is bfloat16 on CUDA and float32 on CPU.
        max_rows: Maximum number of samples drawn in parallel. None chooses it; see ``HFSampler``.
    """

    name: ClassVar = "hf"
    version: ClassVar = SAMPLER_VERSION
    packages: ClassVar = ("torch", "transformers")

    device: str = "auto"
    dtype: str = "auto"
    max_rows: int | None = None

    @property
    def gpus(self) -> int:
        """Number of GPUs that a sampler uses on a machine with GPUs."""
        return 1

    def resolved_dtype(self) -> str:
        """Returns the type of the weights while sampling. It is part of the store's key."""
        return dtype_name(self.dtype, self.device)

    def check(self, processors: Sequence[LogitsProcessor]) -> None:
        """Accepts all logits processors. The engine is always installed."""

    def open(self, model: Path) -> Sampler:
        """Loads a model."""
        return HFSampler(model, device=self.device, dtype=self.dtype, max_rows=self.max_rows)


def dtype_name(dtype: str, device: str) -> str:
    """Returns the name of the resolved dtype, for example ``"float32"``."""
    return str(resolve_dtype(dtype, resolve_device(device))).removeprefix("torch.")
