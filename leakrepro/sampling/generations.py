"""The file format of the leak@k authors: ``generations_n200.json``, one prompt per line.

A line is a JSON object with ``prompt``, ``ground_truth`` and ``responses``. ``responses`` is a list
of objects with ``response`` and its scores: ``rougeL_recall``, ``exact_match``, ``ES``, ``CS``,
``LLM_judge``. Import the authors' files to score them again. Export samples to use the authors'
scripts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike

from leakrepro.errors import DataError
from leakrepro.sampling.manifest import Identity, prompts_hash
from leakrepro.sampling.samples import Samples
from leakrepro.sampling.store import SCHEMA, Request, SampleStore
from leakrepro.storage import paths
from leakrepro.storage.atomic import write_atomically
from leakrepro.storage.keys import file_digest
from leakrepro.storage.text_files import json_lines, read_utf8
from leakrepro.types import Decoding, Prompt, Scores

if TYPE_CHECKING:
    from leakrepro.benchmarks.base import Benchmark

SCORE_NAMES = ("rougeL_recall", "exact_match", "ES", "CS", "LLM_judge")
_LINE = "an object with prompt, ground_truth and responses"


def import_generations(
    file: str | Path,
    *,
    decoding: Decoding,
    benchmark: Benchmark | None = None,
    store: str | Path | None = None,
) -> Samples:
    """Imports the samples of a file into a store.

    Args:
        file: A file in the authors' format.
        decoding: How the samples were drawn. The file does not record it. ``n`` and ``seed`` are
            ignored. The authors store 200 copies of a greedy answer; one of them is imported.
        benchmark: The benchmark that contains the prompts. A line matches the prompt that has the
            line's ground truth and whose question occurs in the line's prompt. If it is None,
            each line becomes a prompt in its own cluster.
        store: The store's folder. None uses a folder of the sample cache, named by content.

    Returns:
        The samples. Seeds, token counts and log-probabilities are null, because the file does not
        contain them.

    Raises:
        DataError: If a line is not in the format, or if its number of responses differs from the
            first line's. The message names the line.
        ValueError: If a line does not match exactly one prompt of the benchmark, or if greedy
            answers to one prompt differ.
    """
    file = Path(file)
    rows = list(_read(file))
    n = len(rows[0]["responses"])
    if decoding.is_greedy:
        n = 1
        for number, row in enumerate(rows, 1):
            if len({each["response"] for each in row["responses"]}) > 1:
                raise ValueError(
                    f"{file}, line {number}: greedy answers to one prompt differ, perhaps because "
                    "of batch effects: import them with a temperature above 0"
                )
    prompts = _prompts(file, rows, benchmark)
    identity = Identity(
        weights=f"unknown, imported from {file_digest(file)}",
        tokenizer="unknown",
        prompts=prompts_hash(prompts),
        decoding=decoding.replace(n=n, seed=0),
        engine="import",
        engine_version=1,
        dtype="unknown",
    )
    folder = Path(store) if store is not None else paths.samples() / identity.key[:16]
    target = SampleStore(folder, identity, prompts, {"file": file.name})
    texts = {
        prompt.id: [each["response"] for each in row["responses"]]
        for prompt, row in zip(prompts, rows, strict=True)
    }
    with target.writing():
        for index in target.missing():
            target.write(index, _table(target.plan[index], texts))
    return Samples(prompts, identity.decoding, folder, identity.weights, (target,))


def generation_scores(file: str | Path) -> dict[str, Scores]:
    """Reads the scores in a file, with the prompts in the file's order.

    Args:
        file: A file in the authors' format.

    Returns:
        Scores by the names of ``SCORE_NAMES``. A score is omitted if any response does not have it.

    Raises:
        DataError: If a line is not in the format, or if its number of responses differs from the
            first line's. The message names the line.
    """
    rows = list(_read(Path(file)))
    found = {}
    for name in SCORE_NAMES:
        values = [[each.get(name) for each in row["responses"]] for row in rows]
        if all(isinstance(v, int | float) for row in values for v in row):  # json_lines: finite
            found[name] = Scores.from_rows(values)
    return found


def export_generations(
    samples: Samples,
    file: str | Path,
    scores: Mapping[str, Scores | ArrayLike] | None = None,
    *,
    copies: int = 1,
) -> Path:
    """Writes samples in the authors' format.

    Args:
        samples: The samples to write.
        file: Path of the file to write.
        scores: Scores of these samples by name. The authors' names are ``SCORE_NAMES``.
        copies: How often each answer is written. The authors' scripts expect 200 answers per
            prompt for greedy decoding too, whereas a store has one.

    Returns:
        The path of the file.

    Raises:
        ValueError: If the scores do not belong to the samples, or if ``copies`` is not 1 and
            decoding is not greedy.
    """
    if copies != 1 and not samples.decoding.is_greedy:
        raise ValueError("only greedy answers can be written repeatedly: copies are not samples")
    checked = {name: Scores.from_rows(each) for name, each in (scores or {}).items()}
    for name, each in checked.items():
        if each.counts.tolist() != samples.counts:
            raise ValueError(f"{name} are not scores of these samples: the counts differ")
    lines = []
    for i, (prompt, texts) in enumerate(zip(samples.prompts, samples.texts, strict=True)):
        values = {name: each[i].tolist() for name, each in checked.items()}
        responses = [
            {"response": text, **{name: row[j] for name, row in values.items()}}
            for j, text in enumerate(texts)
            for _ in range(copies)
        ]
        line = {
            "prompt": prompt.messages[-1]["content"],
            "ground_truth": prompt.reference,
            "responses": responses,
        }
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    path = Path(file)
    write_atomically(path, "".join(lines).encode("utf-8", "surrogatepass"))
    return path


def _read(file: Path) -> Iterator[dict[str, Any]]:
    """Yields the lines of a file and checks that all have the same number of responses."""
    n = 0
    for number, row in json_lines(file, read_utf8(file), _LINE):
        try:
            strings = [row["prompt"], row["ground_truth"]]
            strings += [each["response"] for each in row["responses"]]
        except (KeyError, TypeError) as error:
            raise DataError(f"{file}, line {number}: not {_LINE} ({error!r})") from error
        if not all(isinstance(string, str) for string in strings):
            raise DataError(
                f"{file}, line {number}: a prompt, ground truth or response is not a string"
            )
        n = n or len(row["responses"])
        if len(row["responses"]) != n or not n:
            raise DataError(f"{file}, line {number}: {len(row['responses'])} responses, not {n}")
        yield row
    if not n:
        raise DataError(f"{file} does not contain prompts")


def _prompts(
    file: Path, rows: Sequence[Mapping[str, Any]], benchmark: Benchmark | None
) -> tuple[Prompt, ...]:
    if benchmark is None:
        return tuple(
            Prompt(
                id=f"line/{number}",
                messages=({"role": "user", "content": row["prompt"]},),
                reference=row["ground_truth"],
                cluster=f"line/{number}",
                side="forget",
            )
            for number, row in enumerate(rows, 1)
        )
    known: dict[str, list[Prompt]] = {}
    for prompt in benchmark.forget + benchmark.retain + benchmark.held_out:
        known.setdefault(prompt.reference.strip(), []).append(prompt)
    prompts = []
    for number, row in enumerate(rows, 1):
        found = [
            prompt
            for prompt in known.get(row["ground_truth"].strip(), [])
            if prompt.messages[-1]["content"].strip() in row["prompt"]
        ]
        if len(found) != 1:
            raise ValueError(
                f"{file}, line {number}: {'none' if not found else 'several'} of the prompts of "
                f"{benchmark.name} have this question and ground truth"
            )
        prompts += found
    return tuple(prompts)


def _table(requests: Sequence[Request], texts: Mapping[str, Sequence[str]]) -> pa.Table:
    rows = [(r.prompt.id, i) for r in requests for i in range(r.start, r.stop)]
    columns: dict[str, Any] = {
        "prompt_id": [prompt_id for prompt_id, _ in rows],
        "sample": np.array([i for _, i in rows], np.int32),
        "text": [texts[prompt_id][i] for prompt_id, i in rows],
    }
    for field in SCHEMA:
        columns.setdefault(field.name, pa.nulls(len(rows), field.type))
    return pa.table(columns, schema=SCHEMA)
