"""Modality worklist: one C-FIND, every match read as a row, whatever it looks like.

Matching keys: the station's AE title if the hospital file gives one, the modality, and the days around today.
Everything else is asked for and judged here, so that a row that cannot be used is shown, not lost::

    order      accession, referring physician, requested procedure (ID, description, codes, reason), study UID
    patient    name, ID, birth date, sex
    step       AE title, modality, date, time, ID, description, protocol codes with their context
    side       laterality, anatomic region (see `ordered_side`)
"""

import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta

from pydicom import Dataset
from pydicom.sequence import Sequence as DicomSequence

from station.dicom.association import NetworkError, associated, called, found
from station.dicom.scheduled import rows_of
from station.hospital import Hospital, Worklist
from station.orders import (
    Answer,
    Cache,
    Row,
    WrongOrder,
    emergency,
    reconciled,
    select,
)
from station.result import Reason

__all__ = [
    "WORKLIST",
    "Answer",
    "Cache",
    "Endless",
    "Row",
    "WrongOrder",
    "emergency",
    "keys",
    "query",
    "reconciled",
    "select",
]

WORKLIST = "1.2.840.10008.5.1.4.31"  # Modality Worklist Information Model - FIND
MAX_ROWS = 20_000  # a RIS that gives more does not look at the keys
LONGEST_S = 120.0  # own choice; 5,000 rows take less than 10 s
_FEWER_ROWS = "give worklist.scheduled_ae_title, or fewer days, in the hospital file"
_ORDER = (
    "SpecificCharacterSet",
    "TimezoneOffsetFromUTC",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "Laterality",
    "ImageLaterality",
    "RequestedProcedureDescription",
    "RequestedProcedureID",
    "ReasonForTheRequestedProcedure",
)
_STEP = (
    "ScheduledProcedureStepStartTime",
    "ScheduledProcedureStepDescription",
    "ScheduledProcedureStepID",
)
_CODE = ("CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning")


class Endless(NetworkError):  # noqa: N818  reads as the message it is
    """More rows, or for longer, than a day's list can take."""


def query(hospital: Hospital, clock_now: datetime) -> Answer:
    """Ask the RIS; every match becomes a row, usable or not.

    Raises
    ------
    NetworkError
        Its narrowest kind.
    ValueError
        If the hospital has no worklist.
    """
    worklist = hospital.worklist
    if worklist is None:
        raise ValueError(f"{hospital.name} has no worklist; add it to the hospital file, or type the order")
    began = time.monotonic()
    here = clock_now.astimezone()  # a RIS says days and times as the clocks on its walls do
    warnings: list[str] = []
    with associated(hospital, worklist, [WORKLIST]) as association:
        matches = found(association, worklist, keys(worklist, here.date()), WORKLIST, warnings.append)
        rows = sorted(_rows(matches, worklist, here), key=_by_time)
    return Answer(tuple(rows), clock_now, time.monotonic() - began, _incomplete(warnings))


def _incomplete(warnings: list[str]) -> Reason | None:
    if not warnings:
        return None
    message = f"orders may be missing: {'; '.join(warnings)}"
    return Reason("worklist-incomplete", message, _FEWER_ROWS)


def _rows(matches: Iterator[Dataset | None], worklist: Worklist, now: datetime) -> Iterator[Row]:
    began = time.monotonic()
    for count, match in enumerate(matches):
        if count == MAX_ROWS:
            raise Endless(f"{called(worklist)} gives more than {MAX_ROWS} rows", _FEWER_ROWS)
        if time.monotonic() - began > LONGEST_S:
            raise Endless(f"{called(worklist)} is still answering after {LONGEST_S:g} s", _FEWER_ROWS)
        yield from rows_of(match, worklist.codes, now)


def _by_time(row: Row) -> tuple[bool, float, str]:
    at = row.scheduled_at
    return at is None, at.timestamp() if at else 0.0, row.accession_number


def keys(worklist: Worklist, today: date) -> Dataset:
    """The identifier of the query."""
    wanted = _empty(*_ORDER)
    step = _empty(*_STEP)
    step.ScheduledStationAETitle = worklist.scheduled_ae_title or ""
    step.Modality = worklist.modality
    around = timedelta(days=worklist.days)
    step.ScheduledProcedureStepStartDate = f"{today - around:%Y%m%d}-{today + around:%Y%m%d}"
    protocol = _empty(*_CODE)
    context = _empty("ValueType")
    context.ConceptNameCodeSequence = DicomSequence([_empty(*_CODE)])
    context.ConceptCodeSequence = DicomSequence([_empty(*_CODE)])
    protocol.ProtocolContextSequence = DicomSequence([context])
    step.ScheduledProtocolCodeSequence = DicomSequence([protocol])
    wanted.ScheduledProcedureStepSequence = DicomSequence([step])
    wanted.RequestedProcedureCodeSequence = DicomSequence([_empty(*_CODE)])
    region = _empty(*_CODE)
    region.AnatomicRegionModifierSequence = DicomSequence([_empty(*_CODE)])
    wanted.AnatomicRegionSequence = DicomSequence([region])
    return wanted


def _empty(*keywords: str) -> Dataset:
    """Return keys: their values are asked for."""
    made = Dataset()
    for keyword in keywords:
        setattr(made, keyword, "")
    return made
