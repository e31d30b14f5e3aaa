"""Shared by all samplers: the length check, and the conversion of tokens to table rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike
from transformers import PreTrainedTokenizerBase

from leakrepro.sampling.engines.stops import cut
from leakrepro.sampling.store import SCHEMA
from leakrepro.types import Decoding, Prompt


def check_length(prompt: Prompt, length: int, decoding: Decoding, context: int | None) -> None:
    """Checks that a prompt and its longest possible answer fit into the model's context.

    Args:
        prompt: The prompt.
        length: The prompt's number of tokens.
        decoding: The decoding settings; ``max_new_tokens`` is used.
        context: The model's context in tokens. None skips the check.

    Raises:
        ValueError: If prompt and answer together exceed the context.
    """
    if context is not None and length + decoding.max_new_tokens > context:
        raise ValueError(
            f"prompt {prompt.id!r} has {length} tokens; with max_new_tokens="
            f"{decoding.max_new_tokens} that exceeds the model's context of {context}"
        )


def answers_table(
    tokenizer: PreTrainedTokenizerBase,
    *,
    prompt_ids: Sequence[str],
    samples: Sequence[int],
    tokens: Sequence[list[int]],
    stopped: ArrayLike,
    seeds: Sequence[int],
    logprob: ArrayLike,
    logq: ArrayLike | None,
    stop: Sequence[str] = (),
) -> pa.Table:
    """Builds a table of ``SCHEMA`` with one row per sample.

    Args:
        tokenizer: Decodes the tokens. Special tokens are skipped.
        prompt_ids: The prompt id of each row.
        samples: The index of each row's sample within its prompt.
        tokens: The generated token ids of each row, including the end token.
        stopped: Whether each row ended with an end token, [rows].
        seeds: The seed of each row.
        logprob: Sum of log p over the generated tokens under the model, [rows].
        logq: Sum of log p under the decoding distribution, [rows]. None if it is unknown.
        stop: Stop strings. Each text is truncated before the first one.

    Returns:
        The table.

    Raises:
        ValueError: If a log-probability is not finite, because the weights overflow or contain
            nan.
    """
    logprob = np.asarray(logprob, np.float64)
    ended = np.asarray(stopped, bool)
    if not np.isfinite(logprob).all():
        bad = prompt_ids[int(np.flatnonzero(~np.isfinite(logprob))[0])]
        raise ValueError(
            f"the logits of {tokenizer.name_or_path} for prompt {bad!r} are not finite: the "
            "weights contain nan or overflow in this dtype"
        )
    texts = tokenizer.batch_decode(
        [row[: len(row) - end] for row, end in zip(tokens, ended.tolist(), strict=True)],
        skip_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )
    if stop:
        whole, texts = texts, [cut(text, stop) for text in texts]
        ended = ended | [len(a) > len(b) for a, b in zip(whole, texts, strict=True)]
    return pa.table(
        {
            "prompt_id": prompt_ids,
            "sample": samples,
            "text": texts,
            "n_tokens": [len(row) for row in tokens],
            "finish_reason": np.where(ended, "stop", "length"),
            "seed": seeds,
            "logprob": logprob,
            "logq": pa.nulls(len(tokens), pa.float64()) if logq is None else np.asarray(logq),
        },
        schema=SCHEMA,
    )
