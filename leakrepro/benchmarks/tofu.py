"""TOFU: questions about 200 fictitious authors (Maini et al. 2024, arXiv 2401.06121)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leakrepro.benchmarks.base import Benchmark
from leakrepro.benchmarks.files import Row, read_rows
from leakrepro.errors import DataError
from leakrepro.types import Decoding, Prompt, Side

REPOSITORY = "locuslab/TOFU"
REVISION = "324592d84ae4f482ac7249b9285c2ecdb53e3a68"
FORGET_SPLITS = ("forget01", "forget05", "forget10")
PROMPT_KEYS = ("question", "paraphrased_question")
QUESTIONS_PER_AUTHOR = 20


def tofu(
    forget: str = "forget10",
    prompt_key: str = "paraphrased_question",
    *,
    system: str | None = None,
    authors: int | None = None,
    retain_questions: int | None = None,
    retain_eval: int | None = None,
    revision: str = REVISION,
) -> Benchmark:
    """TOFU's forget and retain prompts, and the sets that its models are trained on.

    Files come from ``LEAKREPRO_DATA/tofu/<config>.json`` or from the hub. A question's id is its
    place in TOFU's ``full`` file, so that it is the same in every split; authors are runs of 20
    questions there. Retain prompts are those of ``retain_perturbed``, the first 20 authors.
    Training always uses the plain ``question``, whatever the models are asked; the other prompt key
    is ``held_out``.

    A smaller world, for models trained from random weights: ``authors`` keeps the first authors of
    the forget split (the others belong to neither set) and ``retain_questions`` the first
    questions of the retain split, which hold all evaluated ones; the retain questions left over
    become ``fresh``.

    Args:
        forget: ``"forget01"``, ``"forget05"`` or ``"forget10"``; the rest of ``full`` is retained.
        prompt_key: What models are asked: ``"paraphrased_question"``, as in the paper's final
            runs, or ``"question"``, as trained.
        system: A system turn before each question, evaluated or trained; None for none. The
            open-unlearning checkpoints were trained with ``"You are a helpful assistant."``.
        authors: Number of forget authors; None for all of the split.
        retain_questions: Number of trained retain questions (whole authors); None for all.
        retain_eval: Number of evaluated retain questions (whole authors); None for all of the 400
            that are trained.
        revision: Commit of the hub's repository.

    Raises:
        ValueError: for an unknown split or prompt key, or a count that the split cannot give.
        DataError: for a file that cannot be read or does not fit the others.
    """
    if forget not in FORGET_SPLITS:
        raise ValueError(f"unknown TOFU split {forget!r}; known: {', '.join(FORGET_SPLITS)}")
    if prompt_key not in PROMPT_KEYS:
        raise ValueError(f"unknown prompt key {prompt_key!r}; known: {', '.join(PROMPT_KEYS)}")

    (other_key,) = set(PROMPT_KEYS) - {prompt_key}

    def read(config: str, *extra: str) -> list[Row]:
        columns = ("question", "answer", *extra)
        return read_rows(REPOSITORY, "tofu", config, columns, revision=revision)

    full = dict(enumerate(read("full")))
    forget_rows = _by_index(
        full, read(f"{forget}_perturbed", "paraphrased_question"), f"{forget}_perturbed"
    )
    retain_rows = _by_index(full, read("retain_perturbed", prompt_key), "retain_perturbed")

    forget_questions = None if authors is None else authors * QUESTIONS_PER_AUTHOR
    forgotten = _first(sorted(forget_rows), forget_questions, "authors x 20")
    retained = [i for i in full if i not in forget_rows]
    trained = _first(retained, retain_questions, "retain_questions")
    asked = _first(sorted(retain_rows.keys() & set(trained)), retain_eval, "retain_eval")

    def prompts(
        indices: Sequence[int], source: Mapping[int, Row], key: str, side: Side, suffix: str = ""
    ) -> tuple[Prompt, ...]:
        return tuple(_prompt(f"{i:04d}{suffix}", i, source[i], key, side, system) for i in indices)

    options = {"authors": authors, "retain_questions": retain_questions, "system": system}
    chosen = "".join(f" {name}={value}" for name, value in options.items() if value is not None)
    return Benchmark(
        name=f"tofu {forget} {prompt_key}{chosen}",
        forget=prompts(forgotten, forget_rows, prompt_key, "forget"),
        retain=prompts(asked, retain_rows, prompt_key, "retain"),
        metrics=("rougeL_recall/stem",),
        decoding=Decoding(max_new_tokens=200),
        held_out=prompts(forgotten, forget_rows, other_key, "forget", f"/{other_key}"),
        train_forget=prompts(forgotten, full, "question", "forget"),
        train_retain=prompts(trained, full, "question", "retain"),
        fresh=prompts(retained[len(trained) :], full, "question", "retain"),
    )


def _by_index(full: Mapping[int, Row], rows: Sequence[Row], config: str) -> dict[int, Row]:
    """Rows by their place in ``full``. The answer decides too: one question occurs twice there."""
    places = {(row["question"], row["answer"]): i for i, row in full.items()}
    try:
        return {places[row["question"], row["answer"]]: row for row in rows}
    except KeyError as error:
        raise DataError(f"TOFU {config}: {error.args[0][0]!r} is not in TOFU full") from error


def _first(indices: Sequence[int], count: int | None, what: str) -> list[int]:
    """The first ``count`` of the indices, which must be whole authors."""
    if count is None:
        return list(indices)
    if not 1 <= count <= len(indices) or count % QUESTIONS_PER_AUTHOR:
        raise ValueError(
            f"{what} must be a multiple of {QUESTIONS_PER_AUTHOR} from {QUESTIONS_PER_AUTHOR} "
            f"to {len(indices)}, not {count}"
        )
    return list(indices[:count])


def _prompt(name: str, index: int, row: Row, key: str, side: Side, system: str | None) -> Prompt:
    instruction = [] if system is None else [{"role": "system", "content": system}]
    return Prompt(
        id=f"tofu/{name}",
        messages=(*instruction, {"role": "user", "content": row[key]}),
        reference=row["answer"],
        cluster=f"author/{index // QUESTIONS_PER_AUTHOR:03d}",
        side=side,
    )
