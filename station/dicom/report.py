"""What the station's documents share: their series, release, predecessor, and the order they answer.

| | preliminary | released by a physician |
|---|---|---|
| SOP Instance UID | `uid_for("report", kind)` | `uid_for("report", kind, "released")` |
| content time | of the decision | of the release |
| Verification Flag | UNVERIFIED | VERIFIED |
| Predecessor Documents | none | the preliminary one, which stays in the archive |
"""

from pydicom.dataset import Dataset

from station.dicom.equipment import describe
from station.dicom.modules import begin, coded, date_time, items
from station.exam import Release
from station.study import Study

_SERIES = {"measurements": 11, "document": 12}  # Series Number; below are images and presentation states


def physician_release(study: Study) -> Release | None:
    """The release that ends being preliminary; a release for the charge alone does not."""
    return study.release if study.release is not None and study.release.physician else None


def begin_report(study: Study, kind: str, sop_class: str, modality: str) -> Dataset:
    """A document with everything before its own module; a newer version lies in the same series."""
    exam, release = study.exam, physician_release(study)
    dataset = begin(exam, sop_class, document_uid(study, kind))
    describe(dataset, study.equipment)
    dataset.Modality = modality
    dataset.SeriesInstanceUID = exam.uid_for("series", kind)
    dataset.SeriesNumber = _SERIES[kind]
    dataset.SeriesDescription = f"DXR {kind}, {exam.item.side.word} hand"
    dataset.SeriesDate, dataset.SeriesTime = date_time(study.made_at, exam)
    dataset.InstanceNumber = 1 if release is None else 2
    made_at = study.made_at if release is None else release.at
    dataset.ContentDate, dataset.ContentTime = date_time(made_at, exam)
    return dataset


def document_uid(study: Study, kind: str, *, preliminary: bool = False) -> str:
    """SOP Instance UID of the document, or of the version before its release."""
    if preliminary or physician_release(study) is None:
        return study.exam.uid_for("report", kind)
    return study.exam.uid_for("report", kind, "released")


def predecessor(study: Study, kind: str, sop_class: str) -> Dataset:
    """The preliminary version, as an item of the Predecessor Documents Sequence."""
    instance = Dataset()
    instance.ReferencedSOPClassUID = sop_class
    instance.ReferencedSOPInstanceUID = document_uid(study, kind, preliminary=True)
    series = Dataset()
    series.SeriesInstanceUID = study.exam.uid_for("series", kind)
    series.ReferencedSOPSequence = items(instance)
    item = Dataset()
    item.StudyInstanceUID = study.exam.item.study_instance_uid
    item.ReferencedSeriesSequence = items(series)
    return item


def request(study: Study) -> Dataset | None:
    """The order as an item of the Referenced Request Sequence; None where nobody ordered."""
    order = study.exam.item
    if not (order.accession_number or order.requested_procedure_id):
        return None
    item = Dataset()
    item.StudyInstanceUID = order.requested_study_uid or order.study_instance_uid
    item.ReferencedStudySequence = items()
    item.AccessionNumber = order.accession_number
    item.PlacerOrderNumberImagingServiceRequest = ""
    item.FillerOrderNumberImagingServiceRequest = ""
    item.RequestedProcedureID = order.requested_procedure_id
    item.RequestedProcedureDescription = order.procedure
    item.RequestedProcedureCodeSequence = items()
    return item


def procedure_codes(study: Study) -> list[Dataset]:
    """The code that billing decided on, if any."""
    code = study.code
    return [] if code is None else [coded(code.value, code.scheme, code.meaning)]
