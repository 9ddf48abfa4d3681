"""An exam as the disk tells it: the study that objects, messages and report are made from, and its charge.

There is one way from the folder to the study, taken when an image is accepted, after a crash, and when a
physician releases the result a week later; so all of them make the same.
"""

import json
from contextlib import suppress
from dataclasses import dataclass, replace

from station import billing
from station.dispatch import Dispatch
from station.exam import Exam
from station.issue import Papers
from station.pipeline import Setting
from station.positioning import Points
from station.result import DxrResult, Refused
from station.spool import Record, Spool, SpoolError
from station.study import Study


@dataclass(frozen=True, slots=True)
class Books:
    """Where exams are written down, what they have in common, and who is told of them."""

    spool: Spool
    setting: Setting
    dispatch: Dispatch


def study_of(books: Books, record: Record) -> Study:
    """The study of an exam with at least one exposure, without its charge. Raises `SpoolError`."""
    exam, exposures, decision = record.exam, record.exposures, record.decision
    found = {e.number: one for e in exposures if (one := books.spool.findings(exam, e)) is not None}
    newest = found.get(exposures[-1].number)
    serial = books.setting.equipment.serial
    return Study(
        exam=exam,
        equipment=books.setting.equipment,
        protocol=books.setting.protocol,
        detector_serial=next((one.detector_serial for one in found.values()), serial),
        made_at=decision.at if decision else exposures[-1].started_at,
        exposures=exposures,
        rejections=record.rejections,
        indices={n: one.exposure_index for n, one in found.items() if one.exposure_index is not None},
        result=newest.result if newest else None,
        calibrated_at=newest.calibrated_at if newest else None,
        release=decision.release if decision else None,
    )


def papers_of(books: Books, record: Record) -> tuple[Study, Papers]:
    """The study with its charge, and what the report says besides. Raises `SpoolError`."""
    study = study_of(books, record)
    charge = billing.code_for(_facts(study, record, books), books.setting.protocol.codes)
    study = replace(study, code=charge.code)
    earlier = books.dispatch.earlier(record.exam)
    return study, Papers(books.setting.reference, charge, earlier, books.setting.paper)


def earlier_pose(books: Books, exam: Exam) -> Points:
    """Outline of the same hand in its newest accepted exam here, (row, column) in mm on the panel.

    Empty where there is none: other stations' outlines are not known.
    """
    newest: Record | None = None
    wanted = json.dumps(exam.item.patient.id)
    for path in books.spool.root.glob("*/exam.json"):
        with suppress(SpoolError, OSError):
            if wanted not in path.read_text(encoding="utf-8"):
                continue  # most folders are somebody else's, and reading a whole record takes longer
            record = books.spool.record(path.parent)
            item = record.exam.item
            same = item.patient.id == exam.item.patient.id and item.side is exam.item.side
            if record.closed == "accepted" and same and record.exam.uid != exam.uid:
                later = newest is None or record.exam.opened_at > newest.exam.opened_at
                newest = record if later else newest
    if newest is None:
        return ()
    with suppress(SpoolError):
        exposure = newest.exposures[-1]
        found, spacing = (
            books.spool.findings(newest.exam, exposure),
            books.spool.raw(newest.exam, exposure).spacing_mm,
        )
        for outline in found.outlines if found and spacing else ():
            if outline.kind == "hand" and spacing:
                return tuple((float(r) * spacing[0], float(c) * spacing[1]) for r, c in outline.points_px)
    return ()


def _facts(study: Study, record: Record, books: Books) -> billing.Facts:
    decision = record.decision
    return billing.Facts(
        acquired_here=True,  # an imported image has no exam here
        under_dxr_protocol=record.exam.protocol == books.setting.protocol.id,
        accepted=decision is not None and decision.accepted,
        side_agrees=not _contradicts_side(study.result),
        result=study.result,
        image_present=study.exposure.image,
        already_charged=books.dispatch.already_charged(record.exam),
        release=study.release,
        ordered=bool(record.exam.item.requested_procedure_id),
    )


def _contradicts_side(result: DxrResult | Refused | None) -> bool:
    notes = () if result is None else result.notes if isinstance(result, DxrResult) else result.reasons
    return any(note.id == "side-disagrees" for note in notes)
