"""A classifier of text pairs: its tokenizer, the longest pair that it reads, and its labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from leakrepro.errors import ModelError
from leakrepro.metrics.model_scored import Pair, Usage
from leakrepro.models.load import load_classifier, load_config, load_tokenizer, resolve_device
from leakrepro.models.reading import reading

# Tokens per batch with padding: enough to fill a GPU; on a CPU, few enough for its caches.
_BATCH_TOKENS = {"cuda": 1 << 16, "cpu": 1 << 12}
_UNLIMITED = 1 << 20  # tokens that a model without positions reads
# Two pairs of different length, which show whether padding changes what a model reads.
_SHORT, _LONG = ("a", "b"), ("a b a b a b a", "b a b")
# Padded and unpadded rows differ by rounding: a few times the machine epsilon of the type.
_ROUNDING = {torch.float32: 1e-4, torch.bfloat16: 0.1}


class PairReader:
    """The tokenizer of a pair classifier.

    Args:
        path: A folder with a sequence classification model.

    Attributes:
        longest: The longest pair that the model reads, in tokens.

    Raises:
        ModelError: If the tokenizer or the configuration cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tokenizer: Any = load_tokenizer(path)
        # With absolute positions, padding in front would move the text.
        self.tokenizer.padding_side = "right"
        longest: Any = self.tokenizer.model_max_length
        if isinstance(longest, bool) or not isinstance(longest, int | float) or not longest >= 1:
            raise ModelError(f"{path}: model_max_length must be a number from 1, not {longest!r}")
        self.longest = int(min(longest, _positions(path)))

    def encode(self, pairs: Sequence[Pair]) -> list[list[int]]:
        """Return the token ids of each pair, without truncation."""
        if not pairs:
            return []
        first, second = zip(*pairs, strict=True)
        with reading(self.path, "tokenizer"):
            ids: list[list[int]] = self.tokenizer(
                list(first), list(second), truncation=False, verbose=False
            )["input_ids"]
        return ids


class PairClassifier(PairReader):
    """A pair classifier in memory, on the GPU if there is one.

    Args:
        path: A folder with a sequence classification model.

    Raises:
        ModelError: If the folder cannot be read, or its weights do not fit its configuration or
            are not finite.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        device = resolve_device()
        dtype = "bfloat16" if device.type == "cuda" else "float32"
        self.model: Any = load_classifier(path, str(device), dtype)
        embeddings: Any = self.model.get_input_embeddings()
        self.ids: int = embeddings.weight.shape[0]
        self.pads = self._reads_padded()

    @torch.inference_mode()
    def read(
        self, pairs: Sequence[Pair], label: int, progress: Callable[[int], None]
    ) -> tuple[list[float], Usage]:
        """Decide for each pair whether ``label`` is its most likely label.

        Args:
            pairs: The pairs.
            label: Index of the label.
            progress: Called with the number of pairs read so far.

        Returns:
            1.0 or 0.0 per pair, and the counts of the work.

        Raises:
            ModelError: If the model cannot read a pair, or its logits are not finite.
        """
        lengths = np.array([len(ids) for ids in self.encode(pairs)])
        cut = int((lengths > self.longest).sum())
        lengths = np.minimum(lengths, self.longest)
        order = np.argsort(lengths, kind="stable")
        labels = np.empty(len(pairs))
        padding, budget = 0, _BATCH_TOKENS.get(self.model.device.type, 1 << 14)
        start = 0
        while start < len(order):
            # The pairs are sorted by length, so the last one of a batch sets its width.
            widths = lengths[order[start:]] * np.arange(1, len(order) - start + 1)
            stop = start + max(1, int(np.searchsorted(widths, budget, side="right")))
            if not self.pads:
                stop = start + 1
            rows = order[start:stop]
            logits, pad = self._logits([pairs[i] for i in rows])
            labels[rows] = (logits.argmax(-1) == label).float().cpu().numpy()
            padding += pad
            start = stop
            progress(start)
        tokens = int(lengths.sum())
        return labels.tolist(), Usage(scored=len(pairs), tokens=tokens, padding=padding, cut=cut)

    def _logits(self, pairs: Sequence[Pair]) -> tuple[Tensor, int]:
        """Return the logits of some pairs, [pairs, labels], and the tokens of padding."""
        with reading(self.path, "tokenizer"):
            batch = self.tokenizer(
                [first for first, _ in pairs],
                [second for _, second in pairs],
                padding=len(pairs) > 1,
                truncation="longest_first",
                max_length=self.longest,
                return_tensors="pt",
            )
        largest = int(batch["input_ids"].max()) if batch["input_ids"].numel() else 0
        if largest >= self.ids:
            raise ModelError(
                f"{self.path}: the tokenizer gives the id {largest}, but the model has embeddings "
                f"for {self.ids} tokens: this tokenizer belongs to another model"
            )
        with reading(self.path, "model"):
            logits: Tensor = self.model(**batch.to(self.model.device)).logits
        if not torch.isfinite(logits).all():
            raise ModelError(f"{self.path}: its logits for a pair are not finite")
        mask = batch["attention_mask"]
        return logits, int(mask.numel() - mask.sum())

    @torch.inference_mode()
    def _reads_padded(self) -> bool:
        """Whether a padded pair gets the logits that it gets without padding.

        It does not without a padding token, or if the model ignores the attention mask.
        """
        single = torch.cat([self._logits([pair])[0] for pair in (_SHORT, _LONG)])
        try:
            together, _ = self._logits([_SHORT, _LONG])
        except ModelError:
            return False
        scale = float((single - single.mean()).abs().max())
        allowed = _ROUNDING[self.model.dtype] * scale
        return float((single - together).abs().max()) <= allowed


def _positions(path: Path) -> int:
    """Return the number of positions that a classifier has, from its configuration only."""
    config = load_config(path)
    with reading(path, "configuration"), torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config, trust_remote_code=False)
    positions = getattr(config, "max_position_embeddings", None) or _UNLIMITED
    for name, module in model.named_modules():
        padding = getattr(module, "padding_idx", None)
        if name.endswith("position_embeddings") and padding is not None:
            # RoBERTa and its relatives count positions from padding_idx + 1.
            positions = min(positions, module.weight.shape[0] - padding - 1)
    if positions < 1:
        raise ModelError(f"{path}: max_position_embeddings leaves no position for a token")
    return int(positions)
