"""From the raw frame on: the path of one exposure as a readable list.

`process` runs as soon as the raw frame is on disk, before the hand lifts. `finish` runs when a person has
accepted the image, `set_aside` when it was rejected. All are pure but for the files they write, and give the
same output for the same input: a run after a crash changes nothing.
"""

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from station.dicom import image
from station.dxr.analysis import traced
from station.dxr.overlay import Outline, outlines
from station.exam import Exam
from station.findings import Findings, IndexValues
from station.frame import Frame
from station.imaging import exposure_index, presentation
from station.imaging.calibration import Maps
from station.imaging.correction import correct
from station.issue import Issued, ObjectRefused, Papers, issue
from station.issue import set_aside as issue_rejected
from station.protocols import Protocol, Reference
from station.report.page import Paper
from station.result import DxrResult, Reason, Refused
from station.study import Equipment, Study


@dataclass(frozen=True, slots=True)
class Setting:
    """What all exams of a station share."""

    protocol: Protocol
    reference: Reference
    equipment: Equipment
    paper: Paper = "a4"  # of the report


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the raw frame became; not yet accepted by anybody."""

    processing: Frame
    exposure_index: exposure_index.ExposureIndex | Reason
    presentation: presentation.Presentation
    result: DxrResult | Refused
    maps: Maps  # the calibration it was made with
    outlines: tuple[Outline, ...]  # what the analysis saw
    timings_ms: dict[str, float]

    @property
    def findings(self) -> Findings:
        """What is kept of it beside the pixels."""
        found = self.exposure_index
        index = None if isinstance(found, Reason) else IndexValues(found.ei, found.target, found.di)
        maps = self.maps
        return Findings(self.result, self.outlines, index, self.processing.serial, maps.made_at, maps.sha256)


def process(raw: Frame, exam: Exam, setting: Setting, maps: Maps) -> Outcome:
    """Correct, measure exposure and bone, and make the picture."""
    timings: dict[str, float] = {}
    protocol, patient = setting.protocol, exam.item.patient
    with _timed(timings, "total"):
        with _timed(timings, "correction"):
            processing = correct(raw, maps)
        with _timed(timings, "exposure_index"):
            index = exposure_index.of(processing, maps.lsb_per_ugy, protocol.exposure_index.target)
        with _timed(timings, "analysis"):
            age = patient.age_at(exam.opened_at.date())
            side, reference = exam.item.side, setting.reference
            result, trace = traced(processing, age, patient.sex, protocol, reference, side)
        with _timed(timings, "presentation"):
            region = index.region if isinstance(index, exposure_index.ExposureIndex) else None
            picture = presentation.render(processing, region)
    return Outcome(processing, index, picture, result, maps, outlines(trace), timings)


def finish(study: Study, outcome: Outcome, papers: Papers, folder: Path) -> Issued:
    """All objects of an accepted image.

    Raises
    ------
    ObjectRefused
        When an object cannot be built or fails the semantic lint: a contradiction is never written.
    """
    return issue(study, outcome.findings, _pair(study, outcome), papers, folder)


def set_aside(study: Study, outcome: Outcome, folder: Path) -> tuple[Path, ...]:
    """The pair of a rejected image, and the note that says so. Raises `ObjectRefused`."""
    return issue_rejected(study, _pair(study, outcome), folder)


def _pair(study: Study, outcome: Outcome) -> tuple[Dataset, Dataset]:
    index = study.indices.get(study.exposure.number)
    context = image.Context(study.equipment, study.protocol, index, study.calibrated_at, study.code)
    try:
        return image.build_pair(study.exam, study.exposure, outcome.processing, outcome.presentation, context)
    except ValueError as error:
        raise ObjectRefused(str(error)) from error


@contextmanager
def _timed(timings_ms: dict[str, float], name: str) -> Generator[None]:
    started = time.perf_counter()
    yield
    timings_ms[name] = (time.perf_counter() - started) * 1000
