"""What a person may still change in an exam that is closed: release its result, join it to its order.

Both take the exam from the disk and make its objects anew. While nothing has left the station, the new ones
have the old UIDs and take the old ones' place. What was sent already is never changed: a released report is a
new document that names its predecessor; objects under a wrong order are withdrawn by a note (IHE IOCM,
"Incorrect Modality Worklist Entry") and made again with new UIDs under the right one.
"""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from station import dossier
from station.dossier import Books
from station.exam import Release, WorklistItem
from station.issue import Issued, reissue, withdraw
from station.orders import reconciled
from station.spool import Record, SpoolError


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
    before = decision.release if decision else None
    if decision is None or (before is not None and (before.physician or not given.physician)):
        raise NotPossible(f"exam {exam_uid} is released already, by {before.by if before else 'nobody'}")
    books.spool.write_decision(record.exam, exposure, replace(decision, release=given))
    issued = _again(books, exam_uid, books.spool.objects(record.exam))
    books.dispatch.finished(issued)
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
    if not books.dispatch.withdrawn(exam):  # something is on its way under the old identity
        study = replace(dossier.study_of(books, record), made_at=at)
        books.dispatch.objects(exam, [withdraw(study, books.spool.objects(exam))])
        item = replace(item, study_instance_uid=order.study_instance_uid, requested_study_uid="")
        exam = replace(exam, revision=exam.revision + 1)
    source = books.spool.objects(record.exam)
    books.spool.reassign(replace(exam, item=item))
    issued = _again(books, exam_uid, source)
    books.dispatch.finished(issued)
    return issued


def _accepted(books: Books, exam_uid: str) -> Record:
    folder = books.spool.root / exam_uid
    if not (folder / "exam.json").is_file():
        raise NotPossible(f"no exam {exam_uid} on this station; dxr-station outbox lists them")
    record = books.spool.record(folder)
    if record.closed != "accepted":
        raise NotPossible(f"exam {exam_uid} has no accepted image: {record.closed or 'it is open'}")
    return record


def _again(books: Books, exam_uid: str, source: Path) -> Issued:
    record = _accepted(books, exam_uid)
    study, papers = dossier.papers_of(books, record)
    findings = books.spool.findings(record.exam, record.exposures[-1])
    if findings is None:
        raise SpoolError(f"exam {exam_uid}: findings.json is missing")
    return reissue(study, findings, papers, source, books.spool.objects(record.exam))
