"""Read an existing radiograph (PNG, JPEG, DICOM) into a Frame, honestly about its scale.

What comes back is bright where attenuation is high (`Signal.ATTENUATION`): display images of bone, and DICOM
after its photometric interpretation. A DICOM For Processing image with Pixel Intensity Relationship LIN and
Sign +1 is `Signal.DOSE`.

Spacing: given by the caller, else DICOM Imager Pixel Spacing (at the detector), else unknown. Pixel Spacing
alone is used only when it says how it was calibrated. A PNG's density field is never believed.

Any file whatever is either read or refused with `ImageUnreadable`: nothing is decoded before its header says
that it fits into memory, and what is decoded must be finite.
"""

import re
import struct
import warnings
import zlib
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from station.frame import Frame, Pixels, Signal, Stage

SCALE_UNKNOWN = "Scale of the object unknown: lengths must not be measured."  # in Image Comments of our own
MAX_FILE_BYTES = 512 * 2**20  # own choice: ten times the largest radiograph, uncompressed
MAX_PIXELS = 100_000_000  # own choice: 10 000 x 10 000, a hand at 0.03 mm
_DICOM_PREAMBLE = 128
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_JPEG_SIZE_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0-15 without DHT, JPG, DAC
_AGE = re.compile(r"(\d{3})([DWMY])")  # DICOM AS
_DAYS = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25}
_MAX_AGE_YEARS = 130  # beyond any life: a placeholder date
# The panel, else the machine that it belongs to; a maker without a model is no type
_DETECTOR_TYPE = (
    ("DetectorManufacturerName", "DetectorManufacturerModelName"),
    ("Manufacturer", "ManufacturerModelName"),
)
# What pydicom and its decoders raise on damaged objects, found by damaging them.
_DECODING = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


class ImageUnreadable(ValueError):  # noqa: N818  reads as the message it is
    """The file holds no picture that can be analysed; the message says why."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a DICOM header says about the patient; None where it says nothing or nonsense."""

    age_years: float | None = None  # at the time of the image
    sex: str | None = None  # F, M or O
    side: str | None = None  # L or R
    taken: date | None = None


def read_image(path: Path, pixel_spacing_mm: float | None = None) -> Frame:
    """Read one image without its header; see `read`."""
    return read(path, pixel_spacing_mm)[0]


def read(path: Path, pixel_spacing_mm: float | None = None) -> tuple[Frame, Header]:
    """Read one image and what its header says.

    Parameters
    ----------
    path : Path
        PNG, JPEG or DICOM file.
    pixel_spacing_mm : float, optional
        Spacing at the detector plane in mm where the caller knows it; it overrides the file.

    Raises
    ------
    ImageUnreadable
        Missing, corrupt, colour-only, multi-frame, too large, not finite, or compressed beyond what is
        installed.
    """
    if pixel_spacing_mm is not None and not 0.01 <= pixel_spacing_mm <= 1:
        raise ImageUnreadable(f"pixel spacing {pixel_spacing_mm} mm given, allowed is 0.01 to 1 mm")
    data = _bytes_of(path)
    spacing = None if pixel_spacing_mm is None else (pixel_spacing_mm, pixel_spacing_mm)
    if looks_like_dicom(data) or path.suffix.lower() in {".dcm", ".dicom"}:
        return _read_dicom(path, spacing)
    return _read_picture(path, data, spacing), Header()


def looks_like_dicom(start: bytes) -> bool:
    """Whether a file that starts so is DICOM (PS3.10: preamble and prefix)."""
    return start[_DICOM_PREAMBLE : _DICOM_PREAMBLE + 4] == b"DICM"


def looks_like_picture(start: bytes) -> bool:
    """Whether a file that starts so is a PNG or a JPEG."""
    return start.startswith((_PNG, _JPEG))


def _bytes_of(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # reading a pipe or a device would never end
            raise ImageUnreadable(f"{path}: is no regular file; give an image file")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ImageUnreadable(
                f"{path}: has {size / 2**20:.0f} MiB, at most {MAX_FILE_BYTES / 2**20:.0f} are read; "
                "export a single frame"
            )
        return path.read_bytes()
    except OSError as error:
        raise ImageUnreadable(f"{path}: cannot be read ({error.strerror}); give an image file") from error
    except ValueError as error:
        if isinstance(error, ImageUnreadable):
            raise
        raise ImageUnreadable(f"{path!r}: is no path ({error}); give an image file") from error


def _read_picture(path: Path, data: bytes, spacing: tuple[float, float] | None) -> Frame:
    rows, columns = _announced_size(data)
    _refuse_size(path, rows, columns)
    try:
        flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_GRAYSCALE
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:
        pixels = None
    if pixels is None:
        raise ImageUnreadable(f"{path}: not a whole PNG, JPEG or DICOM image; export it again")
    _refuse_pixels(path, pixels)
    return Frame(
        pixels,
        Stage.FOR_PRESENTATION,
        Signal.ATTENUATION,
        spacing,
        path.name,
        scale_known=spacing is not None,
    )


def _announced_size(data: bytes) -> tuple[int, int]:
    """(rows, columns) by the header of a PNG or JPEG; (0, 0) where there is none to be read."""
    if data.startswith(_PNG) and len(data) >= 24:
        columns, rows = struct.unpack(">II", data[16:24])
        return rows, columns
    at = 2
    while data.startswith(_JPEG) and at + 9 <= len(data) and data[at] == 0xFF:
        if data[at + 1] in _JPEG_SIZE_MARKERS:
            rows, columns = struct.unpack(">HH", data[at + 5 : at + 9])
            return rows, columns
        at += 1 if data[at + 1] == 0xFF else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0, 0


def _refuse_size(path: Path, rows: int, columns: int) -> None:
    if rows * columns > MAX_PIXELS:
        raise ImageUnreadable(
            f"{path}: says it has {rows} x {columns} pixels, at most {MAX_PIXELS // 10**6} million are read; "
            "export a single hand"
        )


def _refuse_pixels(path: Path, pixels: Pixels) -> None:
    if pixels.ndim != 2 or 0 in pixels.shape:
        shape = pixels.shape
        raise ImageUnreadable(f"{path}: has shape {shape}, one grey image is needed; export a single frame")
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise ImageUnreadable(f"{path}: holds values that are no finite numbers; export it again")


def _read_dicom(path: Path, spacing: tuple[float, float] | None) -> tuple[Frame, Header]:
    # here: a third of the time that the import of the whole analysis takes, and a picture does without
    import pydicom
    from pydicom.errors import BytesLengthException, InvalidDicomError

    try:
        with warnings.catch_warnings():
            # pydicom warns about the form of values that are not used here
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, force=True)
            pixels = _decoded(path, dataset)
            return _dicom_frame(path, dataset, pixels, spacing), _header(dataset)
    except ImageUnreadable:
        raise
    except (BytesLengthException, InvalidDicomError, *_DECODING) as error:
        raise ImageUnreadable(
            f"{path}: its pixels cannot be decoded ({error}); export it uncompressed (Explicit VR LE)"
        ) from error


def _decoded(path: Path, dataset: Any) -> Pixels:
    rows, columns = int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0)
    frames = int(dataset.get("NumberOfFrames") or 1)
    _refuse_size(path, rows * frames, columns)
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        raise ImageUnreadable(f"{path}: its pixels are palette indices; export it in grey")
    pixels = dataset.pixel_array
    _refuse_pixels(path, pixels)
    pixels = _rescaled(dataset, pixels)
    _refuse_pixels(path, pixels)
    return pixels


def _dicom_frame(path: Path, dataset: Any, pixels: Pixels, spacing: tuple[float, float] | None) -> Frame:
    linear = (
        dataset.get("PixelIntensityRelationship") == "LIN"
        and dataset.get("PixelIntensityRelationshipSign") == 1
    )
    if linear:
        signal, stage = Signal.DOSE, Stage.FOR_PROCESSING
    else:
        signal, stage = Signal.ATTENUATION, Stage.FOR_PRESENTATION
        if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
            pixels = (pixels.max() - pixels) + pixels.min()  # in this order no integer leaves its range
    known = spacing is not None or str(dataset.get("ImageComments", "")) != SCALE_UNKNOWN
    spacing = spacing or _spacing(dataset)
    return Frame(
        pixels,
        stage,
        signal,
        spacing,
        path.name,
        scale_known=known and spacing is not None,
        detector_type=_first_words(dataset, *_DETECTOR_TYPE),
        detector_serial=_first_words(dataset, ("DetectorID",), ("DeviceSerialNumber",)),
    )


def _first_words(dataset: Any, *ways: tuple[str, ...]) -> str | None:
    """The first of several ways in which a header may say something in words."""
    for keywords in ways:
        words = [str(dataset.get(keyword) or "").strip() for keyword in keywords]
        if words[-1]:
            return " ".join(filter(None, words))
    return None


def _header(dataset: Any) -> Header:
    sex = str(dataset.get("PatientSex") or "").upper()
    side = str(dataset.get("ImageLaterality") or dataset.get("Laterality") or "").upper()
    return Header(
        _age(dataset),
        sex if sex in {"F", "M", "O"} else None,
        side if side in {"L", "R"} else None,
        _taken(dataset),
    )


def _age(dataset: Any) -> float | None:
    """Age at the image in years: by the dates, which are exact, else by Patient's Age."""
    born = _date(dataset.get("PatientBirthDate"))
    taken = _taken(dataset)
    written = _AGE.fullmatch(str(dataset.get("PatientAge") or ""))
    if born and taken:
        age = (taken - born).days / 365.25
    elif written:
        age = int(written[1]) * _DAYS[written[2]] / 365.25
    else:
        return None
    return age if 0 <= age <= _MAX_AGE_YEARS else None


def _taken(dataset: Any) -> date | None:
    return next(filter(None, (_date(dataset.get(k)) for k in ("AcquisitionDate", "StudyDate"))), None)


def _date(text: Any) -> date | None:
    try:
        return datetime.strptime(str(text or ""), "%Y%m%d").date()  # noqa: DTZ007  a day without a clock
    except ValueError:
        return None


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
