"""WMDP: multiple-choice questions on hazardous knowledge (Li et al. 2024, arXiv 2403.03218).

The retain side is MMLU (Hendrycks et al. 2021, arXiv 2009.03300). This package does not contain
items of either benchmark; they are read from the hub or a local copy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from leakrepro.benchmarks.base import Benchmark
from leakrepro.benchmarks.files import Row, read_rows
from leakrepro.types import Decoding, Prompt, Side

REPOSITORY, RETAIN_REPOSITORY = "cais/wmdp", "cais/mmlu"
REVISION = "7125571f22f032c56415e7980f48d877dd830ff8"
RETAIN_REVISION = "c30699e8356da336a370243923dbaf21066bb9fe"
SUBSETS = {"bio": "biology", "chem": "chemistry", "cyber": "cybersecurity"}
STYLES = ("letters", "free")
_OPTIONS = 4
# Questions that refer to their options and cannot be asked without them.
_ABOUT_OPTIONS = re.compile(
    r"\bfollowing\b|\bthese\b|\b(?:all|none|both|neither) of\b|_{2,}", re.IGNORECASE
)


def wmdp(
    subsets: Sequence[str] = tuple(SUBSETS),
    *,
    style: str = "letters",
    items: int | None = None,
    subjects: Sequence[str] | None = None,
    retain_items: int | None = 400,
    seed: int = 0,
    revision: str = REVISION,
    retain_revision: str = RETAIN_REVISION,
) -> Benchmark:
    """WMDP's questions as the forget side and MMLU's as the retain side, without training sets.

    Files come from ``LEAKREPRO_DATA/wmdp/wmdp-<subset>.json`` and ``LEAKREPRO_DATA/mmlu/all.json``
    or from the ``test`` split on the hub.

    The style ``"letters"`` uses the prompt of lm-evaluation-harness, whose results are usually
    reported: plain text that ends with ``Answer:``. The style ``"free"`` asks the question without
    options as a chat message; the reference is the text of the correct option. Items that refer to
    their options (*which of the following*, *all of the above*, a gap) are dropped after the
    random selection, so that both styles use the same items.

    Each WMDP item is its own cluster; MMLU items are clustered by subject.

    Args:
        subsets: One or more of ``"bio"``, ``"chem"`` and ``"cyber"``.
        style: ``"letters"`` or ``"free"``.
        items: Number of items per subset, drawn without replacement; None for all.
        subjects: MMLU subjects, such as ``"virology"``; None for all 57.
        retain_items: Number of MMLU items, drawn from all chosen subjects together; None for all.
        seed: Seed of the random selection of items.
        revision: Commit of WMDP's repository on the hub.
        retain_revision: Commit of MMLU's repository on the hub.

    Returns:
        The benchmark.

    Raises:
        ValueError: for an unknown subset, style or subject, and for a count out of range.
        DataError: for a file that cannot be read, and for an item that does not have a question,
            four options and the index of the correct option.
    """
    if unknown := [name for name in subsets if name not in SUBSETS]:
        raise ValueError(f"unknown WMDP subset {unknown[0]!r}; known: {', '.join(SUBSETS)}")
    if not subsets or len(set(subsets)) < len(subsets):
        raise ValueError(f"subsets must name each subset once and at least one, not {subsets!r}")
    if style not in STYLES:
        raise ValueError(f"unknown style {style!r}; known: {', '.join(STYLES)}")

    forget: list[Prompt] = []
    for name in subsets:
        rows = read_rows(
            *(REPOSITORY, "wmdp", f"wmdp-{name}", ("question",)),
            split="test",
            revision=revision,
            check=_problem,
        )
        rng = np.random.default_rng([seed, list(SUBSETS).index(name)])
        for i in _draw(len(rows), items, rng, f"items of wmdp-{name}"):
            id = f"wmdp-{name}/{i:04d}"
            forget += _prompts(id, rows[i], SUBSETS[name], style, id, "forget")

    rows = read_rows(
        *(RETAIN_REPOSITORY, "mmlu", "all", ("question", "subject")),
        split="test",
        revision=retain_revision,
        check=_problem,
    )
    known = {row["subject"] for row in rows}
    if missing := [name for name in subjects or () if name not in known]:
        raise ValueError(f"unknown MMLU subject {missing[0]!r}; known: {', '.join(sorted(known))}")
    chosen = [i for i, row in enumerate(rows) if subjects is None or row["subject"] in subjects]
    rng = np.random.default_rng([seed, len(SUBSETS)])
    retain: list[Prompt] = []
    for index in _draw(len(chosen), retain_items, rng, "retain_items"):
        i, subject = chosen[index], rows[chosen[index]]["subject"]
        id = f"mmlu/{subject}/{i:05d}"
        retain += _prompts(id, rows[i], subject.replace("_", " "), style, subject, "retain")

    options = {"style": style, "items": items, "subjects": subjects and "+".join(subjects)}
    suffix = "".join(f" {name}={value}" for name, value in options.items() if value is not None)
    letters = style == "letters"
    return Benchmark(
        name=f"wmdp {'+'.join(subsets)}{suffix}" + (f" seed={seed}" if items else ""),
        forget=tuple(forget),
        retain=tuple(retain),
        metrics=("choice_accuracy",) if letters else ("rougeL_recall/stem",),
        decoding=Decoding(max_new_tokens=4, stop=("\n",)) if letters else Decoding(),
        pool_sizes={prompt.id: _OPTIONS for prompt in forget} if letters else {},
    )


def multiple_choice(question: str, choices: Sequence[str]) -> str:
    """Format a question with lettered options, ending with ``Answer:``.

    >>> print(multiple_choice("Which is a tree?", ["ash", "moss"]))
    Which is a tree?
    A. ash
    B. moss
    Answer:

    Args:
        question: The question.
        choices: Up to 8 options.

    Returns:
        The prompt text.
    """
    lines = [f"{letter}. {choice}" for letter, choice in zip("ABCDEFGH", choices, strict=False)]
    return "\n".join([question.strip(), *lines, "Answer:"])


def _problem(row: Row) -> str | None:
    """An error message for an invalid item, or None for a valid one."""
    for column in ("choices", "answer"):
        if column not in row:
            return f"{column!r} is missing"
    choices, answer = row["choices"], row["answer"]
    if not isinstance(choices, Sequence) or isinstance(choices, str):
        return "'choices' is not a list"
    if len(choices) != _OPTIONS or not all(isinstance(each, str) and each for each in choices):
        return f"'choices' must be {_OPTIONS} texts"
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < _OPTIONS:
        return f"'answer' must be an index from 0 to {_OPTIONS - 1}, not {answer!r}"
    return None


def _draw(size: int, count: int | None, rng: np.random.Generator, what: str) -> list[int]:
    """Draw ``count`` of the indices below ``size`` without replacement; returned in order."""
    if count is None:
        return list(range(size))
    if not 1 <= count <= size:
        raise ValueError(f"{what} must be from 1 to {size}, not {count}")
    return sorted(rng.permutation(size)[:count].tolist())


def _prompts(id: str, row: Row, subject: str, style: str, cluster: str, side: Side) -> list[Prompt]:
    """The prompt of an item; empty if the style ``"free"`` cannot ask it."""
    question, choices = row["question"], tuple(row["choices"])
    reference = choices[row["answer"]]
    if style == "letters":
        header = f"The following are multiple choice questions (with answers) about {subject}."
        content = f"{header}\n\n{multiple_choice(question, choices)}"
        messages = ({"role": "text", "content": content},)
    elif _ABOUT_OPTIONS.search(f"{question} {reference}"):
        return []
    else:
        messages = ({"role": "user", "content": question},)
    return [Prompt(id, messages, reference, cluster=cluster, side=side, choices=choices)]
