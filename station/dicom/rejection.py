"""Notes that take objects back: Key Object Selection (PS3.3 A.35.4, PS3.16 TID 2010), as IHE IOCM uses it.

| title | for |
|---|---|
| 113001 Rejected for Quality Reasons | a rejected exposure's images; the reason of CID 7011 is its modifier |
| 113037 Rejected for Patient Safety Reasons | objects that nobody must see |
| 113038 Incorrect Modality Worklist Entry | objects sent under a wrong order, before they are sent anew |

A note is filed where its objects are: with their patient and in their study, also when the exam has another
order by now. An archive that knows the profile hides the objects; any other shows the note beside them.
"""

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset

from station.dicom.content import (
    CONTAINS,
    HAS_CONCEPT_MOD,
    HAS_OBS_CONTEXT,
    code,
    composite,
    dcm,
    image,
    person,
    root,
    text,
    uid,
)
from station.dicom.document_head import begin_document
from station.dicom.equipment import device_uid
from station.exam import REJECTION_REASONS, Coded
from station.study import Study

SOP_CLASS = "1.2.840.10008.5.1.4.1.1.88.59"
QUALITY = dcm("113001", "Rejected for Quality Reasons")
PATIENT_SAFETY = dcm("113037", "Rejected for Patient Safety Reasons")
WRONG_ORDER = dcm("113038", "Incorrect Modality Worklist Entry")

_TITLES = (QUALITY, PATIENT_SAFETY, WRONG_ORDER)
_WHOSE = (  # patient and study of the objects
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
    *("StudyDescription", "ProcedureCodeSequence"),
)


def build(study: Study, refused: Sequence[Dataset], title: Coded, reason: Coded | None) -> Dataset:
    """A note about these objects of one study; the same objects and title make the same note.

    Raises
    ------
    ValueError
        No objects, objects of several studies, a title that takes nothing back, or a reason that does not
        belong to it.
    """
    _refuse(refused, title, reason)
    uids = sorted(str(one.SOPInstanceUID) for one in refused)
    dataset = begin_document(study, SOP_CLASS, "rejection", refused, title.value, *uids)
    for keyword in _WHOSE:
        if keyword in refused[0]:
            setattr(dataset, keyword, refused[0].get(keyword))
        elif keyword in dataset:
            delattr(dataset, keyword)
    if dataset.StudyInstanceUID != study.exam.item.study_instance_uid:
        dataset.pop("ReferencedRequestSequence", None)  # it is not the order that the objects were sent under
    dataset.update(root(title, "2010", _note(study, refused, reason)))
    return dataset


def _refuse(refused: Sequence[Dataset], title: Coded, reason: Coded | None) -> None:
    if not refused:
        raise ValueError("a rejection note must name at least one object; write none where nothing was sent")
    if title not in _TITLES:
        known = ", ".join(f"{one.value} {one.meaning}" for one in _TITLES)
        raise ValueError(f"'{title.value} {title.meaning}' takes nothing back; allowed are {known}")
    if (reason is not None) != (title == QUALITY):
        raise ValueError("a reason of CID 7011 belongs to 'Rejected for Quality Reasons', and only to it")
    if reason is not None and (reason.scheme != "DCM" or reason.value not in REJECTION_REASONS):
        known = ", ".join(REJECTION_REASONS)
        raise ValueError(f"'{reason.value} {reason.scheme}' is no reason of CID 7011; allowed are {known}")
    studies = {str(one.StudyInstanceUID) for one in refused}
    if len(studies) > 1:
        raise ValueError(f"the objects belong to {len(studies)} studies; write a note for each")


def _note(study: Study, refused: Sequence[Dataset], reason: Coded | None) -> Iterator[Dataset]:
    if reason is not None:
        yield code(HAS_CONCEPT_MOD, dcm("113011", "Document Title Modifier"), reason)
        yield from _rejecting(study, refused)
    yield code(HAS_OBS_CONTEXT, dcm("121005", "Observer Type"), dcm("121007", "Device"))
    yield uid(HAS_OBS_CONTEXT, dcm("121012", "Device Observer UID"), device_uid(study.equipment))
    if study.equipment.station_name:
        yield text(HAS_OBS_CONTEXT, dcm("121013", "Device Observer Name"), study.equipment.station_name)
    if reason is not None:
        yield text(CONTAINS, dcm("113012", "Key Object Description"), reason.meaning)
    for one in refused:
        yield (image if "PixelData" in one else composite)(CONTAINS, one)


def _rejecting(study: Study, refused: Sequence[Dataset]) -> Iterator[Dataset]:
    """The persons who rejected these exposures."""
    events = {str(one.get("IrradiationEventUID", "")) for one in refused}
    rejected = [one.number for one in study.exposures if one.uid in events and one.number in study.rejections]
    for name in sorted({study.rejections[number].by for number in rejected} - {""}):
        yield code(HAS_OBS_CONTEXT, dcm("121005", "Observer Type"), dcm("121006", "Person"))
        yield person(HAS_OBS_CONTEXT, dcm("121008", "Person Observer Name"), name)
