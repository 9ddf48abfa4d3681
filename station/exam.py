"""The exam's facts: who, which side, what was ordered, what was delivered. Frozen, no I/O."""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from station.devices import Delivered, Technique

_ROOT_UID = "2.25"  # ISO/ITU UUID-derived UIDs: valid everywhere without a registered root (PS3.5 B.2)
# no-break and ideographic space, zero-width (non-)joiner: names of many languages are spelled with them
_SPELLING: dict[int, str] = {0xA0: " ", 0x3000: " ", 0x200C: "", 0x200D: ""}


def refuse_text(what: str, text: str, limit: int) -> None:
    """Raise ValueError for text that DICOM could not carry (PS3.5 table 6.2-1)."""
    if len(text) > limit or "\\" in text or not text.isprintable():
        raise ValueError(f"{what} allows {limit} printable characters without backslash, got {text!r}")


def refuse_words(what: str, text: str, limit: int) -> None:
    """The same for what people read and no program compares."""
    refuse_text(what, text.translate(_SPELLING), limit)


def readable(words: str) -> bool:
    """Whether people can read all of it."""
    return words.translate(_SPELLING).isprintable()


class Side(StrEnum):
    """Laterality of a hand, with DICOM's letters."""

    LEFT = "L"
    RIGHT = "R"

    @property
    def word(self) -> str:
        """`left` or `right`."""
        return "left" if self is Side.LEFT else "right"


class Purpose(StrEnum):
    """Why exposures are made; a calibration has no patient, so no side and no positioning."""

    PATIENT = "patient"
    CALIBRATION = "calibration"


class Sex(StrEnum):
    """Sex as used by the reference populations, with DICOM's letters."""

    FEMALE = "F"
    MALE = "M"
    OTHER = "O"


@dataclass(frozen=True, slots=True)
class Patient:
    """The person in front of the station."""

    id: str
    name: str  # DICOM person name, Family^Given
    birth_date: date | None
    sex: Sex | None

    def __post_init__(self) -> None:
        refuse_text("patient ID", self.id, 64)
        for group in self.name.split("="):
            refuse_words("patient name", group, 64)

    def age_at(self, day: date) -> float | None:
        """Age in years, None if the birth date is unknown.

        Raises
        ------
        ValueError
            If born after that day.
        """
        if self.birth_date is None:
            return None
        if self.birth_date > day:
            raise ValueError(
                f"birth date {self.birth_date} lies after the exam date {day}; correct the order"
            )
        return (day - self.birth_date).days / 365.25


@dataclass(frozen=True, slots=True)
class Coded:
    """A term of a coding scheme, as an order or a site says it."""

    value: str
    scheme: str
    meaning: str


@dataclass(frozen=True, slots=True)
class WorklistItem:
    """One scheduled procedure step, or what an emergency patient's exam has instead of one."""

    accession_number: str
    patient: Patient
    side: Side
    procedure_code: str  # CPT, e.g. 0750T
    study_instance_uid: str
    requested_procedure_id: str = ""
    scheduled_step_id: str = ""
    referring_physician: str = ""
    reason: str = ""  # why it was ordered, in the order's words
    procedure: str = ""  # requested procedure description
    step: str = ""  # scheduled procedure step description
    codes: tuple[Coded, ...] = ()  # scheduled protocol codes, as ordered
    requested_study_uid: str = ""  # of the order, where an exam was joined to it after it had its own

    def __post_init__(self) -> None:
        refuse_text("accession number", self.accession_number, 16)
        for what in ("reason", "procedure", "step"):
            refuse_words(what, getattr(self, what), 64)
        refuse_text("requested procedure ID", self.requested_procedure_id, 16)
        refuse_text("scheduled step ID", self.scheduled_step_id, 16)
        refuse_words("referring physician", self.referring_physician, 64)


@dataclass(frozen=True, slots=True)
class Exam:
    """One exam; its UID fixes every other UID, so a second run makes the same objects."""

    uid: str
    item: WorklistItem
    protocol: str  # name@version
    opened_at: datetime
    hand_size: str  # small, medium, large: a key of the protocol's techniques
    purpose: Purpose = Purpose.PATIENT
    revision: int = 0  # how often it was joined to another order after its objects had been sent

    def uid_for(self, *what: str) -> str:
        """A UID that depends only on the exam and on what it names, e.g. `uid_for("exposure", "1")`."""
        revision = (f"revision-{self.revision}",) if self.revision else ()
        digest = hashlib.sha256("/".join((self.uid, *revision, *what)).encode()).digest()
        return f"{_ROOT_UID}.{uuid.UUID(bytes=digest[:16], version=4).int}"


def new_uid() -> str:
    """A fresh globally unique DICOM UID."""
    return f"{_ROOT_UID}.{uuid.uuid4().int}"


@dataclass(frozen=True, slots=True)
class Exposure:
    """One irradiation event, whether or not an image came of it."""

    uid: str  # irradiation event UID
    number: int  # 1, 2, … within the exam
    requested: Technique
    started_at: datetime
    sid_mm: float
    delivered: Delivered | None = None  # None only while running or when the generator fell silent
    dap_ugym2: float | None = None
    image: bool = False  # a raw frame is on disk
    recovered: bool = False  # that frame came from the detector's memory


# DICOM CID 7011, the reasons that a view of the hand can have
REJECTION_REASONS = {
    "111207": "Image artifact(s)",
    "111208": "Grid artifact(s)",
    "111209": "Positioning",
    "111210": "Motion blur",
    "111211": "Under exposed",
    "111212": "Over exposed",
    "111213": "No image",
    "111214": "Detector artifact(s)",
    "111215": "Artifact(s) other than grid or detector artifact",
    "111216": "Mechanical failure",
    "111217": "Electrical failure",
    "111218": "Software failure",
    "111219": "Inappropriate image processing",
    "111220": "Other failure",
    "111221": "Unknown failure",
    "113026": "Double exposure",
}

# DICOM CID 9301, why a procedure step was given up
DISCONTINUATION_REASONS = {
    "110500": "Doctor canceled procedure",
    "110501": "Equipment failure",
    "110502": "Incorrect procedure ordered",
    "110503": "Patient allergic to media/contrast",
    "110504": "Patient died",
    "110505": "Patient refused to continue procedure",
    "110506": "Patient taken for treatment or surgery",
    "110507": "Patient did not arrive",
    "110508": "Patient pregnant",
    "110509": "Change of procedure for correct charging",
    "110510": "Duplicate order",
    "110511": "Nursing unit cancel",
    "110512": "Incorrect side ordered",
    "110513": "Discontinued for unspecified reason",
    "110514": "Incorrect worklist entry selected",
    "110515": "Patient condition prevented continuing",
    "110516": "Equipment change",
}


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why an image was not accepted, and who said so."""

    code: str  # of REJECTION_REASONS
    by: str

    def __post_init__(self) -> None:
        if self.code not in REJECTION_REASONS:
            known = ", ".join(f"{code} {meaning}" for code, meaning in REJECTION_REASONS.items())
            raise ValueError(f"'{self.code}' is no reason to reject an image; known are {known}")

    @property
    def meaning(self) -> str:
        return REJECTION_REASONS[self.code]


@dataclass(frozen=True, slots=True)
class Release:
    """A person stands for result and charge; the report stays preliminary until a physician does."""

    by: str
    at: datetime
    physician: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person said of an image."""

    accepted: bool
    by: str
    at: datetime
    reason: str = ""  # of a rejection, one of REJECTION_REASONS
    release: Release | None = None

    @classmethod
    def of(cls, accepted: bool, detail: Mapping[str, Any], at: datetime) -> "Decision":
        """From what came with the trigger: by, reason, released_by, physician."""
        by, released_by = str(detail.get("by", "unknown")), str(detail.get("released_by", ""))
        release = Release(released_by, at, bool(detail.get("physician"))) if released_by else None
        return cls(accepted, by, at, str(detail.get("reason", "")), release)

    @property
    def rejection(self) -> Rejection | None:
        """None where the image was accepted."""
        return None if self.accepted else Rejection(self.reason, self.by)
