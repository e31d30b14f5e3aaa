"""Synthetic harmless items in the schema of WMDP and MMLU."""

import json
from pathlib import Path
from typing import Any

SUBJECTS = ("moss_lore", "tree_lore", "stone_lore")


def item(name: str, i: int) -> dict[str, Any]:
    """Question i; its right option is number i % 4."""
    choices = [f"{name} answer {i}.{j}" for j in range(4)]
    return {"question": f"Question {i} of {name}?", "choices": choices, "answer": i % 4}


def write_files(folder: Path) -> Path:
    """Write 30 items per subset of WMDP, and 20 items for each of three MMLU subjects."""
    for subset in ("bio", "chem", "cyber"):
        write(folder / "wmdp" / f"wmdp-{subset}.json", [item(subset, i) for i in range(30)])
    rows = [{**item(s, i), "subject": s} for s in SUBJECTS for i in range(20)]
    write(folder / "mmlu" / "all.json", rows)
    return folder


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
