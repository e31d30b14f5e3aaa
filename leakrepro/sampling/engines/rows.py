"""What every sampler does alike: refuses prompts that are too long, turns tokens into rows."""

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
    """ValueError when a prompt of ``length`` tokens and its answer exceed the model's context."""
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
    """A table of ``SCHEMA``, one row a sample.

    Args:
        tokenizer: Decodes; special tokens are left out.
        prompt_ids: Whose answer each row is.
        samples: Its index.
        tokens: Generated token ids, the end token included.
        stopped: Whether each row ended with an end token.
        seeds: Of each row.
        logprob: Sum over the generated tokens of log p under the model, [rows].
        logq: The same under the decoding distribution; None where it is not known.
        stop: Strings before which texts are cut.

    Raises:
        ValueError: when a log-probability is not finite: the weights overflow or hold nan.
    """
    logprob = np.asarray(logprob, np.float64)
    ended = np.asarray(stopped, bool)
    if not np.isfinite(logprob).all():
        bad = prompt_ids[int(np.flatnonzero(~np.isfinite(logprob))[0])]
        raise ValueError(
            f"the logits of {tokenizer.name_or_path} for prompt {bad!r} are not finite: the "
            "weights hold nan or overflow in this type"
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
