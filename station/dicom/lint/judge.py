"""Contradictions in what is about to be sent: a validator checks grammar, this checks meaning.

dciodvfy does not notice View Position AP beside View Code PA, FOOT beside the anatomic region hand, a
laterality U, EI, EIT and DI that do not belong together, a density without its constant, or a page of another
patient. One function per subject, all are run: `every` in every object, `image`,
`measurements` and `document` in those of a kind, `study` between the objects of a study.

With the exam, everything is compared with it. Without, objects are compared with themselves and each other.
"""

import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from station.dicom.lint.document import DOCUMENTS
from station.dicom.lint.every import EVERY, future
from station.dicom.lint.image import IMAGE
from station.dicom.lint.measurements import MEASUREMENTS, ours
from station.dicom.lint.seen import IMAGES, Seen, name_of, see
from station.dicom.lint.study import contradictions
from station.exam import Exam
from station.result import Reason

_REMEDY = "do not send; correct the exam or report the fault"
_OTHER_ORDER = (("113037", "DCM"), ("113038", "DCM"))  # notes that are filed under an order that was wrong
_UNREADABLE = (  # what pydicom raises for damaged files, also late, when a value is first looked at
    *(OSError, ValueError, TypeError, LookupError, AttributeError, NotImplementedError, ArithmeticError),
    *(RecursionError, EOFError, MemoryError, AssertionError, struct.error, zlib.error),
    *(InvalidDicomError, BytesLengthException),
)


def problems(
    objects: Sequence[Dataset], exam: Exam | None = None, *, now: datetime | None = None
) -> tuple[Reason, ...]:
    """What contradicts the exam, itself or each other in these objects; empty if nothing does.

    Parameters
    ----------
    exam : Exam, optional
        Whose the objects are. With an image among them they are taken as the whole exam: a reference that
        does not say its study must lead to one of them.
    now : datetime, optional
        Objects from later than this are a problem.
    """
    seen = [see(dataset) for dataset in objects]
    return tuple(
        Reason(f"dicom-{name}", f"{one.kind or 'object'}: {message}", _REMEDY)
        for one, name, message in _all(seen, exam, now)
    )


def lint_files(paths: Sequence[Path], *, now: datetime | None = None) -> list[dict[str, Any]]:
    """Path, kind and problems of each file; files of one study are compared with each other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pydicom would tell of, the checks find or do not need
        read = [(path, _read(path)) for path in paths]
        studies: dict[str, list[Seen]] = {}
        for _, found in read:
            if isinstance(found, Seen):
                studies.setdefault(str(found.get("StudyInstanceUID")), []).append(found)
        told = [finding for study in studies.values() for finding in _files(study, now)]
    return [_entry(path, found, told) for path, found in read]


def _entry(path: Path, found: Seen | Reason, told: Sequence[tuple[Seen, Reason]]) -> dict[str, Any]:
    own = [found] if isinstance(found, Reason) else [reason for seen, reason in told if seen is found]
    kind = "unreadable" if isinstance(found, Reason) else found.kind or "other"
    problems_told = [{"id": one.id, "message": one.message, "remedy": one.remedy} for one in own]
    return {"path": str(path), "kind": kind, "problems": problems_told}


def _files(study: Sequence[Seen], now: datetime | None) -> list[tuple[Seen, Reason]]:
    """A file can be whole in grammar and have values in which no check finds its way."""
    try:
        return [(seen, Reason(f"dicom-{name}", what, _REMEDY)) for seen, name, what in _all(study, None, now)]
    except _UNREADABLE as error:
        if len(study) > 1:  # which of them it is
            return [finding for seen in study for finding in _files([seen], now)]
        message = f"the values cannot be compared ({type(error).__name__}: {error})"
        damaged = Reason("dicom-damaged", message, "check the file with dciodvfy, then write it anew")
        return [(seen, damaged) for seen in study]


def _all(seen: Sequence[Seen], exam: Exam | None, now: datetime | None) -> Iterator[tuple[Seen, str, str]]:
    """Everything once, object by object, then between those of each study; an exam's are of one."""
    for one in seen:
        yield from ((one, name, message) for name, message in dict.fromkeys(_of_one(one, exam, now)))
    studies: dict[str, list[Seen]] = {}
    for one in seen:
        studies.setdefault(str(one.get("StudyInstanceUID")) if exam is None else "", []).append(one)
    for study in studies.values():
        yield from dict.fromkeys(contradictions(study, of_exam=exam is not None))


def _of_one(one: Seen, exam: Exam | None, now: datetime | None) -> Iterator[tuple[str, str]]:
    other_order = one.kind == "rejection note" and name_of(one.dataset) in _OTHER_ORDER
    for check in EVERY:
        yield from check(one, None if other_order else exam)
    if now is not None:
        yield from future(one, now)
    for check in IMAGE if one.kind in IMAGES else MEASUREMENTS if ours(one) else DOCUMENTS.get(one.kind, ()):
        yield from check(one, exam)


def _read(path: Path) -> Seen | Reason:
    try:
        return see(pydicom.dcmread(path))
    except _UNREADABLE as error:
        message = f"{path.name} is no DICOM file that can be read ({type(error).__name__}: {error})"
        return Reason("dicom-unreadable", message, "give a DICOM Part 10 file")
