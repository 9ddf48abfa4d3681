"""What every DICOM object of an exam shares: patient, study, codes, number formats, and the file itself."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, ExplicitVRLittleEndian

from station.durable import replacing
from station.exam import Coded, Exam
from station.protocols import Code

PERFORMED_STEP = "1.2.840.10008.3.1.2.3.3"  # Modality Performed Procedure Step SOP class
_SH_CHARACTERS = 16  # PS3.5 table 6.2-1; a longer code value has an attribute of its own


def begin(exam: Exam, sop_class: str, sop_instance: str) -> Dataset:
    """An object with SOP Common, Patient and Study modules; unknown patient facts are empty (type 2)."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(sop_instance)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = sop_instance
    dataset.TimezoneOffsetFromUTC = f"{exam.opened_at:%z}"[:5]
    _patient(dataset, exam)
    item = exam.item
    dataset.StudyInstanceUID = item.study_instance_uid
    dataset.StudyDate, dataset.StudyTime = date_time(exam.opened_at, exam)
    dataset.StudyID = item.requested_procedure_id
    dataset.AccessionNumber = item.accession_number
    dataset.ReferringPhysicianName = item.referring_physician
    if item.procedure:
        dataset.StudyDescription = item.procedure
    return dataset


def study_code(dataset: Dataset, code: Code | None) -> None:
    """What was done, at the level of the study: every object of an exam must say the same."""
    if code is not None:
        dataset.ProcedureCodeSequence = items(coded(code.value, code.scheme, code.meaning))


def _patient(dataset: Dataset, exam: Exam) -> None:
    patient = exam.item.patient
    dataset.PatientName = patient.name
    dataset.PatientID = patient.id
    dataset.PatientBirthDate = "" if patient.birth_date is None else f"{patient.birth_date:%Y%m%d}"
    dataset.PatientSex = "" if patient.sex is None else patient.sex.value
    age = patient.age_at(exam.opened_at.date())
    if age is not None:
        dataset.PatientAge = f"{int(age):03d}Y"


def date_time(moment: datetime, exam: Exam) -> tuple[str, str]:
    """DA and TM in the exam's time zone, which the object declares.

    Raises
    ------
    ValueError
        A time without zone: it could mean another hour.
    """
    if moment.tzinfo is None or exam.opened_at.tzinfo is None:
        raise ValueError(f"{moment} or the exam's opening time has no time zone")
    local = moment.astimezone(exam.opened_at.tzinfo)
    return f"{local:%Y%m%d}", f"{local:%H%M%S.%f}"


def performed_step_id(exam: Exam) -> str:
    """Performed Procedure Step ID: the scheduled step's, or one of its own where nothing was scheduled."""
    return exam.item.scheduled_step_id or exam.uid_for("mpps")[-_SH_CHARACTERS:]


def performed_step_reference(exam: Exam) -> Dataset:
    """One item that refers to the exam's performed procedure step."""
    return _referring(PERFORMED_STEP, exam.uid_for("mpps"))


def performed_step(dataset: Dataset, exam: Exam, description: str) -> None:
    """What a series says of the procedure step it was made in, and of the request behind it (C.7.3.1).

    The exam keeps its own Study Instance UID; the order's, where an exam was joined to it later, is said in
    the request (table 10-9 allows it there).
    """
    item = exam.item
    day, time = date_time(exam.opened_at, exam)
    dataset.PerformedProcedureStepStartDate, dataset.PerformedProcedureStepStartTime = day, time
    dataset.PerformedProcedureStepID = performed_step_id(exam)
    dataset.PerformedProcedureStepDescription = description
    dataset.ReferencedPerformedProcedureStepSequence = items(performed_step_reference(exam))
    if not (item.scheduled_step_id and item.requested_procedure_id):
        return
    request = Dataset()
    request.RequestedProcedureID = item.requested_procedure_id
    request.ScheduledProcedureStepID = item.scheduled_step_id
    request.AccessionNumber = item.accession_number
    for keyword, text in (
        ("StudyInstanceUID", item.requested_study_uid),
        ("RequestedProcedureDescription", item.procedure),
        ("ReasonForTheRequestedProcedure", item.reason),
        ("ScheduledProcedureStepDescription", item.step),
    ):
        if text:
            setattr(request, keyword, text)
    if item.codes:
        request.ScheduledProtocolCodeSequence = items(*(coding(code) for code in item.codes))
    dataset.RequestAttributesSequence = items(request)


def referenced_request(exam: Exam) -> Dataset:
    """The request that a document answers: one item of its Referenced Request Sequence (C.17.2)."""
    item, request = exam.item, Dataset()
    request.StudyInstanceUID = item.requested_study_uid or item.study_instance_uid
    request.ReferencedStudySequence = items()
    request.AccessionNumber = item.accession_number
    request.PlacerOrderNumberImagingServiceRequest = ""
    request.FillerOrderNumberImagingServiceRequest = ""
    request.RequestedProcedureID = item.requested_procedure_id
    request.RequestedProcedureDescription = item.procedure
    request.RequestedProcedureCodeSequence = items()
    return request


def reference(dataset: Dataset) -> Dataset:
    """One item that refers to this object: its SOP class and instance."""
    return _referring(dataset.SOPClassUID, dataset.SOPInstanceUID)


def _referring(sop_class: str, sop_instance: str) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class
    item.ReferencedSOPInstanceUID = sop_instance
    return item


def evidence(datasets: Iterable[Dataset]) -> Items:
    """References by study and series, as documents list what they refer to (table 10-3b, C.17.2.1)."""
    studies: dict[str, dict[str, list[Dataset]]] = {}
    for dataset in datasets:
        series = studies.setdefault(dataset.StudyInstanceUID, {})
        series.setdefault(dataset.SeriesInstanceUID, []).append(reference(dataset))
    found: list[Dataset] = []
    for study_uid, series in studies.items():
        study = Dataset()
        study.StudyInstanceUID = study_uid
        members: list[Dataset] = []
        for series_uid, references in series.items():
            member = Dataset()
            member.SeriesInstanceUID = series_uid
            member.ReferencedSOPSequence = items(*references)
            members.append(member)
        study.ReferencedSeriesSequence = items(*members)
        found.append(study)
    return items(*found)


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    """One item of a code sequence."""
    item = Dataset()
    if len(value) > _SH_CHARACTERS:
        item.LongCodeValue = value
    else:
        item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item


def coding(code: Coded) -> Dataset:
    """The same of a term; an order that gives no meaning is shown by its value (type 1)."""
    return coded(code.value, code.scheme, code.meaning or code.value)


def items(*datasets: Dataset) -> Items:
    """A sequence."""
    return Items(datasets)


def decimal(value: float) -> str:
    """A DS of at most 16 characters with seven significant digits."""
    return f"{value:.7g}"


def write(dataset: Dataset, path: Path) -> None:
    """Write a Part 10 file; it is there whole or not at all, also after a power cut."""
    with replacing(path) as file:
        pydicom.dcmwrite(file, dataset, enforce_file_format=True)
