"""A made-up TOFU, small enough for every test."""

import json
from pathlib import Path

AUTHORS = 24


def write_files(folder: Path) -> Path:
    """A made-up TOFU: 24 authors of 20 questions, of whom the last two are forgotten."""
    folder.mkdir(parents=True)
    full = [{"question": f"Question {i}?", "answer": f"Answer {i}."} for i in range(AUTHORS * 20)]
    full[21]["question"] = full[3]["question"]  # as in the real file, one question occurs twice
    perturbed = [row | {"paraphrased_question": f"Asked again: {row['question']}"} for row in full]
    for config, rows in {
        "full": full,
        "forget01_perturbed": perturbed[-40:],
        "retain_perturbed": perturbed[:400],
    }.items():
        (folder / f"{config}.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
