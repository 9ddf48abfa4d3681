"""Read an existing radiograph (PNG, JPEG, DICOM) into a Frame, honestly about its scale.

What comes back is bright where attenuation is high (`Signal.ATTENUATION`): display images of bone, and DICOM
after its photometric interpretation. A DICOM For Processing image with Pixel Intensity Relationship LIN and
Sign +1 is `Signal.DOSE`.

Spacing: given by the caller, else DICOM Imager Pixel Spacing (at the detector), else unknown. Pixel Spacing
alone is used only when it says how it was calibrated. A PNG's density field is never believed.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError

from station.frame import Frame, Pixels, Signal, Stage

SCALE_UNKNOWN = "Scale of the object unknown: lengths must not be measured."  # in Image Comments of our own
_DICOM_PREAMBLE = 128


class ImageUnreadable(ValueError):  # noqa: N818  reads as the message it is
    """The file holds no picture that can be analysed; the message says why."""


def read_image(path: Path, pixel_spacing_mm: float | None = None) -> Frame:
    """Read one image.

    Parameters
    ----------
    path : Path
        PNG, JPEG or DICOM file.
    pixel_spacing_mm : float, optional
        Spacing at the detector plane in mm where the caller knows it; it overrides the file.

    Raises
    ------
    ImageUnreadable
        Missing, corrupt, colour-only, multi-frame or compressed beyond what is installed.
    """
    if pixel_spacing_mm is not None and not 0.01 <= pixel_spacing_mm <= 1:
        raise ImageUnreadable(f"pixel spacing {pixel_spacing_mm} mm given, allowed is 0.01 to 1 mm")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ImageUnreadable(f"{path}: cannot be read ({error.strerror}); give an image file") from error
    spacing = None if pixel_spacing_mm is None else (pixel_spacing_mm, pixel_spacing_mm)
    if data[_DICOM_PREAMBLE : _DICOM_PREAMBLE + 4] == b"DICM" or path.suffix.lower() in {".dcm", ".dicom"}:
        return _read_dicom(path, spacing)
    return _read_picture(path, data, spacing)


def _read_picture(path: Path, data: bytes, spacing: tuple[float, float] | None) -> Frame:
    pixels = (
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_GRAYSCALE)
        if data
        else None
    )
    if pixels is None:
        raise ImageUnreadable(f"{path}: not a whole PNG, JPEG or DICOM image; export it again")
    return Frame(
        pixels,
        Stage.FOR_PRESENTATION,
        Signal.ATTENUATION,
        spacing,
        path.name,
        scale_known=spacing is not None,
    )


def _read_dicom(path: Path, spacing: tuple[float, float] | None) -> Frame:
    try:
        dataset = pydicom.dcmread(path, force=True)
        pixels = dataset.pixel_array
    except (
        InvalidDicomError,
        OSError,
        EOFError,
        AttributeError,
        KeyError,
        ValueError,
        RuntimeError,
        NotImplementedError,
    ) as error:
        raise ImageUnreadable(
            f"{path}: its pixels cannot be decoded ({error}); export it uncompressed (Explicit VR LE)"
        ) from error
    if pixels.ndim != 2:
        raise ImageUnreadable(
            f"{path}: has shape {pixels.shape}, one grey image is needed; export a single frame"
        )
    pixels = _rescaled(dataset, pixels)
    linear = (
        dataset.get("PixelIntensityRelationship") == "LIN"
        and dataset.get("PixelIntensityRelationshipSign") == 1
    )
    if linear:
        signal, stage = Signal.DOSE, Stage.FOR_PROCESSING
    else:
        signal, stage = Signal.ATTENUATION, Stage.FOR_PRESENTATION
        if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
            pixels = pixels.max() + pixels.min() - pixels
    known = spacing is not None or str(dataset.get("ImageComments", "")) != SCALE_UNKNOWN
    spacing = spacing or _spacing(dataset)
    return Frame(pixels, stage, signal, spacing, path.name, scale_known=known and spacing is not None)


def _rescaled(dataset: Any, pixels: Pixels) -> Pixels:
    slope, intercept = (
        float(dataset.get("RescaleSlope", 1) or 1),
        float(dataset.get("RescaleIntercept", 0) or 0),
    )
    if slope == 1 and intercept == 0:
        return pixels
    return (pixels * np.float32(slope) + np.float32(intercept)).astype(np.float32)


def _spacing(dataset: Any) -> tuple[float, float] | None:
    """Imager Pixel Spacing, or a calibrated Pixel Spacing; zeros and nonsense are unknown."""
    value = dataset.get("ImagerPixelSpacing")
    if not value and dataset.get("PixelSpacingCalibrationType"):
        value = dataset.get("PixelSpacing")
    try:
        row, column = (float(v) for v in value)
    except (TypeError, ValueError):
        return None
    return (row, column) if 0.01 <= row <= 1 and 0.01 <= column <= 1 else None
