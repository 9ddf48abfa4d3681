"""What a person may still change in an exam that is closed: release its result, join it to its order.

Both take the exam from the disk. What was sent already is never changed: a released report is a new document
that names its predecessor, beside objects that stay as they are. An exam that is joined to an order has its
objects made anew: while nothing has left the station, they keep their UIDs; else the sent ones are withdrawn
by a note (IHE IOCM, "Incorrect Modality Worklist Entry") and made again with new UIDs under the right one;
results are taken back and the charge is credited, before the exam is told and charged under the right one.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from station import dossier, issue
from station.assembly import books_of
from station.config import load_room
from station.dossier import Books
from station.durable import only_here
from station.exam import Release, WorklistItem
from station.findings import Findings
from station.hospital import Hospital, load_hospital
from station.issue import Issued, Papers
from station.journal import Journal
from station.liaison import Liaison, connected
from station.orders import reconciled
from station.spool import Record, SpoolError
from station.study import Study


class NotPossible(ValueError):  # noqa: N818  reads as the message it is
    """What was asked would change what must not change."""


def release(books: Books, exam_uid: str, given: Release) -> Issued:
    """A person stands for result and charge; a physician also makes the report final.

    Raises
    ------
    NotPossible
        Exam unknown, without an accepted image, or released already.
    SpoolError, ObjectRefused
        What is on disk cannot be read, or contradicts itself.
    """
    record = _accepted(books, exam_uid)
    decision, exposure = record.decision, record.exposures[-1]
    if decision is None:
        raise NotPossible(f"exam {exam_uid} has no decision that could be released")
    before, told = decision.release, len(books.dispatch.outbox.jobs(exam_uid))
    already = before is not None and (before.physician or not given.physician)
    if not already:
        books.spool.write_decision(record.exam, exposure, replace(decision, release=given))
    study, findings, papers = _again(books, exam_uid)
    issued = issue.release(study, findings, papers, books.spool.objects(study.exam))
    books.dispatch.finished(issued)
    finished_now = len(books.dispatch.outbox.jobs(exam_uid)) > told  # a release that was cut off
    if already and not finished_now:
        raise NotPossible(f"exam {exam_uid} is released already, by {before.by if before else 'nobody'}")
    return issued


def reconcile(books: Books, exam_uid: str, order: WorklistItem, at: datetime) -> Issued:
    """Join an exam to the order that it belongs to.

    Raises
    ------
    NotPossible
        Exam unknown or without an accepted image, or the order is for the other hand.
    SpoolError, ObjectRefused
        What is on disk cannot be read, or contradicts itself.
    """
    record = _accepted(books, exam_uid)
    exam = record.exam
    try:
        item = reconciled(exam.item, order)
    except ValueError as error:
        raise NotPossible(str(error)) from error
    if not books.dispatch.withdrawn(exam) and _taken_back(books, record, order, at):
        item = replace(item, study_instance_uid=order.study_instance_uid, requested_study_uid="")
        exam = replace(exam, revision=exam.revision + 1)
    source = books.spool.objects(record.exam)
    books.spool.reassign(replace(exam, item=item))
    study, findings, papers = _again(books, exam_uid)
    issued = issue.reissue(study, findings, papers, source, books.spool.objects(study.exam))
    books.dispatch.finished(issued)
    return issued


def _taken_back(books: Books, record: Record, order: WorklistItem, at: datetime) -> bool:
    """Whether something was on its way under this identity: after a joining that was cut off, nothing is."""
    exam, sent = record.exam, books.dispatch.sent(record.exam)
    if sent:
        study = replace(dossier.study_of(books, record), made_at=at)
        books.dispatch.objects(exam, [issue.withdraw(study, sent, books.spool.objects(exam))])
    return books.dispatch.take_back(exam, order.accession_number, at) or bool(sent)


def opened(stack: ExitStack, room: str, hospital: Hospital | None, folder: Path) -> tuple[Books, Liaison]:
    """The books of a station that is not running, and its way to the hospital while `stack` is open.

    Raises
    ------
    BadFile, InUse
        The room file is wrong, or a station runs in this folder.
    """
    stack.enter_context(only_here(folder))
    file = load_room(room)
    books = books_of(file, folder, hospital or (load_hospital(file.hospital) if file.hospital else None))
    return books, stack.enter_context(connected(books.dispatch, Journal(folder / "journal.db"), folder))


def told(books: Books, issued: Issued, delivery: Mapping[str, int]) -> dict[str, Any]:
    """What was done, as JSON."""
    charge, release = issued.charge, issued.study.release
    return {
        "exam": issued.study.exam.uid,
        "code": charge.code.value if charge.code else None,
        "charge": books.dispatch.charged_as(issued.study.exam) or charge.text,
        "released_by": release.by if release else None,
        "final": bool(release and release.physician),
        "objects": [str(path) for path in issued.objects],
        "outbox": dict(delivery),
    }


def text(done: Mapping[str, Any]) -> str:
    """The same for a person's eyes."""
    counts = ", ".join(f"{count} {state}" for state, count in done["outbox"].items() if count)
    standing = "final" if done["final"] else "preliminary: physician interpretation required"
    lines = [f"report {standing}", f"charge: {done['charge']}", *done["objects"]]
    return "\n".join([*lines, f"delivery: {counts or 'nothing to deliver'}"])


def _accepted(books: Books, exam_uid: str) -> Record:
    folder = books.spool.root / exam_uid
    if not (folder / "exam.json").is_file():
        raise NotPossible(f"no exam {exam_uid} on this station; dxr-station outbox lists them")
    record = books.spool.record(folder)
    if record.closed != "accepted":
        raise NotPossible(f"exam {exam_uid} has no accepted image: {record.closed or 'it is open'}")
    return record


def _again(books: Books, exam_uid: str) -> tuple[Study, Findings, Papers]:
    """What objects are made from, as the disk has it now."""
    record = _accepted(books, exam_uid)
    study, papers = dossier.papers_of(books, record)
    findings = books.spool.findings(record.exam, record.exposures[-1])
    if findings is None:
        raise SpoolError(f"exam {exam_uid}: findings.json is missing")
    return study, findings, papers
