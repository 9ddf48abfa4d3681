"""A whole exam: one rejected and one accepted exposure, and every object that comes of them."""

from dataclasses import dataclass, replace
from datetime import timedelta
from io import BytesIO

import numpy as np
import pydicom
from numpy.typing import NDArray

from station.dicom import document, dose, measurements, presentation_state, rejection
from station.dicom.image import build_pair
from station.exam import Coded, Rejection

PDF = b"%PDF-1.7\n1 0 obj\n"
NAMES = ("linear", "picture", "refused", "refused_picture", "state", "report", "page", "dose", "note")


@dataclass(frozen=True)
class Line:
    label: str
    kind: str
    points_px: NDArray[np.float64]


def slim(result):
    """The same hand by two bones and few quantities: quick to check over and over."""
    bones = [
        replace(bone, strength=None, mci_area=None, bhi=None, length_mm=None) for bone in result.bones[:2]
    ]
    means = {
        name: replace(getattr(result, name), value=float(np.mean([getattr(b, name).value for b in bones])))
        for name in ("t_mm", "w_mm", "mci")
    }
    return replace(result, bones=tuple(bones), mci_area=None, **means)


def study_of(make_study, exposure, context):
    """One rejected and one accepted exposure."""
    later = exposure.started_at + timedelta(minutes=2)
    second = replace(exposure, uid="2.25.13", number=2, started_at=later, dap_ugym2=2.6)
    return make_study(
        exposures=(exposure, second),
        rejections={1: Rejection("111209", "Demo^Technologist")},
        indices={1: context.exposure_index, 2: context.exposure_index},
        result=slim(make_study().result),
    )


def objects_of(study, processing, presentation, context, accepted=None):
    """The objects by name, as the station would send them; `accepted` is the second exposure's context."""
    refused, pair = (
        build_pair(study.exam, exposure, processing, presentation, each)
        for exposure, each in zip(study.exposures, (context, accepted or context), strict=True)
    )
    lines = (Line("hand", "hand", np.array([[10.0, 10.0], [100.0, 12.0], [90.0, 80.0]])),)
    report = measurements.build(study, pair[0])
    every = (
        *pair,
        *refused,
        presentation_state.build(study, pair[1], lines),
        report,
        document.build(study, PDF, [*pair, report]),
        dose.build(study, [*refused, *pair]),
        rejection.build(study, refused, rejection.QUALITY, Coded("111209", "DCM", "Positioning")),
    )
    return dict(zip(NAMES, every, strict=True))


def bytes_of(dataset):
    """The file that it becomes."""
    file = BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def again(dataset):
    """As it comes out of its file: another object, cheaper than a deep copy."""
    return pydicom.dcmread(BytesIO(bytes_of(dataset)))
