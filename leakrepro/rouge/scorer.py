"""All ROUGE types by the native kernel, with the interface of ``rouge_score.rouge_scorer``."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from leakrepro.rouge import _python
from leakrepro.rouge._kernel import Native, Python, kernel
from leakrepro.rouge._python import ROUGE_L, ROUGE_LSUM, Score, parse_type
from leakrepro.rouge.texts import RougeL, read_groups, rouge_l
from leakrepro.types import Scores

__all__ = ["RougeScorer", "Score", "Tokenizer"]


class Tokenizer(Protocol):
    """Splits a text into tokens."""

    def tokenize(self, text: str, /) -> Sequence[Hashable]:
        """Return the tokens of a text, in order."""


class RougeScorer:
    """Drop-in replacement for ``rouge_score.rouge_scorer.RougeScorer`` 0.1.2, with batches.

    Results and errors equal those of rouge_score, bit for bit. ROUGE-N and ROUGE-L follow
    C.-Y. Lin, "ROUGE: A package for automatic evaluation of summaries", 2004, sections 2 and 3.1;
    ROUGE-Lsum follows section 3.2, with every token counted at most as often as each side has it.
    A scorer contains only its settings: threads may share it, and it can be pickled.

    >>> scorer = RougeScorer(["rouge1", "rougeL"], use_stemmer=True)
    >>> scorer.score("The cat sat.", "Cats sit.")["rouge1"]
    Score(precision=0.5, recall=0.3333333333333333, fmeasure=0.4)
    >>> scorer.score_batch(["The cat sat."], [["Cats sit.", ""]])["rougeL"].recall[0].tolist()
    [0.3333333333333333, 0.0]

    Args:
        rouge_types: ``"rouge1"`` to ``"rouge9"``, ``"rougeL"``, ``"rougeLsum"``. As in rouge_score,
            ``score`` raises the error for an unknown type.
        use_stemmer: Compare words by their Porter stems.
        split_summaries: For rougeLsum, find sentences with ``nltk.sent_tokenize``; by default every
            line is a sentence.
        tokenizer: Replaces the default tokenizer; ``use_stemmer`` then does not have an effect.
    """

    def __init__(
        self,
        rouge_types: Collection[str],
        use_stemmer: bool = False,
        split_summaries: bool = False,
        tokenizer: Tokenizer | None = None,
    ) -> None:
        self.rouge_types = rouge_types
        self._stem = bool(use_stemmer)
        self._split_summaries = bool(split_summaries)
        self._tokenizer = tokenizer or None

    def score(self, target: str | bytes, prediction: str | bytes) -> dict[str, Score]:
        """Return the scores of one pair, by type.

        Args:
            target: The reference. Bytes are decoded as UTF-8, as in rouge_score.
            prediction: The candidate.

        Raises:
            AttributeError: If an argument is not a text.
            ValueError: If a rouge type is unknown.
            LookupError: If the data of nltk's sentence tokenizer is not installed.
            TypeError: If a token is not hashable.
        """
        run = kernel(threads=1)
        types = self._types()
        if not isinstance(run, Native) or types is None:
            return self._score_python(target, prediction)
        if self._tokenizer is not None:
            found = self._score_tokens(types, target, prediction, run)
        elif isinstance(target, str) and isinstance(prediction, str):
            target_sentences, prediction_sentences = (
                _python.split(text, with_nltk=True)
                if self._split_summaries and ROUGE_LSUM in types
                else None
                for text in (target, prediction)
            )
            found = run.score(
                types,
                target,
                prediction,
                target_sentences,
                prediction_sentences,
                stem=self._stem,
            )
        else:
            return self._score_python(target, prediction)
        return {name: Score(*s) for name, s in zip(self.rouge_types, found, strict=True)}

    def score_multi(
        self, targets: Iterable[str | bytes], prediction: str | bytes
    ) -> dict[str, Score]:
        """Return, for each type, the best score by F-measure among several references.

        Args:
            targets: The references, at least one. Bytes are decoded as UTF-8.
            prediction: The candidate.

        Raises:
            AttributeError: If an argument is not a text.
            ValueError: If there are no references, or a rouge type is unknown.
            LookupError: If the data of nltk's sentence tokenizer is not installed.
            TypeError: If a token is not hashable.
        """
        scores = [self.score(target, prediction) for target in targets]
        if self.rouge_types and not scores:
            raise ValueError("there are no targets to score against")
        return {
            name: max((found[name] for found in scores), key=lambda score: score.fmeasure)
            for name in self.rouge_types
        }

    def score_batch(
        self,
        references: Sequence[str],
        candidates: Sequence[Sequence[str]],
        *,
        threads: int | None = None,
    ) -> dict[str, RougeL]:
        """Return the scores of many pairs, by type; each equals that of ``score``.

        Args:
            references: R strings.
            candidates: One list of candidates per reference, of any length. Both may also be Arrow
                arrays, as for ``rouge_l``.
            threads: Maximum number of threads; None for the CPUs that this process may use. A
                custom tokenizer, and ``split_summaries`` with rougeLsum, run in one thread.

        Returns:
            For each type the three measures, each ``[R][candidates of that reference]``.

        Raises:
            TypeError: If a text is not a string (the message names its position), or if a string
                is given in place of a list of candidates.
            ValueError: If a rouge type is unknown, the numbers of references and of lists of
                candidates differ, or ``threads`` is below 1.
        """
        run = kernel(threads)
        types = [parse_type(name) for name in self.rouge_types]
        if self._tokenizer is not None or (self._split_summaries and ROUGE_LSUM in types):
            run = Python()  # tokens or sentences are found here, pair by pair
        if run.is_native and set(types) == {ROUGE_L}:
            return {"rougeL": rouge_l(references, candidates, stem=self._stem, threads=threads)}
        texts, rows, offsets = read_groups(references, candidates, native=run.is_native)
        values = np.zeros((len(types), 3, offsets[-1]))
        if isinstance(run, Native):
            run.score_batch(types, texts, rows, values.reshape(-1), stem=self._stem)
        else:
            _python.check_texts(texts, rows)
            for i, (reference, row) in enumerate(zip(texts, rows, strict=True)):
                for j, candidate in enumerate(row):
                    found = self.score(reference, candidate)
                    values[:, :, offsets[i] + j] = [found[name] for name in self.rouge_types]
        return {
            name: RougeL(*(Scores(measure, offsets) for measure in measures))
            for name, measures in zip(self.rouge_types, values, strict=True)
        }

    def _types(self) -> list[int] | None:
        """Return the types as the kernel numbers them; None if one is unknown."""
        len(self.rouge_types)  # refuses an iterator, which the first call would exhaust
        try:
            return [parse_type(name) for name in self.rouge_types]
        except (TypeError, ValueError):
            return None

    def _tokens(self, text: Any) -> Sequence[Hashable]:
        if self._tokenizer is not None:
            return self._tokenizer.tokenize(text)
        return _python.tokenise_any(text, stem=self._stem)

    def _score_python(self, target: Any, prediction: Any) -> dict[str, Score]:
        return _python.score(
            list(self.rouge_types),
            target,
            prediction,
            tokenise=self._tokens,
            with_nltk=self._split_summaries,
        )

    def _score_tokens(
        self,
        types: list[int],
        target: str | bytes,
        prediction: str | bytes,
        run: Native,
    ) -> list[tuple[float, float, float]]:
        """Score the tokens of a custom tokenizer, which are numbered here."""
        numbers: dict[Hashable, int] = {}

        def number(text: str | bytes) -> list[int]:
            return [numbers.setdefault(token, len(numbers)) for token in self._tokens(text)]

        def sentences(text: str | bytes) -> list[list[int]]:
            if ROUGE_LSUM not in types:
                return []
            found = _python.split(text, with_nltk=self._split_summaries)
            return [number(sentence) for sentence in found]

        def whole(text: str | bytes) -> list[int]:
            return [] if set(types) == {ROUGE_LSUM} else number(text)

        return run.score_ids(
            types,
            whole(target),
            whole(prediction),
            sentences(target),
            sentences(prediction),
            len(numbers),
        )
