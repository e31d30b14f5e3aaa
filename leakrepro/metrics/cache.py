"""Scores by content, kept on disk: what a model has read once it never reads again."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from leakrepro import paths
from leakrepro.errors import StoreError
from leakrepro.keys import digest

_CHUNK = 500  # variables of one statement; SQLite's oldest limit is 999


class ScoreCache:
    """Scores of one metric by the content that was scored, in an SQLite file.

    What was put stays when the process is killed a moment later. Several processes may share it.

    Args:
        metric: The metric's id with all that changes its scores; it names the file.
        folder: None for ``LEAKREPRO_HOME/scores``.
    """

    def __init__(self, metric: str, folder: Path | None = None) -> None:
        readable = re.sub(r"[^A-Za-z0-9.]+", "-", metric)[:60]
        name = f"{readable}-{digest(metric)[:8]}.sqlite"
        self.path = (paths.scores() if folder is None else folder) / name

    def get(self, contents: Sequence[tuple[str, ...]]) -> dict[int, float]:
        """Scores of those of the contents that are known, by position.

        Raises:
            StoreError: when the file is damaged.
        """
        if not self.path.exists():
            return {}
        keys = [digest(content) for content in contents]
        known: dict[str, float] = {}
        with self._open() as connection:
            for start in range(0, len(keys), _CHUNK):
                part = keys[start : start + _CHUNK]
                marks = ",".join("?" * len(part))
                known |= connection.execute(
                    f"SELECT key, score FROM scores WHERE key IN ({marks})", part
                )
        return {i: known[key] for i, key in enumerate(keys) if key in known}

    def put(self, scores: Mapping[tuple[str, ...], float]) -> None:
        """Keeps scores by content.

        Raises:
            StoreError: when the file is damaged or cannot be written.
        """
        rows = [(digest(content), float(score)) for content, score in scores.items()]
        with self._open() as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?)", rows)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(self.path, timeout=60)) as connection:
                # Readers go on while one writes, and a commit is on the disk.
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS scores (key TEXT PRIMARY KEY, score REAL NOT NULL)"
                    " WITHOUT ROWID"
                )
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"{self.path}: {error}. It holds nothing but scores that can be made again: if it "
                "is damaged, delete it"
            ) from error
