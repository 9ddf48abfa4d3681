"""What dose report and rejection note have before their content (PS3.3 C.17.1, C.17.2, C.17.6).

Unlike results they are complete when written and never released: no person has to stand for what a device
recorded or for what a person took back.
"""

from collections.abc import Sequence

from pydicom.dataset import Dataset

from station.dicom.equipment import describe
from station.dicom.modules import (
    begin,
    date_time,
    evidence,
    items,
    performed_step_reference,
    referenced_request,
    study_code,
)
from station.study import Study

_SERIES = {  # Series Number, Modality, description; a note's objects may be of another order's side
    "dose": (13, "SR", "Radiation dose"),
    "rejection": (14, "KO", "Rejection note"),
}


def begin_document(
    study: Study, sop_class: str, kind: str, referred: Sequence[Dataset], *what: str
) -> Dataset:
    """A document of a kind; `what` tells those of one exam apart, `referred` is what its content names."""
    exam = study.exam
    dataset = begin(exam, sop_class, exam.uid_for(kind, *what))
    describe(dataset, study.equipment)
    study_code(dataset, study.code)
    dataset.SeriesNumber, dataset.Modality, dataset.SeriesDescription = _SERIES[kind]
    dataset.SeriesInstanceUID = exam.uid_for("series", kind, *what)
    dataset.SeriesDate, dataset.SeriesTime = date_time(exam.opened_at, exam)
    dataset.ReferencedPerformedProcedureStepSequence = items(performed_step_reference(exam))
    dataset.InstanceNumber = 1
    dataset.ContentDate, dataset.ContentTime = date_time(study.made_at, exam)
    dataset.ReferencedRequestSequence = items(referenced_request(exam))
    if referred:
        dataset.CurrentRequestedProcedureEvidenceSequence = evidence(referred)
    return dataset
