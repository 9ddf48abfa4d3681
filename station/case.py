"""The exam in hand and its trail on disk: every method returns when the disk has it.

A case is opened once, goes through one or more exposures, and is closed once. After a crash it is taken up
from its folder; UIDs come from the exam, so whatever is made again is the same.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from station import dossier
from station.acquisition import Ended
from station.devices import Delivered, EndOfExposure, Technique
from station.dispatch import End
from station.dossier import Books
from station.exam import Decision, Exam, Exposure, Purpose
from station.frame import Frame
from station.issue import Issued, ObjectRefused, dose_only
from station.pipeline import Outcome, finish, set_aside
from station.spool import Record


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be exposed, and why."""

    exam: Exam
    technique: Technique


class Case:
    """One exam in progress."""

    def __init__(self, job: Job, books: Books, exposures: tuple[Exposure, ...] = ()) -> None:
        self.job = job
        self.exposures = exposures
        self.outcome: Outcome | None = None
        self._books = books
        self._spool = books.spool

    @classmethod
    def open(cls, job: Job, books: Books) -> "Case":
        """Begin: the order is on disk, and the hospital is told."""
        books.spool.open(job.exam)
        if job.exam.purpose is Purpose.PATIENT:
            books.dispatch.started(job.exam)
        return cls(job, books)

    @classmethod
    def taken_up(cls, record: Record, technique: Technique, books: Books) -> "Case":
        """Go on after a crash; a frame that reached the disk counts even if its record did not."""
        exposures = tuple(books.spool.adopt_raw(record.exam, exposure) for exposure in record.exposures)
        return cls(Job(record.exam, technique), books, exposures)

    @property
    def exposure(self) -> Exposure | None:
        """The newest irradiation event."""
        return self.exposures[-1] if self.exposures else None

    def next_uid(self) -> str:
        """The irradiation event UID the next exposure will have."""
        return self.job.exam.uid_for("irradiation", str(len(self.exposures) + 1))

    def begin_exposure(self, started_at: datetime, sid_mm: float) -> Exposure:
        """Record the intention before the generator is told."""
        exposure = Exposure(self.next_uid(), len(self.exposures) + 1, self.job.technique, started_at, sid_mm)
        self.exposures = (*self.exposures, exposure)
        self._spool.write_exposure(self.job.exam, exposure)
        return exposure

    def not_started(self, why: str) -> None:
        """The generator refused, so certainly nothing was delivered; the number stays used."""
        self._update(delivered=Delivered(0, 0, 0, 0, EndOfExposure.NOT_STARTED))
        self.document_no_image(f"no radiation: {why}")

    def ended(self, ended: Ended) -> None:
        """Record what was delivered, image or not."""
        self._update(delivered=ended.delivered, dap_ugym2=ended.dap_ugym2)

    def store(self, frame: Frame, *, recovered: bool = False) -> None:
        """Put the raw frame on disk. Raises `SpoolError`."""
        exposure = self._current()
        stored = self._spool.write_raw(self.job.exam, replace(exposure, recovered=recovered), frame)
        self.exposures = (*self.exposures[:-1], stored)

    def document_no_image(self, reason: str) -> None:
        """A person, or a generator that never started, accounts for an exposure without image."""
        self._spool.acknowledge(self.job.exam, self._current(), reason)

    def raw(self) -> Frame:
        """The newest raw frame from disk. Raises `SpoolError`."""
        return self._spool.raw(self.job.exam, self._current())

    def processed(self, outcome: Outcome) -> None:
        """Keep the pipeline's result."""
        self.outcome = outcome
        self._spool.write_findings(self.job.exam, self._current(), outcome.findings)

    def accept(self, decision: Decision) -> Issued:
        """The decision first, then the objects, then the outbox, then the exam is closed.

        Raises `ObjectRefused`; then nothing was written but the decision.
        """
        if self.outcome is None:
            raise RuntimeError(f"exam {self.job.exam.uid} has not been processed")
        self._spool.write_decision(self.job.exam, self._current(), decision)
        study, papers = dossier.papers_of(self._books, self._record())
        issued = finish(study, self.outcome, papers, self._folder)
        self._books.dispatch.finished(issued)
        self.close("accepted")
        return issued

    def reject(self, decision: Decision) -> None:
        """The decision, and what was seen so far as a pair of its own. Raises `ObjectRefused`."""
        self._spool.write_decision(self.job.exam, self._current(), decision)
        if self.outcome is not None:
            set_aside(dossier.study_of(self._books, self._record()), self.outcome, self._folder)

    def give_up(self, how: str, reason: str, at: datetime) -> None:
        """Close without an accepted image; the dose goes out, with the reason (DISCONTINUATION_REASONS)."""
        if self.job.exam.purpose is Purpose.PATIENT:
            study = dossier.study_of(self._books, self._record()) if self.exposures else None
            objects: tuple[Path, ...] = ()
            with suppress(ObjectRefused):  # then the dose is on disk and in the procedure step
                objects = dose_only(study, self._folder) if study else ()
            self._books.dispatch.given_up(self.job.exam, self.exposures, objects, End(reason, at))
        self.close(how)

    def close_calibration(self) -> None:
        """The frame has gone into the maps; the dose record stays."""
        self._spool.drop_raw(self.job.exam, self._current())
        self.close("calibration")

    def close(self, how: str) -> None:
        """The exam is over."""
        self._spool.close(self.job.exam, how)

    @property
    def _folder(self) -> Path:
        return self._spool.folder(self.job.exam)

    def _record(self) -> Record:
        return self._spool.record(self._folder)

    def _current(self) -> Exposure:
        if not self.exposures:
            raise RuntimeError(f"exam {self.job.exam.uid} has no exposure yet")
        return self.exposures[-1]

    def _update(self, **changes: Any) -> None:
        exposure = replace(self._current(), **changes)
        self.exposures = (*self.exposures[:-1], exposure)
        self._spool.write_exposure(self.job.exam, exposure)
