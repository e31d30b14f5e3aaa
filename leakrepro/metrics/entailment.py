"""ES, the entailment score: whether the answer entails the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from leakrepro.errors import ModelError
from leakrepro.execution import local
from leakrepro.execution.backend import Backend, takes_backend
from leakrepro.metrics.classifier import PairClassifier, PairReader
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
from leakrepro.models.load import load_config, locate, resolve_device
from leakrepro.rouge.texts import rouge_l
from leakrepro.types import Prompt, Scores

GATE = 0.1  # of the authors: an answer with a lower ROUGE-L recall scores 0


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
        ModelError: If the model cannot be read, or does not have a label "entailment".
        ValueError: If the gate is not in [0, 1].
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
        reader = PairReader(self.path)
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


def _open(model: Path, key: str) -> PairClassifier:
    classifier = PairClassifier(model)
    opened_as(model, key)
    return classifier


_classifier = local.Held(_open)


def _entailment_label(path: Path) -> int:
    labels: Any = load_config(path).id2label
    if not isinstance(labels, Mapping):
        labels = {}
    names = {str(name).lower(): i for i, name in labels.items()}
    if "entailment" not in names:
        raise ModelError(
            f'{path} is not an entailment model: none of its labels is "entailment" '
            f"(labels: {', '.join(names) or 'none'})"
        )
    label, known = names["entailment"], sorted(labels)
    if known != list(range(len(known))) or len(names) != len(known):
        raise ModelError(
            f"{path}: id2label must give each output from 0 a name of its own, not {dict(labels)}"
        )
    return int(label)
