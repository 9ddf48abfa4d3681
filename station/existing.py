"""Analysis of an image that exists already (0749T): no station, no exposure, no DICOM pair.

What the caller knows about the patient goes before what the image's header says.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from hashlib import blake2b
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from station import billing
from station.dxr import overlay
from station.dxr.analysis import traced
from station.dxr.trace import Trace
from station.exam import Sex, Side
from station.frame import Frame
from station.image_file import Header, ImageUnreadable, read
from station.protocols import Protocol, Reference, load_protocol, load_reference
from station.result import DxrResult, Reason, Refused
from station.summary import refusal, summary, visit_json

Report = dict[str, Any]

FAILED = "analysis-failed"
# What arithmetic on an image nobody foresaw can raise; one such image must not end a run of a million.
_UNFORESEEN = (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError, cv2.error)
_MAX_AGE_YEARS = 130


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of every image of a run."""

    protocol: Protocol
    reference: Reference
    age: float | None = None  # years at the time of the image
    sex: Sex | None = None
    side: Side | None = None
    pixel_spacing_mm: float | None = None
    overlays: Path | None = None  # folder for pictures
    taken: date | None = None
    detector_type: str | None = None

    def __post_init__(self) -> None:
        if self.age is not None and not 0 <= self.age <= _MAX_AGE_YEARS:
            raise ValueError(f"age {self.age:g} given, allowed is 0 to {_MAX_AGE_YEARS} years")

    @classmethod
    def of(cls, protocol_name: str, **known: Any) -> "Request":
        """With a protocol by name or path, and the reference population it names."""
        protocol = load_protocol(protocol_name)
        return cls(protocol, load_reference(protocol.analysis.reference), **known)


def analyse_file(path: Path, request: Request) -> Report:
    """One line of the `analyse` contract; a file that cannot be read or measured is a refusal."""
    started = time.perf_counter()
    try:
        frame, header = read(path, request.pixel_spacing_mm)
    except ImageUnreadable as error:
        remedy = "give a PNG, JPEG or DICOM image"
        return refusal(str(path), request.side, [Reason("image-unreadable", str(error), remedy)])
    read_at = time.perf_counter()
    side = request.side or (Side(header.side) if header.side else None)
    result, trace = _measured(frame, header, side, request)
    done = time.perf_counter()
    drawn = _draw(path, frame, result, trace, request.overlays)
    timings_ms = {
        "reading": (read_at - started) * 1e3,
        "analysis": (done - read_at) * 1e3,
        "total": (done - started) * 1e3,
    }
    taken = request.taken or header.taken
    visit = visit_json(taken, request.detector_type or frame.detector_type, frame.detector_serial)
    report = _report(path, result, side, request.protocol, timings_ms)
    return report | {"objects": drawn, "visit": visit}


def _measured(
    frame: Frame, header: Header, side: Side | None, request: Request
) -> tuple[DxrResult | Refused, Trace]:
    age = header.age_years if request.age is None else request.age
    sex = request.sex or (Sex(header.sex) if header.sex else None)
    try:
        return traced(frame, age, sex, request.protocol, request.reference, side)
    except _UNFORESEEN as error:
        message = f"the analysis broke off ({type(error).__name__}: {error})"
        remedy = "Report this image: it shows a defect of the program."
        return Refused((Reason(FAILED, message, remedy),), side), Trace()


def _report(
    path: Path,
    result: DxrResult | Refused,
    side: Side | None,
    protocol: Protocol,
    timings_ms: Mapping[str, float],
) -> Report:
    facts = billing.Facts(
        acquired_here=False,
        under_dxr_protocol=False,
        accepted=False,
        side_agrees=True,
        result=result,
        image_present=True,
        already_charged=False,  # knows no order; nothing is sent from here
    )
    charge = billing.code_for(facts, protocol.codes)
    return summary(result, str(path), charge.code, side, timings_ms)


def _draw(
    path: Path, frame: Frame, result: DxrResult | Refused, trace: Trace, folder: Path | None
) -> list[str]:
    """Write the overlay as a picture and as data; files of one name in different folders do not meet."""
    if folder is None:
        return []
    digest = blake2b(str(path).encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()
    picture = folder / f"{path.stem}-{digest}.png"
    try:
        found = overlay.outlines(trace)
    except _UNFORESEEN:  # the result stands without lines
        found = ()
    pixels = overlay.draw(frame, result, found)
    # encoded apart from writing: cv2.imwrite tells nothing about why it could not write
    _, data = cv2.imencode(".png", pixels)
    picture.write_bytes(np.asarray(data).tobytes())
    lines = picture.with_suffix(".json")
    lines.write_text(json.dumps(overlay.outlines_json(found)), encoding="utf-8")
    return [str(picture), str(lines)]
