"""Frame: the one array type that travels through the station.

Conventions, fixed here once and used everywhere:

- an index is (row, column); row grows downwards, column to the right;
- integer coordinates are pixel centres, the origin is the centre of the top left pixel;
- spacing is (row_mm, column_mm) at the detector plane; object-plane lengths are spacing / magnification;
- the image is seen from the tube, as a PA hand lies on the panel: palm down, fingers up in the usual pose.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[Any]


class Stage(StrEnum):
    """How far a frame has come."""

    RAW = "raw"  # as read from the detector, never altered
    FOR_PROCESSING = "for processing"  # offset, gain and defects corrected; linear in detector dose
    FOR_PRESENTATION = "for presentation"  # for the eye; never measured


class Signal(StrEnum):
    """What a pixel value means."""

    DOSE = "dose"  # proportional to detector air kerma: bone is dark
    ATTENUATION = "attenuation"  # rises with attenuation (film-like display value, log image): bone is bright


@dataclass(frozen=True, slots=True)
class Frame:
    """One image with what is needed to interpret it.

    `spacing_mm` is None where nothing is known. `scale_known` is False where the detector's spacing is
    known but the object's size on it is not (a replayed image of unknown scale): lengths must not be given.
    `saturation` is the pixel value at and above which the detector clips; None if it does not apply.
    """

    pixels: Pixels  # (rows, columns)
    stage: Stage
    signal: Signal
    spacing_mm: tuple[float, float] | None
    source: str  # detector serial or file name
    scale_known: bool = True
    acquired_at: datetime | None = None
    saturation: float | None = None
    history: tuple[str, ...] = ()  # what was done to it, e.g. hashes of calibration maps
    detector_type: str | None = None  # maker and model, where a file says so
    detector_serial: str | None = None  # where `source` is a file name

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or 0 in self.pixels.shape:
            raise ValueError(f"a frame is a non-empty (rows, columns) array, got shape {self.pixels.shape}")
        if self.spacing_mm is not None and not all(0 < s < 10 and np.isfinite(s) for s in self.spacing_mm):
            raise ValueError(f"pixel spacing must be within 0-10 mm, got {self.spacing_mm}")

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        rows, columns = self.pixels.shape
        return rows, columns

    @property
    def serial(self) -> str:
        """The detector's serial number; of a file that does not say it, the file's name."""
        return self.detector_serial or self.source

    def with_pixels(self, pixels: Pixels, stage: Stage, *history: str) -> "Frame":
        """The same view with other pixels, one step further."""
        return replace(self, pixels=pixels, stage=stage, history=self.history + history)
