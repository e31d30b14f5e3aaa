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
    """TOFU's forget and retain prompts and its training sets.

    Files come from ``LEAKREPRO_DATA/tofu/<config>.json`` or from the hub. A question's id is its
    index in TOFU's ``full`` configuration, and is therefore the same in every split. There, each
    author has 20 consecutive questions. Retain prompts are those of ``retain_perturbed``, which
    are about the first 20 authors. Training always uses the plain ``question``, for every
    ``prompt_key``. The other prompt key becomes ``held_out``.

    For models trained from random weights, the benchmark can be reduced: ``authors`` keeps the
    first authors of the forget split (the others belong to neither set), and ``retain_questions``
    keeps the first questions of the retain split, which include all evaluated questions. The
    remaining retain questions become ``fresh``.

    Args:
        forget: ``"forget01"``, ``"forget05"`` or ``"forget10"``; the rest of ``full`` is retained.
        prompt_key: Wording of the evaluated questions: ``"paraphrased_question"``, as in the
            paper's final runs, or ``"question"``, as in training.
        system: System message before each evaluated and trained question; None for none. The
            open-unlearning checkpoints were trained with ``"You are a helpful assistant."``.
        authors: Number of forget authors; None for all authors of the split.
        retain_questions: Number of trained retain questions, a multiple of 20; None for all.
        retain_eval: Number of evaluated retain questions, a multiple of 20; None for all of the
            400 that are trained.
        revision: Commit of the hub's repository.

    Returns:
        The benchmark.

    Raises:
        ValueError: for an unknown split or prompt key, or a count that the split does not allow.
        DataError: for a file that cannot be read or does not match the others.
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
    """Map each row's index in ``full`` to the row.

    Question and answer are compared, because ``full`` contains one question twice.
    """
    places = {(row["question"], row["answer"]): i for i, row in full.items()}
    try:
        return {places[row["question"], row["answer"]]: row for row in rows}
    except KeyError as error:
        raise DataError(f"TOFU {config}: {error.args[0][0]!r} is not in TOFU full") from error


def _first(indices: Sequence[int], count: int | None, what: str) -> list[int]:
    """The first ``count`` indices; ``count`` must be a multiple of the questions per author."""
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
