"""ES, the entailment score: whether the answer entails the reference."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from leakrepro.execution import local
from leakrepro.execution.backend import Backend, takes_backend
from leakrepro.metrics.model_scored import (
    Distinct,
    Pair,
    Usage,
    named,
    opened_as,
    read_shards,
    reader_key,
)
from leakrepro.metrics.score_cache import ScoreCache
from leakrepro.metrics.text import check_candidates
from leakrepro.models.load import locate, no_progress_bars, resolve_device
from leakrepro.rouge.texts import rouge_l
from leakrepro.types import Prompt, Scores

GATE = 0.1  # of the authors: an answer with a lower ROUGE-L recall scores 0
# Tokens per batch with padding: enough to fill a GPU; on a CPU, few enough for its caches.
_BATCH_TOKENS = {"cuda": 1 << 16, "cpu": 1 << 12}


class EntailmentScore:
    """1 if a natural language inference model predicts "entailment", else 0 (the paper's ES).

    On forget prompts the candidate is the premise and the reference answer the hypothesis, so that
    a candidate with further content still leaks. On retain prompts it is the reverse. Candidates
    whose ROUGE-L recall (stemmed) of the reference is below the gate score 0; the model does not
    read them.

    The model reads each distinct other pair once. Scores are cached by content under
    ``LEAKREPRO_HOME/scores``. Pairs are batched by length, so that there is little padding. On a
    GPU the model runs in bfloat16.

    Args:
        model: A hub id (``"org/name@revision"`` pins it) or a folder with a sequence
            classification model that has a label "entailment".
        name: Name of the model in the metric's id; None for the name of ``model``.
        gate: ROUGE-L recall below which a candidate scores 0; with 0 all are read.
        backend: Where the model runs; None for one process.
        cache: Whether to read and store cached scores.

    Attributes:
        id: ``entailment/<name>@<revision>``, with ``/gate=<gate>`` if it is not the authors' gate.
            The first digits of a hash of the model replace a missing revision.
        usage: What the model has read since the metric was created.

    Raises:
        FileNotFoundError: If the model does not exist.
        ValueError: If the model does not have a label "entailment", or the gate is not in [0, 1].
    """

    higher_is_better = True

    @takes_backend
    def __init__(
        self,
        model: str | Path,
        *,
        name: str | None = None,
        gate: float = GATE,
        backend: Backend | None = None,
        cache: bool = True,
    ) -> None:
        if not 0 <= gate <= 1:
            raise ValueError(f"gate must be in [0, 1], not {gate}")
        self.path = locate(model).resolve()
        self._key = key = reader_key(self.path)
        suffix = "" if gate == GATE else f"/gate={gate:g}"
        self.id = f"entailment/{named(model, self.path, key, name)}{suffix}"
        self.usage = Usage()
        self._gate, self._backend = gate, backend or Backend()
        self._label = _entailment_label(self.path)
        # bfloat16 rounds differently, so its scores are cached separately.
        kind = resolve_device().type
        self._cache = ScoreCache(f"entailment/{key}/{kind}") if cache else None

    def score(self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scores:
        """Score the candidates; see ``CoreMetric``.

        Raises:
            ValueError: If the number of lists of candidates is not the number of prompts.
            TypeError: If a candidate is not a string; the message names its prompt.
        """
        check_candidates(prompts, candidates)
        references = [prompt.reference for prompt in prompts]
        recall = rouge_l(references, candidates, stem=True).recall
        distinct = Distinct(
            (
                [
                    _pair(prompt, text) if r >= self._gate else None
                    for text, r in zip(texts, recall[i], strict=True)
                ]
                for i, (prompt, texts) in enumerate(zip(prompts, candidates, strict=True))
            ),
            self._cache,
        )
        self.usage += read_shards(
            distinct,
            _classify,
            (self.path, self._key, self._label),
            backend=self._backend,
            label="entailment",
        )
        return distinct.scores()

    def tokens(
        self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]], batch_size: int = 32
    ) -> int:
        """Return the tokens, with padding, of reading every candidate.

        Batches have ``batch_size`` pairs in the given order; 1 is without padding.
        """
        pairs = [
            _pair(prompt, text)
            for prompt, texts in zip(prompts, candidates, strict=True)
            for text in texts
        ]
        distinct = list(dict.fromkeys(pairs))
        reader = _Classifier(self.path, weights=False)
        ids = reader.encode(distinct)
        length = {pair: len(each) for pair, each in zip(distinct, ids, strict=True)}
        lengths = [min(length[pair], reader.longest) for pair in pairs]
        batches = [lengths[i : i + batch_size] for i in range(0, len(lengths), batch_size)]
        return sum(max(batch) * len(batch) for batch in batches)


def _pair(prompt: Prompt, candidate: str) -> Pair:
    """Return premise and hypothesis."""
    if prompt.side == "forget":
        return candidate, prompt.reference
    return prompt.reference, candidate


def _classify(
    model: Path, key: str, label: int, pairs: Sequence[Pair], progress: Callable[[int, int], None]
) -> tuple[list[float], Usage]:
    return _classifier(model, key).read(pairs, label, lambda done: progress(done, len(pairs)))


class _Classifier:
    """A pair classifier in memory."""

    def __init__(self, path: Path, *, weights: bool = True) -> None:
        self.tokenizer: Any = AutoTokenizer.from_pretrained(str(path))
        self.device = resolve_device()
        positions = AutoConfig.from_pretrained(str(path)).max_position_embeddings
        self.longest = min(self.tokenizer.model_max_length, positions)
        if not weights:
            return
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        with no_progress_bars():
            model = AutoModelForSequenceClassification.from_pretrained(str(path), dtype=dtype)
        self.model = model.to(self.device).eval()

    def encode(self, pairs: Sequence[Pair]) -> list[list[int]]:
        """Return the token ids of each pair, without truncation."""
        if not pairs:
            return []
        first, second = zip(*pairs, strict=True)
        ids: list[list[int]] = self.tokenizer(
            list(first), list(second), truncation=False, verbose=False
        )["input_ids"]
        return ids

    @torch.inference_mode()
    def read(
        self, pairs: Sequence[Pair], label: int, progress: Callable[[int], None]
    ) -> tuple[list[float], Usage]:
        lengths = np.array([len(ids) for ids in self.encode(pairs)])
        cut = int((lengths > self.longest).sum())
        lengths = np.minimum(lengths, self.longest)
        order = np.argsort(lengths, kind="stable")
        labels = np.empty(len(pairs))
        padding, budget = 0, _BATCH_TOKENS.get(self.device.type, 1 << 14)
        start = 0
        while start < len(order):
            # The pairs are sorted by length, so the last one of a batch sets its width.
            widths = lengths[order[start:]] * np.arange(1, len(order) - start + 1)
            stop = start + max(1, int(np.searchsorted(widths, budget, side="right")))
            rows = order[start:stop]
            batch = self.tokenizer(
                [pairs[i][0] for i in rows],
                [pairs[i][1] for i in rows],
                padding=True,
                truncation="longest_first",
                max_length=self.longest,
                return_tensors="pt",
            ).to(self.device)
            logits = self.model(**batch).logits
            labels[rows] = (logits.argmax(-1) == label).float().cpu().numpy()
            padding += int(batch["attention_mask"].numel() - batch["attention_mask"].sum())
            start = stop
            progress(start)
        tokens = int(lengths.sum())
        return labels.tolist(), Usage(scored=len(pairs), tokens=tokens, padding=padding, cut=cut)


def _open(model: Path, key: str) -> _Classifier:
    classifier = _Classifier(model)
    opened_as(model, key)
    return classifier


_classifier = local.Held(_open)


def _entailment_label(path: Path) -> int:
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    names = {str(name).lower(): int(i) for i, name in (config.get("id2label") or {}).items()}
    if "entailment" not in names:
        raise ValueError(
            f'{path} is not an entailment model: none of its labels is "entailment" '
            f"(labels: {', '.join(names) or 'none'})"
        )
    return names["entailment"]
