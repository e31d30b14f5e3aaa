"""Cache of scores by content on disk, so that a model reads each content once.

A run that may only read what is stored (``leakrepro.storage.provenance``) computes every score
again and compares it with the cached one.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from leakrepro.storage import paths, provenance
from leakrepro.storage.documents import unreadable
from leakrepro.storage.keys import digest

_CHUNK = 500  # variables per statement; the limit of old SQLite versions is 999
# Scores depend on the other pairs of a batch by rounding, about 1e-7 in float32.
_ROUNDING = 1e-5


class ScoreCache:
    """Scores of one metric by the content that was scored, in an SQLite file.

    Stored scores survive if the process is killed. Several processes can share a cache.

    Args:
        metric: Id of the metric with everything that changes its scores; it names the file.
        folder: Folder of the file; None for ``LEAKREPRO_HOME/scores``.
        remade: Whether the scores can be computed again. A judge's scores cannot; every run reads
            them from the cache.
    """

    def __init__(self, metric: str, folder: Path | None = None, *, remade: bool = True) -> None:
        self._anew = remade and provenance.stored_only()
        readable = re.sub(r"[^A-Za-z0-9.]+", "-", metric)[:60]
        name = f"{readable}-{digest(metric)[:8]}.sqlite"
        self.path = (paths.scores() if folder is None else folder) / name
        provenance.note_scores(self.path)

    def get(self, contents: Sequence[tuple[str, ...]]) -> dict[int, float]:
        """Return the known scores of the contents, by position.

        Raises:
            StoreError: If the file is damaged or could not be opened.
        """
        if self._anew:
            return {}
        keys = [digest(content) for content in contents]
        known = self._kept(keys)
        return {i: known[key] for i, key in enumerate(keys) if key in known}

    def put(self, scores: Mapping[tuple[str, ...], float]) -> list[float]:
        """Store scores by content and return the valid ones: of two processes, the first one's.

        A run that may only read does not store them. It returns the cached score if the new one
        differs only by rounding. Otherwise it notes the difference and returns the new score.

        Raises:
            StoreError: If the file is damaged or cannot be written.
        """
        made = {digest(content): float(score) for content, score in scores.items()}
        if self._anew:
            kept = self._kept(list(made))
            return [self._compare(key, score, kept.get(key, score)) for key, score in made.items()]
        with self._open() as connection, connection:
            connection.executemany("INSERT OR IGNORE INTO scores VALUES (?, ?)", made.items())
        kept = self._kept(list(made))
        return [kept[key] for key in made]

    def _compare(self, key: str, made: float, kept: float) -> float:
        if abs(made - kept) <= _ROUNDING:
            return kept
        provenance.note_changed_score(self.path, key, kept, made)
        return made

    def _kept(self, keys: Sequence[str]) -> dict[str, float]:
        known: dict[str, float] = {}
        if not self.path.exists():
            return known
        with self._open() as connection:
            for start in range(0, len(keys), _CHUNK):
                part = keys[start : start + _CHUNK]
                marks = ",".join("?" * len(part))
                known |= connection.execute(
                    f"SELECT key, score FROM scores WHERE key IN ({marks})", part
                )
        return known

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(self.path, timeout=60)) as connection:
                # Readers are not blocked by a writer, and a commit is on the disk.
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute(
                    "CREATE TABLE IF NOT EXISTS scores (key TEXT PRIMARY KEY, score REAL NOT NULL)"
                    " WITHOUT ROWID"
                )
                yield connection
        except (sqlite3.Error, OSError) as error:
            remedy = "delete it; its scores are computed again"
            raise unreadable(self.path, error, remedy) from error
