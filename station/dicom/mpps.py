"""Modality Performed Procedure Step: tells the RIS that an exam has begun, and how it ended (PS3.4 Annex F).

| when | N-CREATE or N-SET | what it says |
|---|---|---|
| exam opened | `created` | IN PROGRESS, whom, what was ordered; all else that is ever set, empty |
| exam accepted | `completed` | COMPLETED, every object by series, dose, the charge if there is one |
| exam given up | `discontinued` | DISCONTINUED with its reason, and the dose of what was exposed until then |

Only what N-CREATE named, be it empty, may be set later (F.7.2.1.1 note 5). A step that has ended is never
changed again (F.7.2.2.2). A step that ends names at least one series, even one without objects (note 2).
An emergency has no scheduled step: its item keeps the study's UID, the rest is empty (F.7.2.1.2 note 3).
The dose attributes are those of the retired Radiation Dose Module (PS3.3-2017c): optional, and still read by
many; the dose report is the one that counts.
"""

from collections.abc import Iterable, MutableSequence, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pydicom
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian

from station.devices import Delivered, EndOfExposure
from station.dicom.modules import coded, date_time, decimal, items, performed_step_id
from station.dicom.modules import write as write  # noqa: PLC0414  re-exported: the outbox keeps these as files
from station.exam import DISCONTINUATION_REASONS, Exam, Exposure
from station.hospital import Hospital
from station.protocols import Code
from station.study import Equipment, Study

if TYPE_CHECKING:
    from station.dicom.association import PeerRefused

STEP = "1.2.840.10008.3.1.2.3.3"
STEP_RETRIEVE = "1.2.840.10008.3.1.2.3.4"

_DETACHED_STUDY = "1.2.840.10008.3.1.2.3.1"  # retired, and what F.7.2.1.2 note 2 asks for
_DGYCM2_PER_UGYM2 = 0.1
_CODE_VALUE_CHARACTERS = 16  # longer ones go into Long Code Value
_LO_CHARACTERS = 64
DUPLICATE = 0x0111
_NO_SUCH_INSTANCE = 0x0112
_PROCESSING_FAILURE = 0x0110
_MAY_NO_LONGER_BE_UPDATED = 0xA710  # Error ID, table F.7.2-2
DONE = (0x0000, 0x0001, 0x0107, 0x0116)  # success, and done but for attributes the peer does not keep
PASSING = (0x0110, 0x0210, 0x0213)  # processing failure, duplicate invocation, resource limitation
MEANINGS = {  # PS3.7 annex C
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0110: "processing failure",
    0x0112: "no such step",
    0x0118: "no such SOP class",
    0x0120: "missing attribute",
    0x0121: "missing attribute value",
    0x0124: "not authorized",
    0x0210: "duplicate invocation",
    0x0213: "resource limitation",
}
_FINAL = ("PerformedProcedureStepStatus", "PerformedProcedureStepEndDate", "PerformedProcedureStepEndTime")
_EMPTY_SEQUENCES = (
    "ReferencedPatientSequence",
    "ProcedureCodeSequence",
    "PerformedProtocolCodeSequence",
    "PerformedSeriesSequence",
    "PerformedProcedureStepDiscontinuationReasonCodeSequence",
    "ExposureDoseSequence",
    "BillingProcedureStepSequence",
)
_EMPTY_VALUES = (
    "PerformedLocation",
    "PerformedProcedureStepEndDate",
    "PerformedProcedureStepEndTime",
    "CommentsOnThePerformedProcedureStep",
    "ImageAndFluoroscopyAreaDoseProduct",
    "DistanceSourceToDetector",
    "TotalNumberOfExposures",
    "CommentsOnRadiationDose",
)


def uid(exam: Exam) -> str:
    """The step's SOP Instance UID; the exam's objects refer to it."""
    return exam.uid_for("mpps")


def created(exam: Exam, equipment: Equipment, ae_title: str, modality: str = "DX") -> Dataset:
    """What N-CREATE says when the exam is opened."""
    item = exam.item
    step = _begin(exam)
    step.TimezoneOffsetFromUTC = f"{exam.opened_at:%z}"[:5]
    step.ScheduledStepAttributesSequence = items(_scheduled(exam))
    step.PatientName, step.PatientID = item.patient.name, item.patient.id
    born, sex = item.patient.birth_date, item.patient.sex
    step.PatientBirthDate = "" if born is None else f"{born:%Y%m%d}"
    step.PatientSex = "" if sex is None else sex.value
    for keyword in _EMPTY_SEQUENCES:
        setattr(step, keyword, items())
    for keyword in _EMPTY_VALUES:
        setattr(step, keyword, None)
    step.PerformedProcedureStepID = performed_step_id(exam)
    step.PerformedStationAETitle = ae_title
    step.PerformedStationName = equipment.station_name
    step.PerformedProcedureStepStartDate, step.PerformedProcedureStepStartTime = date_time(
        exam.opened_at, exam
    )
    step.PerformedProcedureStepStatus = "IN PROGRESS"
    step.PerformedProcedureStepDescription = item.step or item.procedure or exam.protocol[:_LO_CHARACTERS]
    step.PerformedProcedureTypeDescription = item.procedure
    step.Modality = modality
    step.StudyID = item.requested_procedure_id
    return step


def completed(
    study: Study,
    objects: Sequence[Dataset],
    *,
    charge: Code | None = None,
    operator: str = "",
    retrieve_ae_title: str = "",
) -> Dataset:
    """What N-SET says when the image is accepted; `objects` are all that the exam made, in any order.

    Raises
    ------
    ValueError
        No object, one of another study, or a charge that is not the study's code or that nobody released.
    """
    exam = study.exam
    if not objects:
        raise ValueError("a completed exam has made objects; give them, or discontinue it")
    step = _ended(exam, "COMPLETED", study.made_at)
    step.PerformedSeriesSequence = _series(exam, objects, operator, retrieve_ae_title)
    if study.code is not None:  # else none, not what was ordered: a RIS may charge by what was performed
        step.ProcedureCodeSequence = items(_charge(study.code))
        step.PerformedProtocolCodeSequence = items(_charge(study.code))
    _dose(step, study.exposures)
    if charge is not None:
        if charge != study.code:
            raise ValueError(f"the charge {charge.value} is not the code that the objects carry")
        if study.release is None:
            raise ValueError(f"the charge {charge.value} needs a person's release")
        step.BillingProcedureStepSequence = items(_charge(charge))
    return step


def discontinued(
    exam: Exam,
    reason: str,
    ended_at: datetime,
    exposures: Sequence[Exposure] = (),
    objects: Sequence[Dataset] = (),
) -> Dataset:
    """What N-SET says when the exam is given up, with what was exposed and made until then; never a charge.

    Raises
    ------
    ValueError
        A reason that is not of `DISCONTINUATION_REASONS`, or an object of another study.
    """
    if reason not in DISCONTINUATION_REASONS:
        known = ", ".join(f"{code} {meaning}" for code, meaning in DISCONTINUATION_REASONS.items())
        raise ValueError(f"'{reason}' is no reason to give an exam up; known are {known}")
    step = _ended(exam, "DISCONTINUED", ended_at)
    step.PerformedProcedureStepDiscontinuationReasonCodeSequence = items(
        coded(reason, "DCM", DISCONTINUATION_REASONS[reason])
    )
    step.PerformedSeriesSequence = _series(exam, objects, "", "")
    if exposures:
        _dose(step, exposures)
    return step


def read(path: Path) -> tuple[str, Dataset]:
    """The step's UID and the dataset of a file made by `write`."""
    dataset = pydicom.dcmread(path)
    return str(dataset.file_meta.MediaStorageSOPInstanceUID), dataset


def send(hospital: Hospital, action: Literal["create", "set"], uid: str, dataset: Dataset) -> None:
    """Send one dataset to the RIS; sent twice does no harm.

    A create that is there already, and a final set that the peer has already, are what a lost answer leaves:
    the first is known by 0111H, the second by 0110H and a look with N-GET at status, end date and end time. A
    peer that cannot be looked at leaves the second a refusal.

    Raises
    ------
    NetworkError
        Its narrowest kind; `again` says whether it may go better later.
    """
    # Imported here: pynetdicom takes its time, and an exam without a hospital needs none of it.
    from station.dicom.association import NotSupported, PeerSilent, associated

    peer = hospital.mpps
    if peer is None:
        raise ValueError(f"hospital '{hospital.name}' has no mpps; name it in the hospital file")
    name = f"{peer.ae_title} at {peer.host}:{peer.port}"
    with associated(hospital, peer, (STEP, STEP_RETRIEVE)) as association:
        accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
        if STEP not in accepted:
            raise NotSupported(
                f"{name} takes no performed procedure steps", "enable MPPS at the peer", again=False
            )
        try:
            call = association.send_n_create if action == "create" else association.send_n_set
            answer, _ = call(dataset, STEP, uid)
        except RuntimeError as error:  # the association ended between opening and sending
            raise PeerSilent(f"{name}: {error}", "look whether the peer runs; it is tried again") from error
        if "Status" not in answer:
            raise PeerSilent(
                f"{name} did not answer {action}", "look whether the peer runs; it is tried again"
            )
        if answer.Status in DONE or (action == "create" and answer.Status == DUPLICATE):
            return
        if action == "set" and _over(answer) and STEP_RETRIEVE in accepted:
            kept, attributes = association.send_n_get([Tag(word) for word in _FINAL], STEP_RETRIEVE, uid)
            if kept.get("Status") == 0 and attributes is not None and _same_end(attributes, dataset):
                return
    raise _refusal(name, action, answer)


def _begin(exam: Exam) -> Dataset:
    step = Dataset()
    step.file_meta = FileMetaDataset()
    step.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    step.file_meta.MediaStorageSOPClassUID = UID(STEP)
    step.file_meta.MediaStorageSOPInstanceUID = UID(uid(exam))
    step.SpecificCharacterSet = "ISO_IR 192"
    return step


def _scheduled(exam: Exam) -> Dataset:
    item = exam.item
    order = Dataset()
    order.StudyInstanceUID = item.study_instance_uid
    order.ReferencedStudySequence = items()
    if item.requested_study_uid:
        study = Dataset()
        study.ReferencedSOPClassUID = _DETACHED_STUDY
        study.ReferencedSOPInstanceUID = item.requested_study_uid
        order.ReferencedStudySequence = items(study)
    order.AccessionNumber = item.accession_number
    order.RequestedProcedureID = item.requested_procedure_id
    order.RequestedProcedureDescription = item.procedure
    order.ScheduledProcedureStepID = item.scheduled_step_id
    order.ScheduledProcedureStepDescription = item.step
    order.ScheduledProtocolCodeSequence = items(*(_code(c.value, c.scheme, c.meaning) for c in item.codes))
    return order


def _ended(exam: Exam, status: str, ended_at: datetime) -> Dataset:
    step = _begin(exam)
    step.PerformedProcedureStepStatus = status
    step.PerformedProcedureStepEndDate, step.PerformedProcedureStepEndTime = date_time(ended_at, exam)
    return step


def _series(exam: Exam, objects: Iterable[Dataset], operator: str, retrieve_ae_title: str) -> Items:
    """One item per series; without any object one that is empty, since a step cannot end without."""
    series: dict[str, Dataset] = {}
    for made in objects:
        if made.StudyInstanceUID != exam.item.study_instance_uid:
            raise ValueError(
                f"object {made.SOPInstanceUID} belongs to another study, {made.StudyInstanceUID}"
            )
        entry = series.get(made.SeriesInstanceUID)
        if entry is None:
            entry = _one_series(exam, made.SeriesInstanceUID, made.get("SeriesDescription", ""))
            entry.OperatorsName, entry.RetrieveAETitle = operator, retrieve_ae_title
            series[made.SeriesInstanceUID] = entry
        reference = Dataset()
        reference.ReferencedSOPClassUID = made.SOPClassUID
        reference.ReferencedSOPInstanceUID = made.SOPInstanceUID
        kind = (
            "ReferencedImageSequence" if "Rows" in made else "ReferencedNonImageCompositeSOPInstanceSequence"
        )
        entry[kind].value.append(reference)
    if not series:
        return items(_one_series(exam, exam.uid_for("series", "presentation"), ""))
    return items(*series.values())


def _one_series(exam: Exam, series_uid: str, description: str) -> Dataset:
    entry = Dataset()
    entry.PerformingPhysicianName, entry.OperatorsName, entry.RetrieveAETitle = "", "", ""
    entry.ProtocolName = exam.protocol
    entry.SeriesInstanceUID = series_uid
    entry.SeriesDescription = description
    entry.ReferencedImageSequence = items()
    entry.ReferencedNonImageCompositeSOPInstanceSequence = items()
    return entry


def _dose(step: Dataset, exposures: Sequence[Exposure]) -> None:
    """Every irradiation counts, with or without image; a sum that misses one would be too low: left out."""
    irradiations = [exposure for exposure in exposures if _radiated(exposure)]
    step.TotalNumberOfExposures = len(irradiations)
    if len({exposure.sid_mm for exposure in irradiations}) == 1:
        step.DistanceSourceToDetector = decimal(irradiations[0].sid_mm)
    unmeasured = [exposure for exposure in irradiations if exposure.dap_ugym2 is None]
    if irradiations and not unmeasured:
        total_ugym2 = sum(exposure.dap_ugym2 or 0 for exposure in irradiations)
        step.ImageAndFluoroscopyAreaDoseProduct = decimal(total_ugym2 * _DGYCM2_PER_UGYM2)
    known = [exposure.delivered for exposure in irradiations if exposure.delivered and _known(exposure)]
    if known:
        step.ExposureDoseSequence = items(*(_exposure_dose(delivered) for delivered in known))
    unknown = [exposure for exposure in irradiations if not _known(exposure)]
    comments = [
        f"{what} of exposure {', '.join(str(exposure.number) for exposure in missing)} unknown"
        for what, missing in (("delivery", unknown), ("dose area product", unmeasured))
        if missing
    ]
    if comments:
        step.CommentsOnRadiationDose = "; ".join(comments)


def _radiated(exposure: Exposure) -> bool:
    """Also where nobody knows: then the dose is assumed."""
    return exposure.delivered is None or exposure.delivered.end is not EndOfExposure.NOT_STARTED


def _known(exposure: Exposure) -> bool:
    return exposure.delivered is not None and exposure.delivered.end is not EndOfExposure.UNKNOWN


def _exposure_dose(delivered: Delivered) -> Dataset:
    dose = Dataset()
    dose.KVP = decimal(delivered.kvp)
    dose.XRayTubeCurrentInuA = decimal(delivered.ma * 1000)
    dose.ExposureTime = round(delivered.ms)
    return dose


def _charge(code: Code) -> Dataset:
    return _code(code.value, code.scheme, code.meaning)


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = coded(value[:_CODE_VALUE_CHARACTERS], scheme, meaning)
    if len(value) > _CODE_VALUE_CHARACTERS:
        del code.CodeValue
        code.LongCodeValue = value
    return code


def _over(answer: Dataset) -> bool:
    """Whether the peer says that the step has ended already; not all of them give the Error ID."""
    return answer.Status == _PROCESSING_FAILURE and answer.get("ErrorID") in {None, _MAY_NO_LONGER_BE_UPDATED}


def _same_end(kept: Dataset, sent: Dataset) -> bool:
    """Whether this very set was taken before: nobody else knows the time at which the exam ended."""
    return all(str(kept.get(keyword, "")) == str(sent.get(keyword, "")) for keyword in _FINAL)


def _refusal(name: str, action: str, answer: Dataset) -> "PeerRefused":
    from station.dicom.association import PeerRefused

    status = int(answer.Status)
    ended = answer.get("ErrorID") == _MAY_NO_LONGER_BE_UPDATED
    meaning = MEANINGS.get(status, "see PS3.7 annex C")  # its own comment is dropped, it may name the patient
    offending: Any = answer.get("AttributeIdentifierList") or []
    tags = list(offending) if isinstance(offending, MutableSequence) else [offending]
    named = ", ".join(keyword_for_tag(tag) or str(tag) for tag in tags)
    remedy = "look into the peer's log, and into its conformance statement for what it wants"
    if ended:
        remedy = "the RIS has closed this step itself: compare it there with the exam"
    elif status == _NO_SUCH_INSTANCE:
        remedy = "the RIS does not know this step: it must be created first"
    return PeerRefused(
        f"{name} refuses the {action} with {status:04X}H, {meaning}{f': {named}' if named else ''}",
        remedy,
        status,
        again=status in PASSING and not ended,
    )
