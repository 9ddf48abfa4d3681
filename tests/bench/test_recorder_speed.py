"""How long the recorder takes to list a year's exams, to replay one and to read who they were, as a table."""

import json
import shutil
import sqlite3
import statistics
import time
from datetime import UTC, date, datetime, timedelta

import pytest

from station.exam import Exam, Patient, Sex, Side, WorklistItem, new_uid
from station.journal import Journal
from station.recording import exams, moment_at, steps
from station.spool import Spool

EXAMS, ROUNDS = 2000, 7
START = datetime(2026, 1, 5, 8, tzinfo=UTC)
LIMIT_S = 0.2  # for the list, on an idle machine
SHARED_MACHINE = 10  # a shared machine stretches time as it likes; a scan of all rows would still be caught
PERSON = Patient("P1", "Test^Person", date(1961, 5, 4), Sex.FEMALE)
ITEM = WorklistItem("ACC1", PERSON, Side.LEFT, "0750T", new_uid())
# as an exam on simulated devices writes them
LIFE = [
    *(
        ("trigger", name)
        for name in ("open_exam", "prepare", "release", "prepare", "devices_ready", "expose")
    ),
    ("device", "expose"),
    ("device", "delivered"),
    ("trigger", "exposure_ended"),
    ("device", "frame-on-disk"),
    ("trigger", "frame_stored"),
    ("trigger", "processed"),
    ("trigger", "accept"),
    ("device", "issued"),
    *[("network", "stored")] * 8,
    *[("network", "committed")] * 8,
]


@pytest.fixture(scope="module")
def year(tmp_path_factory):
    """A journal and a spool of so many exams, written past the journal: each of its rows is an fsync."""
    folder = tmp_path_factory.mktemp("year")
    Journal(folder / "journal.db").close()
    spool = Spool(folder / "spool")
    uids = [new_uid() for _ in range(EXAMS)]
    detail = json.dumps({"exposure": new_uid(), "operator": "op1", "jobs": [new_uid()] * 3})
    rows = [
        ((START + timedelta(minutes=n, milliseconds=40 * k)).isoformat(), *life, "review", uid, detail)
        for n, uid in enumerate(uids)
        for k, life in enumerate(LIFE)
    ]
    with sqlite3.connect(folder / "journal.db") as database:
        database.executemany(
            "INSERT INTO entry (at, kind, name, state, exam, detail) VALUES (?,?,?,?,?,?)", rows
        )
    database.close()
    first = Exam(uids[0], ITEM, "hand-dxr@1", START, "medium")
    spool.open(first)
    text = (spool.folder(first) / "exam.json").read_text()
    for uid in uids[1:]:
        (spool.root / uid).mkdir()
        (spool.root / uid / "exam.json").write_text(text.replace(uids[0], uid))
    yield Journal(folder / "journal.db"), spool, uids
    shutil.rmtree(folder)


def median_s(work) -> float:
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def test_a_years_exams_are_listed_and_replayed_at_once(year, capsys):
    journal, spool, uids = year
    found = exams(journal, spool)
    assert [one.uid for one in found] == uids[::-1]
    assert found[0].exam().uid == uids[-1]
    replayed = steps(journal, uids[EXAMS // 2])
    times = {
        f"list of {EXAMS} exams, {EXAMS * len(LIFE)} rows": median_s(lambda: exams(journal, spool)),
        "one exam's steps": median_s(lambda: steps(journal, uids[EXAMS // 2])),
        "every moment of it": median_s(lambda: [moment_at(replayed, n) for n in range(len(replayed))]),
        "who a screen of 40 exams were": median_s(lambda: [one.exam() for one in found[:40]]),
        f"who all {EXAMS} were": median_s(lambda: [one.exam() for one in found]),
    }
    with capsys.disabled():
        print()
        for what, seconds in times.items():
            print(f"  {what:<40} {seconds * 1000:8.1f} ms")
    journal.close()
    assert next(iter(times.values())) < LIMIT_S * SHARED_MACHINE
