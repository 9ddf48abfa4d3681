"""From the raw frame on: the path of one exposure as a readable list.

`process` runs as soon as the raw frame is on disk, before the hand lifts. `finish` runs when a person has
accepted the image. Both are pure but for the files `finish` writes, and give the same output for the same
input: a run after a crash changes nothing.
"""

import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from station import billing
from station.devices import EndOfExposure
from station.dicom import image, lint
from station.dxr.analysis import analyse
from station.exam import Exam, Exposure
from station.frame import Frame
from station.imaging import exposure_index, presentation
from station.imaging.calibration import Maps
from station.imaging.correction import correct
from station.protocols import Protocol, Reference
from station.result import DxrResult, Reason, Refused
from station.study import Equipment


@dataclass(frozen=True, slots=True)
class Setting:
    """What all exams of a station share."""

    protocol: Protocol
    reference: Reference
    equipment: Equipment


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the raw frame became; not yet accepted by anybody."""

    processing: Frame
    exposure_index: exposure_index.ExposureIndex | Reason
    presentation: presentation.Presentation
    result: DxrResult | Refused
    maps: Maps  # the calibration it was made with
    timings_ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class Finished:
    """What an accepted exam left behind."""

    charge: billing.Charge
    objects: tuple[Path, ...]


class ObjectRefused(ValueError):  # noqa: N818
    """An object contradicts itself and is not written."""


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
            result = analyse(processing, age, patient.sex, protocol, setting.reference, exam.item.side)
        with _timed(timings, "presentation"):
            region = index.region if isinstance(index, exposure_index.ExposureIndex) else None
            picture = presentation.render(processing, region)
    return Outcome(processing, index, picture, result, maps, timings)


def exposure_notes(exposure: Exposure, outcome: Outcome, protocol: Protocol) -> tuple[Reason, ...]:
    """What the reviewer must know of the exposure itself: delivery and exposure index out of their limits."""
    found: list[Reason] = []
    delivered, asked = exposure.delivered, exposure.requested
    if delivered is not None:
        percent = 100 * (delivered.mas / asked.mas - 1)
        limit = protocol.technique_limits.delivered_percent
        if abs(percent) > limit or delivered.end is not EndOfExposure.NORMAL:
            message = f"{delivered.mas:.3g} mAs delivered, {asked.mas:.3g} mAs asked; end: {delivered.end}"
            remedy = "judge the image by its noise; do not repeat a usable one"
            found.append(Reason("delivery-differs", message, remedy, round(percent, 1), limit))
    index = outcome.exposure_index
    if isinstance(index, Reason):
        found.append(index)
    elif abs(index.di) > protocol.exposure_index.warn_deviation:
        message = f"deviation index {index.di:+.1f}: EI {index.ei:.0f}, target {index.target:g}"
        remedy = "check hand size and distance; a dose too high is no reason to repeat"
        limit = protocol.exposure_index.warn_deviation
        found.append(Reason("exposure-index-out-of-band", message, remedy, round(index.di, 2), limit))
    return tuple(found)


def finish(exam: Exam, exposure: Exposure, outcome: Outcome, setting: Setting, folder: Path) -> Finished:
    """Charge and DICOM pair of an accepted image.

    Raises
    ------
    ObjectRefused
        When an object cannot be built or fails the semantic lint: a contradiction is never written.
    """
    facts = billing.Facts(
        acquired_here=True,
        under_dxr_protocol=exam.protocol == setting.protocol.id,
        accepted=True,
        side_agrees=not _contradicts_side(outcome.result),
        result=outcome.result,
        image_present=exposure.image,
        already_charged=False,
    )
    charge = billing.code_for(facts, setting.protocol.codes)
    index = outcome.exposure_index
    context = image.Context(
        equipment=setting.equipment,
        protocol=setting.protocol,
        exposure_index=index if isinstance(index, exposure_index.ExposureIndex) else None,
        calibrated_at=outcome.maps.made_at,
        code=charge.code,
    )
    try:
        pair = image.build_pair(exam, exposure, outcome.processing, outcome.presentation, context)
    except ValueError as error:
        raise ObjectRefused(str(error)) from error
    problems = lint.problems(pair, exam)
    if problems:
        raise ObjectRefused("; ".join(problem.message for problem in problems))
    paths = (folder / "for-processing.dcm", folder / "for-presentation.dcm")
    for dataset, path in zip(pair, paths, strict=True):
        image.write(dataset, path)
    return Finished(charge, paths)


def _contradicts_side(result: DxrResult | Refused) -> bool:
    notes = result.notes if isinstance(result, DxrResult) else result.reasons
    return any(note.id == "side-disagrees" for note in notes)


@contextmanager
def _timed(timings_ms: dict[str, float], name: str) -> Generator[None]:
    started = time.perf_counter()
    yield
    timings_ms[name] = (time.perf_counter() - started) * 1000
