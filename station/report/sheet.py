"""What the report is made from: the study and what was found, drawn and decided around it. Frozen, no I/O.

Nothing here is looked up: priors, change, gates and calibration are given by whoever has them, so that the
same sheet makes the same page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from station.billing import Charge
from station.protocols import Reference
from station.result import DxrResult, Reason
from station.study import Study

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


class Outline(Protocol):
    """A named polyline, as `station.dxr.overlay` makes them."""

    @property
    def label(self) -> str: ...
    @property
    def kind(self) -> str: ...  # hand, axis, path, periosteal, endosteal, region, narrowest, failed
    @property
    def points_px(self) -> npt.NDArray[np.float64]: ...  # (n, 2) row, column of the picture


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """The For Presentation image with the window it is meant to be seen with (DICOM's linear VOI)."""

    pixels: Pixels  # (rows, columns), bone bright
    window_center: float
    window_width: float
    spacing_mm: tuple[float, float] | None = None  # row, column at the detector plane; None if unknown

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or self.pixels.size == 0:
            raise ValueError(f"a picture has rows and columns, got an array of shape {self.pixels.shape}")
        if not self.window_width >= 1:
            raise ValueError(f"a window is at least 1 wide, got {self.window_width:g}")


@dataclass(frozen=True, slots=True)
class Prior:
    """An earlier DXR-BMD of the same person."""

    taken: date
    bmd_g_cm2: float
    u95_g_cm2: float | None = None
    why_not: str = ""  # in what it differs; empty where it may be compared


@dataclass(frozen=True, slots=True)
class Gate:
    """One quality check and its answer."""

    name: str
    passed: bool | None  # None: not judged
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The panel's calibration the image was made with."""

    made_at: datetime
    sha256: str
    detector_serial: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """Everything on the page."""

    study: Study
    reference: Reference
    picture: Picture | None = None
    outlines: Sequence[Outline] = ()
    charge: Charge | None = None
    priors: Sequence[Prior] = ()
    change: Mapping[str, Any] | None = None  # as `station.dxr.change.change_json` says it
    gates: Sequence[Gate] = ()
    calibration: Calibration | None = None
    notes: Sequence[Reason] = ()  # of the exam, beside those of the result

    def __post_init__(self) -> None:
        result = self.study.result
        if isinstance(result, DxrResult) and result.reference != self.reference.id:
            raise ValueError(f"the result is against {result.reference}, the sheet holds {self.reference.id}")
