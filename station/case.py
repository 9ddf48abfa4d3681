"""The exam in hand and its trail on disk: every method returns when the disk has it.

A case is opened once, goes through one or more exposures, and is closed once. After a crash it is taken up
from its folder; UIDs come from the exam, so whatever is made again is the same.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from station.acquisition import Ended
from station.devices import Delivered, EndOfExposure, Technique
from station.exam import Exam, Exposure
from station.frame import Frame
from station.pipeline import Finished, Outcome, Setting, finish
from station.spool import Record, Spool


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be exposed, and why."""

    exam: Exam
    technique: Technique


class Case:
    """One exam in progress."""

    def __init__(self, job: Job, spool: Spool, exposures: tuple[Exposure, ...] = ()) -> None:
        self.job = job
        self.exposures = exposures
        self.outcome: Outcome | None = None
        self._spool = spool

    @classmethod
    def open(cls, job: Job, spool: Spool) -> "Case":
        """Begin: the order is on disk."""
        spool.open(job.exam)
        return cls(job, spool)

    @classmethod
    def taken_up(cls, record: Record, technique: Technique, spool: Spool) -> "Case":
        """Go on after a crash; a frame that reached the disk counts even if its record did not."""
        exposures = tuple(spool.adopt_raw(record.exam, exposure) for exposure in record.exposures)
        return cls(Job(record.exam, technique), spool, exposures)

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
        self._spool.write_result(self.job.exam, self._current(), outcome.result)

    def decide(self, decision: dict[str, Any]) -> None:
        """Accepted or rejected, written before anything is made from it."""
        self._spool.write_decision(self.job.exam, self._current(), decision)

    def finish(self, setting: Setting) -> Finished:
        """Make the objects of the accepted image, then close. Raises `ObjectRefused`."""
        if self.outcome is None:
            raise RuntimeError(f"exam {self.job.exam.uid} has not been processed")
        folder = self._spool.folder(self.job.exam)
        finished = finish(self.job.exam, self._current(), self.outcome, setting, folder)
        self.close("accepted")
        return finished

    def close_calibration(self) -> None:
        """The frame has gone into the maps; the dose record stays."""
        self._spool.drop_raw(self.job.exam, self._current())
        self.close("calibration")

    def close(self, how: str) -> None:
        """The exam is over."""
        self._spool.close(self.job.exam, how)

    def _current(self) -> Exposure:
        if not self.exposures:
            raise RuntimeError(f"exam {self.job.exam.uid} has no exposure yet")
        return self.exposures[-1]

    def _update(self, **changes: Any) -> None:
        exposure = replace(self._current(), **changes)
        self.exposures = (*self.exposures[:-1], exposure)
        self._spool.write_exposure(self.job.exam, exposure)
