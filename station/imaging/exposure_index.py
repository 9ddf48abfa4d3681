"""Exposure index after IEC 62494-1: how much radiation reached the panel behind the hand.

Assumes
    A corrected frame proportional to detector air kerma, direct exposure visible beside the hand, one
    rectangular or uncollimated field.
Tolerates
    Collimator edges, saturated direct exposure, lead markers, either side and any rotation; lag of earlier
    exposures, as right after flats.
Method
    On 8×8 px means: the field is what exceeds the collimator's shadow by 2 % of the brightest level, where
    a side of the frame lies in it; Otsu on the logarithm separates direct exposure; the relevant region is
    what stays below 90 % of the direct level, without the field's penumbra. V = median of the region,
    EI = 100 µGy⁻¹ × V / lsb_per_ugy, DI = 10·log10(EI / EI_T).
Meaning
    A detector quantity, not patient dose. `CALIBRATION_STATUS`: the inverse calibration holds at the beam
    quality of the station's flats; IEC 62494-1 asks for RQA5. Values are comparable within one station, and
    with others only as far as the panel's energy response allows.
Known failures
    A hand that covers the whole field leaves no direct exposure: refused or the region is the denser half.
"""

from dataclasses import dataclass
from math import log10

import cv2
import numpy as np

from station.frame import Frame, Signal, Stage
from station.imaging.defects import Float, Mask
from station.result import Reason

CALIBRATION_STATUS = "inverse calibration at the beam quality of the station's flats, not RQA5"

EI_PER_UGY = 100.0  # IEC 62494-1, published
# Status: derived. Bone under soft tissue at 50 kV transmits > 4 %, a closed collimator < 1 %.
FIELD_FRACTION = 0.02  # of the brightest level, above the shadow
LAG_FRACTION = 0.04  # of it; a side of the frame that is brighter does not lie in the shadow
TISSUE_FRACTION = 0.9  # of direct exposure
MIN_REGION_FRACTION = 0.02  # of the field
MIN_CONTRAST = 1.25  # direct exposure over the region's median
MIN_KERMA_UGY = 0.05  # brightest level below it: nothing was exposed

_STEP_PX = 8
_BINS = 256
_PENUMBRA_STEPS = 2


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """The relevant region on a grid of `step_px`² pixel blocks."""

    mask: Mask  # (rows // step_px, columns // step_px), True behind the hand
    means: Float  # same shape, mean signal of each block, LSB
    step_px: int
    direct_lsb: float  # level of direct exposure
    field_px: tuple[int, int, int, int]  # irradiated rectangle: first row, end row, first column, end column

    @property
    def fraction(self) -> float:
        """Part of the frame that is relevant region."""
        return float(self.mask.mean())


@dataclass(frozen=True, slots=True, eq=False)
class ExposureIndex:
    """EI, its target and their deviation, with the region they come from."""

    ei: float
    target: float
    di: float
    region: Region


def of(frame: Frame, lsb_per_ugy: float, target: float) -> ExposureIndex | Reason:
    """Exposure index of a corrected frame.

    Parameters
    ----------
    frame : Frame
        FOR_PROCESSING, Signal.DOSE, LSB with the offset removed.
    lsb_per_ugy : float
        Sensitivity of the panel, from its calibration maps.
    target : float
        EI_T, the department's target.

    Returns
    -------
    ExposureIndex or Reason
        A Reason ("exposure-none", "exposure-no-region") where there is no relevant region.
    """
    if lsb_per_ugy <= 0 or target <= 0:
        raise ValueError(f"sensitivity and target must be positive, got {lsb_per_ugy} LSB/µGy and {target}")
    region = find_region(frame, MIN_KERMA_UGY * lsb_per_ugy)
    if isinstance(region, Reason):
        return region
    ei = EI_PER_UGY * float(np.median(region.means[region.mask])) / lsb_per_ugy
    if ei <= 0:
        return _no_region("the signal behind the object is not above the noise")
    return ExposureIndex(ei, target, 10 * log10(ei / target), region)


def find_region(frame: Frame, dark_lsb: float = 0.0) -> Region | Reason:
    """The attenuating object in the irradiated field; at `dark_lsb` and below nothing was exposed."""
    if frame.stage is not Stage.FOR_PROCESSING or frame.signal is not Signal.DOSE:
        raise ValueError(f"needs a corrected dose frame, got {frame.stage} {frame.signal}")
    means = _block_means(frame)
    brightest = float(np.percentile(means, 99.5))
    if brightest <= dark_lsb:
        return Reason(
            "exposure-none", "no exposure is seen in the frame", "check generator and collimator", brightest
        )
    field = _largest(means > _shadow_lsb(means, brightest) + FIELD_FRACTION * brightest)
    rectangle = _rectangle(field)
    inner = _shrunk(field)
    values = means[inner]
    if values.size == 0:
        return _no_region("the irradiated field is too small")
    direct_lsb = float(np.median(values[values > _otsu_level(values, brightest)]))
    mask = inner & (means < TISSUE_FRACTION * direct_lsb)
    mask = np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))) > 0
    if mask.sum() < MIN_REGION_FRACTION * values.size:
        return _no_region("no attenuating object lies in the field")
    mask = _largest(mask)
    if direct_lsb < MIN_CONTRAST * float(np.median(means[mask])):
        return _no_region("object and direct exposure cannot be told apart")
    return Region(mask, means, _STEP_PX, direct_lsb, _in_pixels(rectangle, means.shape, frame.shape))


def _shadow_lsb(means: Float, brightest: float) -> float:
    """Lag and scatter behind the collimator; 0 where no side of the frame lies there."""
    darkest = min(float(np.median(side)) for side in (means[0], means[-1], means[:, 0], means[:, -1]))
    return darkest if 0 < darkest < LAG_FRACTION * brightest else 0.0


def _no_region(message: str) -> Reason:
    return Reason("exposure-no-region", message, "place the hand inside the light field and expose again")


def _block_means(frame: Frame) -> Float:
    rows, columns = (max(1, n // _STEP_PX) for n in frame.shape)
    whole = frame.pixels[: rows * _STEP_PX, : columns * _STEP_PX]
    means = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(means, dtype=np.float32)


def _otsu_level(values: Float, brightest: float) -> float:
    """Otsu's threshold on the logarithm, LSB."""
    low = np.log(FIELD_FRACTION)
    scaled = np.log(np.clip(values / brightest, FIELD_FRACTION, 1)) / -low + 1
    levels = np.rint(scaled * (_BINS - 1)).astype(np.uint8).reshape(1, -1)
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return float(brightest * np.exp((threshold / (_BINS - 1) - 1) * -low))


def _largest(mask: Mask) -> Mask:
    """Largest 8-connected component; empty stays empty."""
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = statistics[1:, cv2.CC_STAT_AREA]
    if areas.size == 0:
        return np.zeros(mask.shape, np.bool_)
    return np.asarray(labels) == 1 + int(np.argmax(areas))


def _shrunk(field: Mask) -> Mask:
    """Without the penumbra; the frame's own border is no penumbra."""
    kernel = np.ones((2 * _PENUMBRA_STEPS + 1,) * 2, np.uint8)
    return (
        np.asarray(cv2.erode(field.astype(np.uint8), kernel, borderType=cv2.BORDER_CONSTANT, borderValue=1))
        > 0
    )


def _rectangle(field: Mask) -> tuple[int, int, int, int]:
    """Rows and columns that the field covers at least half as much as the best covered one."""
    spans: list[int] = []
    for axis in (1, 0):
        cover = field.sum(axis=axis)
        inside = np.flatnonzero(cover >= 0.5 * max(int(cover.max()), 1))
        spans += [int(inside[0]), int(inside[-1]) + 1] if inside.size else [0, 0]
    return spans[0], spans[1], spans[2], spans[3]


def _in_pixels(
    rectangle: tuple[int, int, int, int], steps: tuple[int, ...], pixels: tuple[int, int]
) -> tuple[int, int, int, int]:
    """A side at the frame's border stays there, any other goes in by the penumbra."""
    sides: list[int] = []
    for first, end, count, size in (
        (rectangle[0], rectangle[1], steps[0], pixels[0]),
        (rectangle[2], rectangle[3], steps[1], pixels[1]),
    ):
        near = 0 if first == 0 else (first + _PENUMBRA_STEPS) * _STEP_PX
        far = size if end == count else (end - _PENUMBRA_STEPS) * _STEP_PX
        sides += [min(near, size), max(far, 0)]
    return sides[0], sides[1], sides[2], sides[3]
