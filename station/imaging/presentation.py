"""For Processing → For Presentation: a film-like picture for the eye, never measured.

Assumes
    A corrected frame proportional to detector dose with direct exposure beside the hand.
Tolerates
    Collimation (outside is shown black), saturated direct exposure, negative noise.
Method
    value = 2000 · log10(direct exposure / signal), limited to 0-4095; the window spans the hand's
    percentiles. No smoothing, no edge enhancement: edges in the picture are where they are in the data.
Meaning
    0 is direct exposure and black, bone is bright (MONOCHROME2); 2000 steps are one decade of transmission.
Known failures
    Without a region (no hand, no direct exposure) the brightest level of the frame stands for direct
    exposure.
"""

from dataclasses import dataclass
from math import log10

import cv2
import numpy as np
import numpy.typing as npt

from station.frame import Frame, Pixels, Signal, Stage
from station.imaging.exposure_index import Region, find_region
from station.result import Reason

STEPS_PER_DECADE = 2000.0  # noise of 5 µGy behind the palm is about ten steps; 4095 reach 0.9 % transmission
WHITE = 4095  # 12 bits
WINDOW_PERCENTILES = (1.0, 99.7)  # of the hand: skin line still visible, densest bone not burnt out
WINDOW_MARGIN = 0.05  # of the span, at both ends

_FLOOR_LSB = 0.5  # logarithm of nothing; far below WHITE's transmission of any real exposure
_BLOCK_ROWS = 128


@dataclass(frozen=True, slots=True, eq=False)
class Presentation:
    """The picture with the window it is meant to be seen with (DICOM's linear VOI)."""

    frame: Frame
    window_center: float
    window_width: float


def render(frame: Frame, region: Region | None = None) -> Presentation:
    """Display picture of a corrected frame.

    Parameters
    ----------
    frame : Frame
        FOR_PROCESSING, Signal.DOSE.
    region : Region, optional
        As found for the exposure index, else found here.

    Returns
    -------
    Presentation
        FOR_PRESENTATION, Signal.ATTENUATION, uint16 0-4095, bone bright.
    """
    if frame.stage is not Stage.FOR_PROCESSING or frame.signal is not Signal.DOSE:
        raise ValueError(f"needs a corrected dose frame, got {frame.stage} {frame.signal}")
    found = region or find_region(frame)
    if isinstance(found, Reason):
        sample = frame.pixels[::8, ::8].ravel()
        direct_lsb = max(float(np.percentile(sample, 99.5)), 1.0)
        field = (0, frame.shape[0], 0, frame.shape[1])
    else:
        direct_lsb, field, sample = found.direct_lsb, found.field_px, found.means[found.mask]
    pixels = _shut(_attenuation(frame.pixels, direct_lsb), field)
    center, width = _window(sample, direct_lsb)
    shown = Frame(
        pixels=pixels,
        stage=Stage.FOR_PRESENTATION,
        signal=Signal.ATTENUATION,
        spacing_mm=frame.spacing_mm,
        source=frame.source,
        scale_known=frame.scale_known,
        acquired_at=frame.acquired_at,
        history=(
            *frame.history,
            f"{STEPS_PER_DECADE:g} log10({direct_lsb:.0f} / signal), black outside the field",
        ),
    )
    return Presentation(shown, center, width)


def _attenuation(signal: Pixels, direct_lsb: float) -> npt.NDArray[np.uint16]:
    """2000 · log10(direct / signal) as 12 bits in 16."""
    shown = np.empty(signal.shape, np.uint16)
    per_neper = STEPS_PER_DECADE / np.log(10)
    at_direct = STEPS_PER_DECADE * log10(direct_lsb)
    for start in range(0, signal.shape[0], _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        block = np.maximum(signal[rows], np.float32(_FLOOR_LSB), dtype=np.float32)
        cv2.log(block, block)
        cv2.addWeighted(block, -per_neper, block, 0, at_direct, shown[rows], cv2.CV_16U)
        np.minimum(shown[rows], WHITE, out=shown[rows])
    return shown


def _shut(pixels: npt.NDArray[np.uint16], field: tuple[int, int, int, int]) -> npt.NDArray[np.uint16]:
    """Black outside the field: a bright surround would blind the eye to the bone."""
    top, bottom, left, right = field
    pixels[:top], pixels[bottom:] = 0, 0
    pixels[:, :left], pixels[:, right:] = 0, 0
    return pixels


def _window(sample: Pixels, direct_lsb: float) -> tuple[float, float]:
    thin, dense = np.percentile(np.maximum(sample, _FLOOR_LSB), [100 - p for p in WINDOW_PERCENTILES])
    low, high = (STEPS_PER_DECADE * log10(direct_lsb / level) for level in (thin, dense))
    low, high = max(low, 0.0), min(max(high, low + 1.0), float(WHITE))
    margin = WINDOW_MARGIN * (high - low)
    return (low + high) / 2, max(high - low + 2 * margin, 1.0)
