"""Logits after many prefixes of text that grow token by token, with and without a cache."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from leakrepro.errors import ModelError
from leakrepro.models.reading import reading
from leakrepro.sampling.engines.kv_cache import KVBuffers, make_cache

_FORWARD_TOKENS = 1 << 14  # per forward pass without a cache
_WINDOW = 64  # attention windows up to this length are filled when a model is opened


class Prefixes(Protocol):
    """The prefixes of a batch, one per row."""

    def start(self, prompts: Sequence[list[int]]) -> Tensor:
        """Read the prompts.

        Returns:
            Logits of the next token, [prompts, vocabulary], float32.
        """
        ...

    def extend(self, parent: Tensor, token: Tensor) -> Tensor:
        """Replace the prefixes by longer ones.

        Args:
            parent: For each new row, the present row that it continues, [rows].
            token: Its further token, [rows].

        Returns:
            Logits of the next token, [rows, vocabulary], float32.
        """
        ...


class CachedPrefixes:
    """Prefixes whose keys and values are cached, so that a step reads one token per row.

    Args:
        model: The model.
        buffers: Memory for keys and values.
    """

    def __init__(self, model: PreTrainedModel, buffers: KVBuffers) -> None:
        self._model = model
        self._cache = make_cache(model.config, buffers)
        self._mask: Tensor | None = None
        self._position: Tensor | None = None

    def start(self, prompts: Sequence[list[int]]) -> Tensor:
        """Read the prompts; see ``Prefixes``."""
        ids, mask = left_pad(prompts, self._model.device)
        self._mask = mask
        position = None if mask is None else (mask.cumsum(-1) - 1).clamp_(min=0)
        logits = self._forward(ids, position)
        self._position = None if position is None else position[:, -1:]
        return logits

    def extend(self, parent: Tensor, token: Tensor) -> Tensor:
        """Read one token per row; see ``Prefixes``."""
        self._cache.batch_select_indices(parent)
        if self._mask is not None and self._position is not None:
            ones = self._mask.new_ones((len(parent), 1))
            self._mask = torch.cat([self._mask[parent], ones], dim=-1)
            self._position = self._position[parent] + 1
        return self._forward(token[:, None], self._position)

    def _forward(self, ids: Tensor, position: Tensor | None) -> Tensor:
        return _last_logits(
            self._model,
            input_ids=ids,
            attention_mask=self._mask,
            position_ids=position,
            past_key_values=self._cache,
            use_cache=True,
        )


class RecomputedPrefixes:
    """Prefixes that are read completely at every step, without padding: slow, for any model.

    Args:
        model: The model.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._rows: list[list[int]] = []

    def start(self, prompts: Sequence[list[int]]) -> Tensor:
        """Read the prompts; see ``Prefixes``."""
        self._rows = [list(ids) for ids in prompts]
        return self._logits()

    def extend(self, parent: Tensor, token: Tensor) -> Tensor:
        """Read all rows again with their further tokens; see ``Prefixes``."""
        pairs = zip(parent.tolist(), token.tolist(), strict=True)
        self._rows = [[*self._rows[i], further] for i, further in pairs]
        return self._logits()

    def _logits(self) -> Tensor:
        by_length: dict[int, list[int]] = {}
        for i, row in enumerate(self._rows):
            by_length.setdefault(len(row), []).append(i)
        parts, order = [], []
        for length, rows in by_length.items():
            at_once = max(1, _FORWARD_TOKENS // length)
            for start in range(0, len(rows), at_once):
                some = rows[start : start + at_once]
                ids = torch.tensor([self._rows[i] for i in some], device=self._model.device)
                parts.append(_last_logits(self._model, input_ids=ids, use_cache=False))
                order += some
        places = torch.tensor(order, device=self._model.device).argsort()
        return torch.cat(parts).index_select(0, places)


def left_pad(prompts: Sequence[list[int]], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Returns token ids [prompts, longest] and the attention mask, or None without padding."""
    longest = max(len(ids) for ids in prompts)
    padded = torch.tensor([[0] * (longest - len(ids)) + ids for ids in prompts], device=device)
    if all(len(ids) == longest for ids in prompts):
        return padded, None
    pads = torch.tensor([longest - len(ids) for ids in prompts], device=device)
    return padded, (torch.arange(longest, device=device) >= pads[:, None]).long()


def _last_logits(model: PreTrainedModel, **inputs: Any) -> Tensor:
    """The logits after the last token, [rows, vocabulary], float32."""
    inputs["logits_to_keep"] = 1  # of the last token
    optional = ("position_ids", "logits_to_keep", "use_cache")
    known = _parameters(model)
    given = {k: v for k, v in inputs.items() if k not in optional or k in known}
    logits: Tensor = model(**given).logits[:, -1]
    return logits.float()


def _parameters(model: Any) -> set[str]:
    """Names of the arguments of a model's forward pass, also of the classes that it extends."""
    if hasattr(model, "get_base_model"):  # peft's wrapper
        model = model.get_base_model()
    found = [vars(c)["forward"] for c in type(model).__mro__ if "forward" in vars(c)]
    return {name for each in found for name in inspect.signature(each).parameters}


# Verdicts of models in memory. A model in training keeps its verdict.
_verdicts: weakref.WeakKeyDictionary[PreTrainedModel, bool] = weakref.WeakKeyDictionary()


@torch.inference_mode()
def cache_works(model: PreTrainedModel, name: str | Path) -> bool:
    """Whether two cached steps of a model give the logits of full passes without a cache.

    They do not for a model with a state outside the cache, or one that ignores the attention mask.
    Two prompts of different length are padded, branched and reordered as in sampling, beyond a
    short attention window. The models that pass are sampled as before.

    The two sides differ by rounding. They agree if the norm of the difference is below the square
    root of the type's machine epsilon, relative to the norm of the logits around their mean: half
    of the digits (3.5e-4 in float32, .09 in bfloat16). Rounding of a few hundred operations in
    sequence is below it; a lost state or a wrong position changes the first digits.

    Args:
        model: The model in evaluation mode.
        name: Its folder or name, for the message.

    Raises:
        ModelError: If the model cannot compute logits, or is not causal.
    """
    if model in _verdicts:
        return _verdicts[model]
    prompts, tokens = _probe(model)
    with reading(name, "model"):
        full = _steps(RecomputedPrefixes(model), prompts, tokens, model.device)
    if not torch.isfinite(full).all():
        return True  # sampling names the prompt
    allowed = torch.finfo(model.dtype).eps ** 0.5 * (full - full.mean(-1, keepdim=True)).norm(
        dim=-1
    )
    with reading(name, "model"):
        earlier = _before_the_last(model, [*prompts[0], int(tokens[0])])
    if (earlier - full[0]).norm() > allowed[0]:
        raise ModelError(
            f"{name}: {type(model).__name__} is not a causal language model: its logits after a "
            "text depend on the tokens that follow"
        )
    try:
        buffers = KVBuffers(3, max(map(len, prompts)) + 2)
        cached = _steps(CachedPrefixes(model, buffers), prompts, tokens, model.device)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception:
        # Whatever a model raises when it is given a cache, sampling without one does not need it.
        _verdicts[model] = False
    else:
        _verdicts[model] = bool(((cached - full).norm(dim=-1) <= allowed).all())
    return _verdicts[model]


def _before_the_last(model: PreTrainedModel, ids: list[int]) -> Tensor:
    """The logits of the last of some ids, [vocabulary], from a pass that also reads it."""
    given = torch.tensor([ids], device=model.device)
    flags = {"use_cache": False} if "use_cache" in _parameters(model) else {}
    logits: Tensor = model(input_ids=given, **flags).logits[0, -2]
    return logits.float()


def _steps(
    prefixes: Prefixes, prompts: Sequence[list[int]], tokens: Tensor, device: torch.device
) -> Tensor:
    """Logits of a start, a step that branches and a step that drops and reorders rows."""
    first = prefixes.start(prompts)
    second = prefixes.extend(torch.tensor([0, 1, 0], device=device), tokens[:3])
    third = prefixes.extend(torch.tensor([2, 1], device=device), tokens[3:])
    return torch.cat([first, second, third])


def _probe(model: PreTrainedModel) -> tuple[list[list[int]], Tensor]:
    """Two prompts of different length and five tokens, without special tokens if possible."""
    config: Any = model.config.get_text_config(decoder=True)
    embeddings: Any = model.get_input_embeddings()
    size = int(embeddings.weight.shape[0])
    windows = [getattr(config, n, None) for n in ("sliding_window", "attention_chunk_size")]
    short = [n for n in windows if isinstance(n, int) and 0 < n <= _WINDOW]
    context = getattr(config, "max_position_embeddings", None) or _WINDOW * 2
    longest = max(2, min(max([5, *(n + 2 for n in short)]), context - 2))
    names = ("pad_token_id", "bos_token_id", "eos_token_id")
    special = {each for n in names for each in _as_set(getattr(config, n, None))}
    usable = [i for i in range(min(size, 4096)) if i not in special] or [0]
    ids = [usable[(7 * i * i + 3 * i + 1) % len(usable)] for i in range(2 * longest + 5)]
    tokens = torch.tensor(ids[-5:], device=model.device)
    return [ids[:longest], ids[longest : longest + (longest + 1) // 2]], tokens


def _as_set(ids: Any) -> set[int]:
    return set(ids) if isinstance(ids, list | tuple) else {ids}
