"""Synthetic TOFU files, small enough for every test."""

import json
from pathlib import Path

AUTHORS = 24


def write_files(folder: Path) -> Path:
    """Write 24 authors with 20 questions each; the last two authors are the forget set."""
    folder.mkdir(parents=True)
    full = [{"question": f"Question {i}?", "answer": f"Answer {i}."} for i in range(AUTHORS * 20)]
    full[21]["question"] = full[3]["question"]  # one question occurs twice in the real file
    perturbed = [row | {"paraphrased_question": f"Asked again: {row['question']}"} for row in full]
    for config, rows in {
        "full": full,
        "forget01_perturbed": perturbed[-40:],
        "retain_perturbed": perturbed[:400],
    }.items():
        (folder / f"{config}.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
