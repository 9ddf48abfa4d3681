"""The journal: an append-only record of every trigger, refusal and device event, on disk before it counts.

SQLite in WAL mode with synchronous=FULL: a row that `record` returned from survives a loss of power. Rows
carry UIDs and who acted, never a patient's name or birth date. Triggers in the database refuse every update
and delete. Who reads does so on a connection of its own, so that a long look holds nobody up who writes.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
    state TEXT NOT NULL, exam TEXT, detail TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS of_exam ON entry (exam);
CREATE TRIGGER IF NOT EXISTS no_update BEFORE UPDATE ON entry
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER IF NOT EXISTS no_delete BEFORE DELETE ON entry
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row."""

    number: int
    at: datetime
    kind: str  # trigger, refusal, device, network, operator
    name: str
    state: str  # after the event; empty where the station's state has no part in it
    exam: str | None  # UID
    detail: dict[str, Any]


class Journal:
    """One database file; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)

    def record(
        self, entry: tuple[str, str], state: str, at: datetime, exam: str | None, detail: dict[str, Any]
    ) -> None:
        """Append (kind, name) and return when it is on disk."""
        row = (at.isoformat(), *entry, state, exam, json.dumps(detail, default=str))
        with self._lock:
            self._db.execute(
                "INSERT INTO entry (at, kind, name, state, exam, detail) VALUES (?,?,?,?,?,?)", row
            )

    def entries(self, exam: str | None = None) -> Iterator[Entry]:
        """All rows in order, or those of one exam."""
        where, arguments = ("", ()) if exam is None else (" WHERE exam = ?", (exam,))
        return self._read(where, arguments)

    def landmarks(self, names: Sequence[str]) -> Iterator[Entry]:
        """Of every exam its first row and those of these names, in order: enough for a list of exams."""
        marks = ", ".join("?" * len(names))
        firsts = "SELECT MIN(number) FROM entry WHERE exam IS NOT NULL GROUP BY exam"
        where = f" WHERE exam IS NOT NULL AND (name IN ({marks}) OR number IN ({firsts}))"
        return self._read(where, tuple(names))

    def newest(self, count: int) -> list[Entry]:
        """The last rows, the newest first."""
        where = " WHERE number > (SELECT COALESCE(MAX(number), 0) FROM entry) - ?"
        return list(self._read(where, (count,)))[::-1]

    def _read(self, where: str, arguments: tuple[str | int, ...]) -> Iterator[Entry]:
        query = f"SELECT number, at, kind, name, state, exam, detail FROM entry{where} ORDER BY number"  # noqa: S608  both texts are ours
        with closing(sqlite3.connect(self._path)) as database:
            rows = database.execute(query, arguments).fetchall()
        for number, at, kind, name, state, uid, detail in rows:
            yield Entry(number, datetime.fromisoformat(at), kind, name, state, uid, json.loads(detail))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()
