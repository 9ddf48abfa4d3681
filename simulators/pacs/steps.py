"""Performed procedure steps as a RIS keeps them: attributes of PS3.4 table F.7.2-1, rules of F.7.2.

Type 1 must have a value, type 2 must be there. Only what N-CREATE named can be set. A step that has ended is
not changed any more. What is refused is answered with its status and said in full in `complaints`.
"""

import threading
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from pydicom.dataset import Dataset
from pydicom.tag import Tag

STEP = "1.2.840.10008.3.1.2.3.3"
STEP_RETRIEVE = "1.2.840.10008.3.1.2.3.4"

MISSING_ATTRIBUTE, MISSING_VALUE = 0x0120, 0x0121
INVALID_VALUE, NO_SUCH_ATTRIBUTE = 0x0106, 0x0105
PROCESSING_FAILURE, DUPLICATE, NO_SUCH_INSTANCE = 0x0110, 0x0111, 0x0112
MAY_NO_LONGER_BE_UPDATED = 0xA710

_REFERENCE = {"ReferencedSOPClassUID": 1, "ReferencedSOPInstanceUID": 1}
_CODE = {"CodeValue": 1, "CodingSchemeDesignator": 1, "CodeMeaning": 1}
_OTHER_CODE_VALUES = ("LongCodeValue", "URNCodeValue")  # one of them instead of Code Value
_SERIES = {
    "PerformingPhysicianName": 2,
    "ProtocolName": 1,
    "OperatorsName": 2,
    "SeriesInstanceUID": 1,
    "SeriesDescription": 2,
    "RetrieveAETitle": 2,
    "ReferencedImageSequence": 2,
    "ReferencedNonImageCompositeSOPInstanceSequence": 2,
}
_ORDER = {
    "StudyInstanceUID": 1,
    "ReferencedStudySequence": 2,
    "AccessionNumber": 2,
    "RequestedProcedureID": 2,
    "RequestedProcedureDescription": 2,
    "ScheduledProcedureStepID": 2,
    "ScheduledProcedureStepDescription": 2,
    "ScheduledProtocolCodeSequence": 2,
}
ON_CREATE: Mapping[str, int] = {
    "ScheduledStepAttributesSequence": 1,
    "PatientName": 2,
    "PatientID": 2,
    "PatientBirthDate": 2,
    "PatientSex": 2,
    "ReferencedPatientSequence": 2,
    "PerformedProcedureStepID": 1,
    "PerformedStationAETitle": 1,
    "PerformedStationName": 2,
    "PerformedLocation": 2,
    "PerformedProcedureStepStartDate": 1,
    "PerformedProcedureStepStartTime": 1,
    "PerformedProcedureStepStatus": 1,
    "PerformedProcedureStepDescription": 2,
    "PerformedProcedureTypeDescription": 2,
    "ProcedureCodeSequence": 2,
    "PerformedProcedureStepEndDate": 2,
    "PerformedProcedureStepEndTime": 2,
    "Modality": 1,
    "StudyID": 2,
    "PerformedProtocolCodeSequence": 2,
    "PerformedSeriesSequence": 2,
}
AT_THE_END: Mapping[str, int] = {
    "PerformedProcedureStepEndDate": 1,
    "PerformedProcedureStepEndTime": 1,
    "PerformedSeriesSequence": 1,
}
NEVER_SET = frozenset(
    (
        *("ScheduledStepAttributesSequence", "PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
        *("ReferencedPatientSequence", "PerformedProcedureStepID", "PerformedStationAETitle"),
        *("PerformedStationName", "PerformedLocation", "PerformedProcedureStepStartDate"),
        *("PerformedProcedureStepStartTime", "Modality", "StudyID"),
    )
)
_WITHIN: Mapping[str, Mapping[str, int]] = {
    "ScheduledStepAttributesSequence": _ORDER,
    "PerformedSeriesSequence": _SERIES,
    "ReferencedStudySequence": _REFERENCE,
    "ReferencedPatientSequence": _REFERENCE,
    "ReferencedImageSequence": _REFERENCE,
    "ReferencedNonImageCompositeSOPInstanceSequence": _REFERENCE,
    "ProcedureCodeSequence": _CODE,
    "PerformedProtocolCodeSequence": _CODE,
    "BillingProcedureStepSequence": _CODE,
    "PerformedProcedureStepDiscontinuationReasonCodeSequence": _CODE,
}
_FINAL = ("COMPLETED", "DISCONTINUED")


@dataclass
class Step:
    """One performed procedure step."""

    uid: str
    attributes: Dataset
    history: list[str] = field(default_factory=list)  # every request that was taken, in order

    @property
    def status(self) -> str:
        """IN PROGRESS, COMPLETED or DISCONTINUED."""
        return str(self.attributes.PerformedProcedureStepStatus)


class Steps:
    """All of them; asked from many threads."""

    def __init__(self) -> None:
        self._steps: dict[str, Step] = {}
        self._complaints: list[str] = []
        self._lock = threading.Lock()

    def all(self) -> dict[str, Step]:
        """By UID, as they are now."""
        with self._lock:
            return deepcopy(self._steps)

    def complaints(self) -> list[str]:
        """What was refused, and why."""
        with self._lock:
            return list(self._complaints)

    def create(self, uid: str, given: Dataset) -> tuple[Dataset, Dataset | None]:
        """Answer of N-CREATE."""
        with self._lock:
            if uid in self._steps:
                return self._no(DUPLICATE, f"step {uid} exists")
            problem = next(_problems(given, ON_CREATE), None)
            if problem:
                return self._no(*problem)
            if given.PerformedProcedureStepStatus != "IN PROGRESS":
                return self._no(INVALID_VALUE, "PerformedProcedureStepStatus must be IN PROGRESS")
            self._steps[uid] = Step(uid, given, ["N-CREATE IN PROGRESS"])
            return _status(0), None

    def set(self, uid: str, given: Dataset) -> tuple[Dataset, Dataset | None]:
        """Answer of N-SET."""
        with self._lock:
            step = self._steps.get(uid)
            if step is None:
                return self._no(NO_SUCH_INSTANCE, f"step {uid} is not known")
            if step.status in _FINAL:
                comment = "Performed Procedure Step Object may no longer be updated"
                return self._no(PROCESSING_FAILURE, comment, MAY_NO_LONGER_BE_UPDATED)
            names = {element.keyword for element in given} - {"SpecificCharacterSet"}
            for name in sorted(names):
                if name in NEVER_SET or Tag(name) not in step.attributes:
                    why = "may not be set" if name in NEVER_SET else "was not created"
                    refusal, nothing = self._no(NO_SUCH_ATTRIBUTE, f"{name} {why}")
                    refusal.AttributeIdentifierList = [Tag(name)]
                    return refusal, nothing
            merged = deepcopy(step.attributes)
            merged.update({element.tag: element for element in given})
            ends = merged.PerformedProcedureStepStatus in _FINAL
            problem = next(_problems(merged, {**ON_CREATE, **(AT_THE_END if ends else {})}), None)
            if problem:
                return self._no(*problem)
            step.attributes = merged
            step.history.append(f"N-SET {step.status}")
            return _status(0), None

    def get(self, uid: str, tags: list[Any]) -> tuple[Dataset, Dataset | None]:
        """Answer of N-GET; without tags, all attributes."""
        with self._lock:
            step = self._steps.get(uid)
            if step is None:
                return self._no(NO_SUCH_INSTANCE, f"step {uid} is not known")
            found = Dataset()
            for element in step.attributes:
                if not tags or element.tag in tags:
                    found[element.tag] = element
            return _status(0), found

    def _no(self, status: int, comment: str, error_id: int | None = None) -> tuple[Dataset, None]:
        self._complaints.append(f"{status:04X}H {comment}")
        return _status(status, comment, error_id), None


def _problems(given: Dataset, table: Mapping[str, int], where: str = "") -> Iterator[tuple[int, str]]:
    """Status and sentence for everything that is missing, in sequences too."""
    for keyword, kind in table.items():
        if keyword == "CodeValue" and any(given.get(other) for other in _OTHER_CODE_VALUES):
            continue
        if keyword not in given:
            yield MISSING_ATTRIBUTE, f"{where}{keyword} (type {kind}) is missing"
        elif kind == 1 and given[keyword].is_empty:
            yield MISSING_VALUE, f"{where}{keyword} (type 1) is empty"
    for element in given:
        within = _WITHIN.get(element.keyword)
        if within is not None:
            for number, item in enumerate(element.value or (), 1):
                yield from _problems(item, within, f"{where}{element.keyword}[{number}].")


def _status(status: int, comment: str = "", error_id: int | None = None) -> Dataset:
    answer = Dataset()
    answer.Status = status
    if comment:
        answer.ErrorComment = comment[:64]
    if error_id is not None:
        answer.ErrorID = error_id
    return answer
