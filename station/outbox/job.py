"""What must leave the station: one thing for one destination, with its way so far."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # UIDs and hospital names; they become file names


class State(StrEnum):
    """Where a job is; also the folder's name. From the least to the most finished."""

    PENDING = "pending"
    PARKED = "parked"
    STORED = "stored"
    COMMITTED = "committed"


class Kind(StrEnum):
    """What a job sends."""

    OBJECT = "object"  # a DICOM file, C-STORE
    STEP_CREATED = "mpps-create"  # N-CREATE
    STEP_SET = "mpps-set"  # N-SET
    RESULTS = "results"  # HL7 ORU
    CHARGE = "charge"  # HL7 DFT
    BUNDLE = "bundle"  # FHIR, into a folder


@dataclass(frozen=True, slots=True)
class Job:
    """One thing for one destination, with its way so far; all times are wall times with zone."""

    kind: Kind
    exam_uid: str
    destination: str  # a name of the hospital file: an archive's, `mpps`, `results`, `charges`
    name: str  # SOP instance UID, or the message's own ID
    file: str  # relative to the station's folder
    sop_class_uid: str = ""
    after: str = ""  # ID of the job that must be done first
    created_at: datetime | None = None
    stored_at: datetime | None = None  # taken by the destination
    committed_at: datetime | None = None  # None in `committed`: an archive that is not asked to commit
    attempts: int = 0
    lost: int = 0  # how often the archive took it and then did not have it
    error: str = ""  # of the last attempt, in our words: a peer's own text may name the patient
    remedy: str = ""
    warning: str = ""  # stored, but the archive says how it differs
    transactions: tuple[str, ...] = ()  # UIDs of commitment requests, newest last
    asked_at: datetime | None = None
    state: State = State.PENDING  # the folder's, not written

    def __post_init__(self) -> None:
        for what in ("exam_uid", "destination", "name"):
            if not _SAFE.fullmatch(getattr(self, what)):
                allowed = "letters, digits, '.', '_', '-', at most 64"
                raise ValueError(f"job {what} allows {allowed}, got {getattr(self, what)!r}")
        if Path(self.file).is_absolute() or ".." in Path(self.file).parts:
            raise ValueError(f"job file must be relative to the station's folder, got {self.file!r}")

    @property
    def id(self) -> str:
        """The same thing for the same destination has the same ID."""
        prefix = "" if self.kind is Kind.OBJECT else f"{self.kind}-"
        return f"{prefix}{self.name}@{self.destination}"

    @property
    def taken(self) -> bool:
        """Whether the destination has it."""
        return self.state in {State.STORED, State.COMMITTED}


@dataclass(frozen=True, slots=True)
class Summary:
    """One destination at a glance."""

    destination: str
    counts: Mapping[State, int]
    oldest: datetime | None  # of what is not done
    error: str  # newest trouble of what is pending
    remedy: str
    alarms: tuple[str, ...]  # what a person must look at


def summarised(name: str, jobs: Sequence[Job]) -> Summary:
    """One destination at a glance."""
    waiting = [job for job in jobs if job.state is not State.COMMITTED]
    troubled = [job for job in waiting if job.error]
    parked = [f"{job.id}: {job.error}; {job.remedy}" for job in waiting if job.state is State.PARKED]
    lost = [f"{job.id}: lost {job.lost} times by the archive" for job in waiting if job.lost]
    return Summary(
        name,
        {state: sum(job.state is state for job in jobs) for state in State},
        min((job.created_at for job in waiting if job.created_at), default=None),
        troubled[-1].error if troubled else "",
        troubled[-1].remedy if troubled else "",
        (*parked, *lost),
    )
