"""All of ROUGE with the interface of ``rouge_score.rouge_scorer``, by the native kernel."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from leakrepro.rouge import _scorer_python
from leakrepro.rouge._kernel import choose, usable_threads
from leakrepro.rouge._python import check_texts
from leakrepro.rouge._scorer_python import ROUGE_L, ROUGE_LSUM, Score, parse_type
from leakrepro.rouge.texts import RougeL, read_groups, rouge_l
from leakrepro.types import Scores

__all__ = ["RougeScorer", "Score", "Tokenizer"]


class Tokenizer(Protocol):
    """What turns a text into tokens."""

    def tokenize(self, text: str, /) -> Sequence[Hashable]:
        """The tokens of a text, in order."""


class RougeScorer:
    """A drop-in for ``rouge_score.rouge_scorer.RougeScorer`` 0.1.2, and a batch form of it.

    Results equal those of rouge_score bit for bit, as do its errors. ROUGE-N and ROUGE-L are those
    of C.-Y. Lin, "ROUGE: A package for automatic evaluation of summaries", 2004, sections 2 and
    3.1; ROUGE-Lsum is section 3.2 with every token counted at most as often as each side has it.
    A scorer holds nothing but its settings: threads may share it, and it can be pickled.

    >>> scorer = RougeScorer(["rouge1", "rougeL"], use_stemmer=True)
    >>> scorer.score("The cat sat.", "Cats sit.")["rouge1"]
    Score(precision=0.5, recall=0.3333333333333333, fmeasure=0.4)
    >>> scorer.score_batch(["The cat sat."], [["Cats sit.", ""]])["rougeL"].recall[0].tolist()
    [0.3333333333333333, 0.0]

    Args:
        rouge_types: ``"rouge1"`` to ``"rouge9"``, ``"rougeL"``, ``"rougeLsum"``. A wrong one is an
            error of ``score``, as in rouge_score.
        use_stemmer: Compare words by their Porter stems.
        split_summaries: For rougeLsum, let ``nltk.sent_tokenize`` find the sentences; by default
            they are the lines.
        tokenizer: Used instead of the default one; ``use_stemmer`` is then of no effect.
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
        """The scores of one pair, by type.

        Args:
            target: The reference. Bytes are taken as UTF-8, as in rouge_score.
            prediction: The candidate.

        Raises:
            AttributeError: for what is not a text.
            ValueError: for a rouge type that is not known.
            LookupError: when nltk has no data to find sentences with.
            TypeError: for a token that cannot be hashed.
        """
        implementation = choose()
        types = self._types()
        if implementation == "python" or types is None:
            return self._score_python(target, prediction)
        from leakrepro import _native

        if self._tokenizer is not None:
            found = self._score_tokens(types, target, prediction, implementation)
        elif isinstance(target, str) and isinstance(prediction, str):
            target_sentences, prediction_sentences = (
                _scorer_python.split(text, with_nltk=True)
                if self._split_summaries and ROUGE_LSUM in types
                else None
                for text in (target, prediction)
            )
            found = _native.score(
                types,
                target,
                prediction,
                target_sentences,
                prediction_sentences,
                stem=self._stem,
                implementation=implementation,
            )
        else:
            return self._score_python(target, prediction)
        return {name: Score(*s) for name, s in zip(self.rouge_types, found, strict=True)}

    def score_multi(
        self, targets: Iterable[str | bytes], prediction: str | bytes
    ) -> dict[str, Score]:
        """For each type, the best score by F-measure among several references.

        Raises:
            ValueError: when there are none, and as in ``score``.
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
        """The scores of many pairs, by type; each equals that of ``score``.

        Args:
            references: R strings.
            candidates: For each reference its candidates, any number of them. Both may also be
                Arrow arrays, as for ``rouge_l``.
            threads: How many threads at most; None for the CPUs that this process may use. A
                tokenizer of yours and ``split_summaries`` with rougeLsum run in one.

        Returns:
            For each type the three measures, each ``[R][candidates of that reference]``.

        Raises:
            TypeError: for a text that is not a string (the message names its position), and for a
                string where a list of candidates is expected.
            ValueError: for a rouge type that is not known, when there are not as many lists of
                candidates as references, and for ``threads`` below 1.
        """
        implementation, threads = choose(), usable_threads(threads)
        types = [parse_type(name) for name in self.rouge_types]
        is_native = (
            implementation != "python"
            and self._tokenizer is None
            and not (self._split_summaries and ROUGE_LSUM in types)
        )
        if is_native and set(types) == {ROUGE_L}:
            return {"rougeL": rouge_l(references, candidates, stem=self._stem, threads=threads)}
        texts, rows, offsets = read_groups(references, candidates, native=is_native)
        values = np.zeros((len(types), 3, offsets[-1]))
        if is_native:
            from leakrepro import _native

            _native.score_batch(
                types,
                texts,
                rows,
                values.reshape(-1),
                stem=self._stem,
                threads=threads,
                implementation=implementation,
            )
        else:
            check_texts(texts, rows)
            for i, (reference, row) in enumerate(zip(texts, rows, strict=True)):
                for j, candidate in enumerate(row):
                    found = self.score(reference, candidate)
                    values[:, :, offsets[i] + j] = [found[name] for name in self.rouge_types]
        return {
            name: RougeL(*(Scores(measure, offsets) for measure in measures))
            for name, measures in zip(self.rouge_types, values, strict=True)
        }

    def _types(self) -> list[int] | None:
        """The types as the kernel takes them; None where one is wrong."""
        len(self.rouge_types)  # an iterator, which one call would use up, is an error
        try:
            return [parse_type(name) for name in self.rouge_types]
        except (TypeError, ValueError):
            return None

    def _tokens(self, text: Any) -> Sequence[Hashable]:
        if self._tokenizer is not None:
            return self._tokenizer.tokenize(text)
        return _scorer_python.tokenise(text, stem=self._stem)

    def _score_python(self, target: Any, prediction: Any) -> dict[str, Score]:
        return _scorer_python.score(
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
        implementation: str,
    ) -> list[tuple[float, float, float]]:
        """By tokens of the user's, which become numbers here."""
        from leakrepro import _native

        numbers: dict[Hashable, int] = {}

        def number(text: str | bytes) -> list[int]:
            return [numbers.setdefault(token, len(numbers)) for token in self._tokens(text)]

        def sentences(text: str | bytes) -> list[list[int]]:
            if ROUGE_LSUM not in types:
                return []
            found = _scorer_python.split(text, with_nltk=self._split_summaries)
            return [number(sentence) for sentence in found]

        def whole(text: str | bytes) -> list[int]:
            return [] if set(types) == {ROUGE_LSUM} else number(text)

        return _native.score_ids(
            types,
            whole(target),
            whole(prediction),
            sentences(target),
            sentences(prediction),
            len(numbers),
            implementation=implementation,
        )
