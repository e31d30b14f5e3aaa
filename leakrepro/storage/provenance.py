"""What a run rests on, told line by line: stores, models that it trains, files that it reads.

``reproduce`` names a file in the environment of a notebook's kernel, and every process under it
appends to it. ``verify`` also sets the switch under which a run may only read what is stored.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from leakrepro.errors import StoreError

LEDGER = "LEAKREPRO_LEDGER"  # names the file; without it nothing is noted
STORED_ONLY = "LEAKREPRO_STORED_ONLY"  # "1": no sampling, no training, no known scores


def note(**entry: Any) -> None:
    """Adds a line, where somebody wants to know; a ``Path`` in it is told as an absolute one."""
    path = os.environ.get(LEDGER)
    if path:
        line = json.dumps(entry, default=lambda each: str(each.absolute())).encode() + b"\n"
        # Appended in one write, so that the lines of several processes stay whole.
        with open(path, "ab", buffering=0) as file:
            file.write(line)


def read(path: Path) -> list[dict[str, Any]]:
    """All lines of a ledger, in order; none when nothing was noted."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def stored_only() -> bool:
    """Whether this process may only read what is stored."""
    return os.environ.get(STORED_ONLY) == "1"


def require_stored(what: str) -> None:
    """Before something is made that a run which only reads would have to find.

    Raises:
        StoreError: in such a run; it names what is missing.
    """
    if stored_only():
        raise StoreError(
            f"missing: {what}. This run only reads what is stored; `leakrepro reproduce` restores "
            "what is missing"
        )
