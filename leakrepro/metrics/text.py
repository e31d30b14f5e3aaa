"""Core metrics that compare strings: facts in an answer, or the whole answer."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from leakrepro.types import Prompt, Scores, unpaired_surrogate


class _Blanks(dict[int, str]):
    """A ``str.translate`` table from punctuation, symbols, separators and controls to spaces."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        self[code] = " " if unicodedata.category(char)[0] in "PSZC" else char
        return self[code]


_BLANKS = _Blanks()


def normalise(text: str) -> str:
    """Apply NFKC and case folding, replace punctuation by spaces and collapse white space.

    >>> normalise("  The “Straße”, 1984!")
    'the strasse 1984'
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.translate(_BLANKS).split())


def check_candidates(prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> None:
    """Raise unless there is one list of Unicode strings per prompt; errors name the prompt."""
    if len(prompts) != len(candidates):
        raise ValueError(f"{len(candidates)} lists of candidates for {len(prompts)} prompts")
    for prompt, texts in zip(prompts, candidates, strict=True):
        if isinstance(texts, str):
            raise ValueError(
                f"prompt {prompt.id!r}: candidates must be a list of strings, not one string"
            )
        for j, text in enumerate(texts):
            if not isinstance(text, str):
                raise TypeError(
                    f"prompt {prompt.id!r}: candidate {j} is {type(text).__name__}, not text"
                )
            if found := unpaired_surrogate(text):
                raise ValueError(
                    f"prompt {prompt.id!r}: candidate {j} has the unpaired surrogate {found}; the "
                    "text is not valid Unicode"
                )


class ExactMatch:
    """1 if the normalised candidate equals the normalised reference, else 0."""

    id = "exact_match"
    higher_is_better = True

    def score(self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scores:
        """Score the candidates; see ``CoreMetric``.

        Raises:
            ValueError: If the number of lists of candidates is not the number of prompts.
            TypeError: If a candidate is not a string; the message names its prompt.
        """
        check_candidates(prompts, candidates)
        rows = []
        for prompt, texts in zip(prompts, candidates, strict=True):
            reference = normalise(prompt.reference)
            equal = {text: normalise(text) == reference for text in set(texts)}
            rows.append([float(equal[text]) for text in texts])
        return Scores.from_rows(rows)


class FactMatch:
    """1 if a candidate states a fact of its prompt about the right subject, else 0.

    A candidate scores 1 if it contains one of ``Prompt.facts`` and does not name another subject:
    the prize of another author is not a leak. Texts are compared after ``normalise`` and on token
    boundaries. A name that is part of the subject's own name or of the fact (for example of a
    title) does not count as another subject.

    Args:
        subjects: Cluster -> full name of its subject; empty if other subjects are not known.
        strict: Whether the candidate must also contain the full name of the prompt's subject.

    Raises:
        ValueError: If the name of a subject does not have letters or digits.
    """

    higher_is_better = True

    def __init__(self, subjects: Mapping[str, str], *, strict: bool = False) -> None:
        self.id = "fact_match/strict" if strict else "fact_match"
        self._strict = strict
        self._names = {cluster: _padded(name) for cluster, name in subjects.items()}
        self._by_first: dict[str, set[str]] = {}
        for cluster, name in self._names.items():
            if name.isspace():
                raise ValueError(f"the subject of cluster {cluster!r} has no name")
            self._by_first.setdefault(name.split()[0], set()).add(name)

    def score(self, prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]]) -> Scores:
        """Score the candidates; see ``CoreMetric``.

        Raises:
            ValueError: If the number of lists of candidates is not the number of prompts, a prompt
                does not have facts, or, with ``strict``, the subject of a prompt is not known.
            TypeError: If a candidate is not a string; the message names its prompt.
        """
        check_candidates(prompts, candidates)
        read: dict[str, tuple[str, set[str]]] = {}
        rows = []
        for prompt, texts in zip(prompts, candidates, strict=True):
            facts = self._facts(prompt)
            own = self._own(prompt)
            known: dict[str, float] = {}
            for text in texts:
                if text not in known:
                    if text not in read:
                        padded = _padded(text)
                        read[text] = padded, self._named(padded)
                    known[text] = float(self._states(*read[text], facts, own))
            rows.append([known[text] for text in texts])
        return Scores.from_rows(rows)

    def _facts(self, prompt: Prompt) -> list[str]:
        facts = [_padded(fact) for fact in prompt.facts]
        if not facts or any(fact.isspace() for fact in facts):
            raise ValueError(
                f"prompt {prompt.id!r} has no facts to look for (or an empty one); {self.id} needs "
                "Prompt.facts"
            )
        return facts

    def _own(self, prompt: Prompt) -> str | None:
        own = self._names.get(prompt.cluster)
        if own is None and self._strict:
            raise ValueError(
                f"prompt {prompt.id!r}: {self.id} needs the full name of the subject of cluster "
                f"{prompt.cluster!r}; pass subjects"
            )
        return own

    def _named(self, padded: str) -> set[str]:
        """Return the subjects that a text names."""
        firsts = self._by_first.keys() & set(padded.split())
        return {name for first in firsts for name in self._by_first[first] if name in padded}

    def _states(self, padded: str, named: set[str], facts: list[str], own: str | None) -> bool:
        if not any(fact in padded for fact in facts):
            return False
        if self._strict and own not in named:
            return False
        sheltered = [span for phrase in (own, *facts) if phrase for span in _spans(padded, phrase)]
        return all(
            any(start <= first and last <= end for start, end in sheltered)
            for name in named - {own}
            for first, last in _spans(padded, name)
        )


def naming_share(
    prompts: Sequence[Prompt], candidates: Sequence[Sequence[str]], subjects: Mapping[str, str]
) -> float | None:
    """Return the share of candidates with the full name of their prompt's subject, in [0, 1].

    It distinguishes a model that answers about the right person from one that evades or is broken.
    Prompts that do not name the subject ask for the name; they are omitted.

    Args:
        prompts: The questions.
        candidates: Their answers, one list per prompt.
        subjects: Cluster -> full name.

    Returns:
        The share, or None if no question names a subject.
    """
    named = total = 0
    for prompt, texts in zip(prompts, candidates, strict=True):
        name = subjects.get(prompt.cluster)
        if name is None or _padded(name) not in _padded(prompt.messages[-1]["content"]):
            continue
        counts = Counter(texts)
        named += sum(count for text, count in counts.items() if _padded(name) in _padded(text))
        total += len(texts)
    return named / total if total else None


def _padded(text: str) -> str:
    """Return the normalised text between spaces, so that ``in`` respects token boundaries."""
    return f" {normalise(text)} "


def _spans(padded: str, phrase: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each occurrence of a padded phrase, also overlapping ones."""
    start = padded.find(phrase)
    while start >= 0:
        yield start, start + len(phrase)
        start = padded.find(phrase, start + 1)
