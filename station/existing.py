"""Analysis of an image that exists already (0749T): no station, no exposure, no DICOM pair."""

import time
from pathlib import Path
from typing import Any

from station import billing
from station.dxr.analysis import analyse
from station.exam import Sex, Side
from station.image_file import ImageUnreadable, read_image
from station.protocols import load_protocol, load_reference
from station.result import Reason
from station.summary import refusal, summary


def analyse_file(
    path: Path,
    age: float | None,
    sex: Sex | None,
    side: Side | None,
    pixel_spacing_mm: float | None,
    protocol_name: str,
) -> dict[str, Any]:
    """One line of the `analyse` contract; an unreadable file is a refusal with its reason."""
    protocol = load_protocol(protocol_name)
    reference = load_reference(protocol.analysis.reference)
    started = time.perf_counter()
    try:
        frame = read_image(path, pixel_spacing_mm)
    except ImageUnreadable as error:
        return refusal(
            str(path), side, [Reason("image-unreadable", str(error), "give a PNG, JPEG or DICOM image")]
        )
    read = time.perf_counter()
    result = analyse(frame, age, sex, protocol, reference, side)
    done = time.perf_counter()
    facts = billing.Facts(
        acquired_here=False, under_dxr_protocol=False, accepted=False, side_agrees=True, result=result
    )
    charge = billing.code_for(facts, protocol.codes)
    timings_ms = {
        "reading": (read - started) * 1e3,
        "analysis": (done - read) * 1e3,
        "total": (done - started) * 1e3,
    }
    return summary(result, str(path), charge.code, side, timings_ms)
