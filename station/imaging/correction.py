"""Raw frame → For Processing: offset, gain and defects corrected, linear in detector dose.

Assumes
    Maps of the same panel and mode (checked) that are not expired (`calibration.check`, the caller's).
Tolerates
    Saturation: every clipped pixel, and a defect beside one, is at exactly `maps.ceiling_lsb`.
Method
    (raw − offset) × gain in float32, row block by row block while it is in cache; then every defect is
    gathered from its good neighbours as planned in the maps. Values are limited to `maps.ceiling_lsb`, the
    lowest corrected value at which any good pixel clips: above it some pixels would still measure and
    others not.
Meaning
    LSB with the offset removed; pixel / `maps.lsb_per_ugy` is detector air kerma in µGy. Noise around zero
    stays negative: clipping it would bias dark regions.
Known failures
    Lag and temperature drift since the darks remain.
"""

import cv2
import numpy as np

from station.frame import Frame, Pixels, Signal, Stage
from station.imaging.calibration import Maps
from station.imaging.defects import Float

_BLOCK_ROWS = 128  # fastest of 8 to 3000 rows measured: calls are few, a block stays in cache


class CorrectionRefused(ValueError):  # noqa: N818  reads as the message it is
    """The frame does not belong to the maps."""


def correct(raw: Frame, maps: Maps) -> Frame:
    """Corrected frame.

    Parameters
    ----------
    raw : Frame
        RAW, Signal.DOSE, (rows, columns) uint16.
    maps : Maps
        Of the same panel.

    Returns
    -------
    Frame
        FOR_PROCESSING, Signal.DOSE, float32 LSB; `saturation` is `maps.ceiling_lsb`; history names the maps.

    Raises
    ------
    CorrectionRefused
        Another panel, shape, stage or saturation.
    """
    _refuse(raw, maps)
    corrected = _offset_and_gain(raw.pixels, maps)
    _replace_defects(corrected, maps)
    return Frame(
        pixels=corrected,
        stage=Stage.FOR_PROCESSING,
        signal=Signal.DOSE,
        spacing_mm=raw.spacing_mm,
        source=raw.source,
        scale_known=raw.scale_known,
        acquired_at=raw.acquired_at,
        saturation=maps.ceiling_lsb,
        history=(*raw.history, f"offset, gain, defects corrected with maps sha256:{maps.sha256}"),
    )


def _refuse(raw: Frame, maps: Maps) -> None:
    if raw.stage is not Stage.RAW or raw.signal is not Signal.DOSE:
        raise CorrectionRefused(
            f"a {raw.stage} {raw.signal} frame was given, only a raw dose frame is corrected"
        )
    if raw.source != maps.serial or raw.shape != maps.shape:
        raise CorrectionRefused(
            f"the frame is of panel {raw.source} {raw.shape}, the maps are of {maps.serial} {maps.shape}; "
            "load the maps of this panel or run dxr-station calibrate"
        )
    if raw.saturation is not None and raw.saturation != maps.raw_saturation:
        raise CorrectionRefused(
            f"the panel saturates at {raw.saturation:g}, it was calibrated at {maps.raw_saturation:g}; "
            "run dxr-station calibrate in this mode"
        )


def _offset_and_gain(raw: Pixels, maps: Maps) -> Float:
    corrected = np.empty(raw.shape, np.float32)
    for start in range(0, raw.shape[0], _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        block = corrected[rows]
        block[...] = raw[rows]  # converted first: OpenCV's mixed-type subtraction costs a third more
        cv2.subtract(block, maps.offset[rows], block)
        cv2.multiply(block, maps.gain[rows], block)
        cv2.threshold(block, maps.ceiling_lsb, 0, cv2.THRESH_TRUNC, block)
    return corrected


def _replace_defects(corrected: Float, maps: Maps) -> None:
    flat, patches = corrected.reshape(-1), maps.patches
    near = flat.take(patches.sources)
    values = (near * patches.weights).sum(axis=0)
    # A defect with a saturated neighbour may itself have been saturated.
    values[near.max(axis=0, initial=-np.inf) >= maps.ceiling_lsb] = maps.ceiling_lsb
    flat[patches.targets] = values
