"""What the station's documents share: their series, release, predecessor, and the order they answer.

| | preliminary | released by a physician |
|---|---|---|
| SOP Instance UID | `uid_for("report", kind)` | `uid_for("report", kind, "released")` |
| content time | of the decision | of the release |
| Verification Flag | UNVERIFIED | VERIFIED |
| Predecessor Documents | none | the preliminary one, which stays in the archive |
"""

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from station.dicom.equipment import describe
from station.dicom.modules import begin, date_time, evidence, study_code
from station.statements import physician_release
from station.study import Study

_SERIES = {"measurements": 11, "document": 12}  # Series Number; below are images and presentation states


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
    study_code(dataset, study.code)
    dataset.InstanceNumber = 1 if release is None else 2
    made_at = study.made_at if release is None else release.at
    dataset.ContentDate, dataset.ContentTime = date_time(made_at, exam)
    return dataset


def document_uid(study: Study, kind: str, *, preliminary: bool = False) -> str:
    """SOP Instance UID of the document, or of the version before its release."""
    if preliminary or physician_release(study) is None:
        return study.exam.uid_for("report", kind)
    return study.exam.uid_for("report", kind, "released")


def predecessor(dataset: Dataset, study: Study, kind: str) -> Items:
    """The Predecessor Documents Sequence of a released document: its preliminary version."""
    earlier = Dataset()
    earlier.SOPClassUID = dataset.SOPClassUID
    earlier.SOPInstanceUID = document_uid(study, kind, preliminary=True)
    earlier.SeriesInstanceUID = dataset.SeriesInstanceUID
    earlier.StudyInstanceUID = dataset.StudyInstanceUID
    return evidence([earlier])
