"""What every DICOM object of an exam shares: patient, study, codes, number formats, and the file itself."""

from datetime import datetime
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, ExplicitVRLittleEndian

from station.durable import replacing
from station.exam import Exam


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
    return dataset


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


def coded(value: str, scheme: str, meaning: str) -> Dataset:
    """One item of a code sequence."""
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item


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
