"""The ledger of charges: append-only, one standing charge per exam and per order, on disk before it leaves.

SQLite in WAL mode with synchronous=FULL: a claim that was answered yes survives a loss of power. The same
code for the same exam and order claimed again is answered yes again, so that a run after a crash or a second
release goes on with the charge there is; any other charge for that exam or that order is answered no. A claim
whose charge never left the station, or is credited, is taken back; it stays on record with the reason. Rows
hold the proof of the claim: UIDs and the name of who released it, never the patient's.
"""

import json
import sqlite3
import threading
from itertools import product
from pathlib import Path
from typing import Any, cast

from station.billing import Basis, Charge, proof_json

_SCHEMA = """
CREATE TABLE IF NOT EXISTS charge (
    number INTEGER PRIMARY KEY AUTOINCREMENT, exam TEXT NOT NULL, accession TEXT, proof TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS taken_back (
    charge INTEGER PRIMARY KEY NOT NULL REFERENCES charge (number), reason TEXT NOT NULL);
CREATE VIEW IF NOT EXISTS standing AS
    SELECT number, exam, accession, proof FROM charge WHERE number NOT IN (SELECT charge FROM taken_back);
CREATE TRIGGER IF NOT EXISTS once BEFORE INSERT ON charge
    WHEN EXISTS (SELECT 1 FROM standing WHERE exam = NEW.exam OR accession = NEW.accession)
    BEGIN SELECT RAISE(ABORT, 'charged already'); END;
"""
_FOR_EVER = """
CREATE TRIGGER IF NOT EXISTS no_{what}_of_{table} BEFORE {what} ON {table}
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
"""
_BUSY_S = 10.0  # another process may hold the file


class Ledger:
    """One database file; safe to use from several threads and processes."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)
        for table, what in product(("charge", "taken_back"), ("update", "delete")):
            self._db.executescript(_FOR_EVER.format(table=table, what=what))

    def claim(self, charge: Charge, basis: Basis) -> bool:
        """Whether this charge may be sent; True only once it is on disk.

        Raises
        ------
        ValueError
            For what must not be sent at all: no code, or released by nobody.
        """
        if not charge.due:
            raise ValueError(f"only a released charge can be claimed, this is: {charge.text or 'no charge'}")
        proof = json.dumps(proof_json(charge, basis), sort_keys=True)
        row = (basis.exam_uid, _order(basis.accession_number), proof)
        with self._lock:
            try:
                self._db.execute("INSERT INTO charge (exam, accession, proof) VALUES (?, ?, ?)", row)
            except sqlite3.IntegrityError:
                query = "SELECT proof FROM standing WHERE exam = ? AND accession IS ?"
                found = self._db.execute(query, row[:2]).fetchone()
                return found is not None and json.loads(found[0])["code"] == json.loads(proof)["code"]
        return True

    def take_back(self, exam_uid: str, reason: str) -> bool:
        """Free exam and order of a charge; False if there is none.

        Only for a charge of which the caller knows that no receiver has it and none ever will, or that every
        receiver is told to credit it.
        """
        statement = "INSERT INTO taken_back (charge, reason) SELECT number, ? FROM standing WHERE exam = ?"
        with self._lock:
            return self._db.execute(statement, (reason, exam_uid)).rowcount > 0

    def already_charged(self, exam_uid: str, accession_number: str) -> bool:
        """Whether another exam of the same order has been charged: a fact for the rule."""
        query = "SELECT 1 FROM standing WHERE accession = ? AND exam <> ?"
        with self._lock:
            return self._db.execute(query, (_order(accession_number), exam_uid)).fetchone() is not None

    def proof(self, exam_uid: str) -> dict[str, Any] | None:
        """The proof that was stored with the exam's charge, None if it has none."""
        with self._lock:
            row = self._db.execute("SELECT proof FROM standing WHERE exam = ?", (exam_uid,)).fetchone()
        return None if row is None else cast("dict[str, Any]", json.loads(row[0]))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()


def _order(accession_number: str) -> str | None:
    """The order's identity; spaces and case do not make another order."""
    return accession_number.strip().upper() or None
