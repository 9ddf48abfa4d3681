r"""The DX image pair: For Processing (linear, for machines) and For Presentation (for the eye), PS3.3 A.26.

| | For Processing | For Presentation |
|---|---|---|
| pixels | 16 bit corrected LSB, LIN, sign +1 (bone dark) | 12 bit attenuation, LOG, sign −1 (bone bright) |
| Image Type | ORIGINAL, PRIMARY | DERIVED, PRIMARY, Source Image Sequence → For Processing |
| window | none (forbidden) | of the hand |
| series | its own each: Presentation Intent Type is a series attribute | |

Both are MONOCHROME2 with Presentation LUT Shape IDENTITY. Sign (C.8.11.3.1.2): +1 lower values are less X-ray
intensity, −1 lower values are more. Imager Pixel Spacing is at the detector. Pixel Spacing, at the height
of the metacarpals, is given only where the scale is known, with calibration type GEOMETRY.

Patient Orientation L\H: seen from the tube with the fingers up, in the standard anatomic position of PS3.17
Annex A (fingers point to the feet, seen from behind), for either hand; labels do not move with the limb.

(0018,1111) Distance Source to Patient is written as the source-object distance, SID − OID. The standard's
words mean the support beneath the hand; dciodvfy and readers take SID over it for the magnification.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from station.devices import Delivered, EndOfExposure, FocalSpot
from station.dicom.equipment import describe
from station.dicom.modules import (
    begin,
    coded,
    date_time,
    decimal,
    items,
    performed_step,
    reference,
    study_code,
)
from station.dicom.modules import write as write  # noqa: PLC0414  re-exported: pair and file belong together
from station.exam import Exam, Exposure
from station.frame import Frame, Signal, Stage
from station.image_file import SCALE_UNKNOWN
from station.protocols import Code
from station.protocols import Protocol as AcquisitionProtocol
from station.study import Equipment, Index, Study

FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.1.1"
FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.1"
VIEW_CODES = {"PA": ("272479007", "SCT", "postero-anterior")}
REGION_CODES = {"HAND": ("85562004", "SCT", "Hand")}

_DGYCM2_PER_UGYM2 = 0.1
_MM_PER_CM = 10
_PRESENTATION_BITS = 12
_MAX_16_BIT = 65535
_SH_CHARACTERS = 16
# Of order and patient, where they are known
_MAY_BE_ABSENT = (
    "PatientAge",
    "StudyDescription",
    "RequestAttributesSequence",
    "ProcedureCodeSequence",
    "PerformedProtocolCodeSequence",
)


class Picture(Protocol):
    """What `imaging.presentation` renders."""

    @property
    def frame(self) -> Frame: ...
    @property
    def window_center(self) -> float: ...
    @property
    def window_width(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Context:
    """What the images say besides exam, exposure and pixels."""

    equipment: Equipment
    protocol: AcquisitionProtocol
    exposure_index: Index | None = None  # None where no relevant region was found
    calibrated_at: datetime | None = None
    code: Code | None = None  # decided by billing, never here


def build_pair(
    exam: Exam, exposure: Exposure, processing: Frame, presentation: Picture, context: Context
) -> tuple[Dataset, Dataset]:
    """For Processing and For Presentation object of one exposure, linked; twice the call, twice the same.

    Raises
    ------
    ValueError
        Frames that are not such a pair, no pixel spacing, or values that do not fit without being altered.
    """
    _refuse(processing, presentation)
    pair: list[Dataset] = []
    for intent, sop_class in (("processing", FOR_PROCESSING), ("presentation", FOR_PRESENTATION)):
        image = begin(exam, sop_class, exam.uid_for("image", str(exposure.number), intent))
        image.PresentationIntentType = f"FOR {intent.upper()}"
        image.SeriesInstanceUID = exam.uid_for("series", intent)
        describe(image, context.equipment)
        _series(image, exam, context)
        _acquisition(image, exam, exposure, context)
        _geometry(image, processing, exposure, context)
        _collimator(image, processing, context)
        _detector(image, processing, exam, context)
        _anatomy(image, exam, context)
        pair.append(image)
    _processing_pixels(pair[0], processing)
    _presentation_pixels(pair[1], presentation)
    _link(pair[1], pair[0])
    return pair[0], pair[1]


def identify(study: Study, processing: Dataset, presentation: Dataset) -> tuple[Dataset, Dataset]:
    """The pair again with the identity of the study's exam; pixels and acquisition stay as they are."""
    exam = study.exam
    for image, intent in ((processing, "processing"), (presentation, "presentation")):
        number = str(image.AcquisitionNumber)
        said = begin(exam, image.SOPClassUID, exam.uid_for("image", number, intent))
        for keyword in _MAY_BE_ABSENT:
            if keyword in image:
                delattr(image, keyword)
        image.update(said)
        image.file_meta.MediaStorageSOPInstanceUID = said.SOPInstanceUID
        image.SeriesInstanceUID = exam.uid_for("series", intent)
        performed_step(image, exam, study.protocol.title)
        study_code(image, study.code)
        if study.code is not None:
            image.PerformedProtocolCodeSequence = items(*image.ProcedureCodeSequence)
    _link(presentation, processing)
    return processing, presentation


def _refuse(processing: Frame, presentation: Picture) -> None:
    shown = presentation.frame
    if processing.stage is not Stage.FOR_PROCESSING or processing.signal is not Signal.DOSE:
        raise ValueError(
            f"the first image must be a corrected dose frame, got {processing.stage} {processing.signal}"
        )
    if shown.stage is not Stage.FOR_PRESENTATION or shown.signal is not Signal.ATTENUATION:
        raise ValueError(f"the second image must be a rendered frame, got {shown.stage} {shown.signal}")
    if shown.shape != processing.shape:
        raise ValueError(f"the images differ in shape: {processing.shape} and {shown.shape}")
    if processing.spacing_mm is None:
        raise ValueError("a DX image needs the spacing at the detector (Imager Pixel Spacing is type 1)")
    if shown.pixels.dtype != np.uint16 or int(shown.pixels.max()) >= 1 << _PRESENTATION_BITS:
        raise ValueError("the rendered frame must be uint16 within 0-4095")


def _series(image: Dataset, exam: Exam, context: Context) -> None:
    item, protocol = exam.item, context.protocol
    presentation = image.PresentationIntentType == "FOR PRESENTATION"
    image.Modality = "DX"
    image.SeriesNumber = 1 if presentation else 2
    image.SeriesDescription = f"{protocol.title}, {item.side.word}" + (
        "" if presentation else ", for processing"
    )
    image.SeriesDate, image.SeriesTime = date_time(exam.opened_at, exam)
    image.ProtocolName = protocol.id
    performed_step(image, exam, protocol.title)
    study_code(image, context.code)
    if context.code is not None:
        image.PerformedProtocolCodeSequence = items(*image.ProcedureCodeSequence)


def _acquisition(image: Dataset, exam: Exam, exposure: Exposure, context: Context) -> None:
    image.AcquisitionNumber = exposure.number
    image.InstanceNumber = exposure.number
    image.AcquisitionDate, image.AcquisitionTime = date_time(exposure.started_at, exam)
    image.ContentDate, image.ContentTime = image.AcquisitionDate, image.AcquisitionTime
    image.IrradiationEventUID = exposure.uid
    image.AcquisitionContextSequence = items()
    image.AnodeTargetMaterial = context.equipment.anode_material
    image.Grid = context.equipment.grid
    image.ExposureControlMode = "MANUAL"  # a technique of three points, without an ionisation chamber
    if context.equipment.focal_spot_mm is not None:
        small, large = context.equipment.focal_spot_mm
        image.FocalSpots = decimal(small if exposure.requested.focal_spot is FocalSpot.SMALL else large)
    delivered = exposure.delivered
    # What was asked for or assumed is not what was given: unknown stays absent.
    if delivered is not None and delivered.end is not EndOfExposure.UNKNOWN:
        _delivered(image, delivered)
    if exposure.dap_ugym2:  # a meter that reads zero after an exposure has not measured it
        image.ImageAndFluoroscopyAreaDoseProduct = decimal(exposure.dap_ugym2 * _DGYCM2_PER_UGYM2)
    if context.exposure_index is not None:
        image.ExposureIndex = decimal(context.exposure_index.ei)
        image.TargetExposureIndex = decimal(context.exposure_index.target)
        image.DeviationIndex = f"{context.exposure_index.di:.2f}"


def _delivered(image: Dataset, delivered: Delivered) -> None:
    image.ExposureStatus = "NORMAL" if delivered.end is EndOfExposure.NORMAL else "ABORTED"
    image.KVP = decimal(delivered.kvp)
    image.ExposureTime = round(delivered.ms)
    image.ExposureTimeInuS = decimal(delivered.ms * 1000)
    image.XRayTubeCurrent = round(delivered.ma)
    image.XRayTubeCurrentInuA = decimal(delivered.ma * 1000)
    image.Exposure = round(delivered.mas)
    image.ExposureInuAs = round(delivered.mas * 1000)


def _geometry(image: Dataset, frame: Frame, exposure: Exposure, context: Context) -> None:
    row_mm, column_mm = frame.spacing_mm or (0.0, 0.0)
    image.ImagerPixelSpacing = [decimal(row_mm), decimal(column_mm)]
    image.DistanceSourceToDetector = decimal(exposure.sid_mm)
    image.PositionerType = "NONE"
    if not frame.scale_known:
        image.ImageComments = SCALE_UNKNOWN
        return
    oid_mm = context.protocol.geometry.oid_mm
    if oid_mm >= exposure.sid_mm:
        raise ValueError(
            f"the object cannot be {oid_mm:g} mm above the image plane at SID {exposure.sid_mm:g} mm"
        )
    magnification = exposure.sid_mm / (exposure.sid_mm - oid_mm)
    image.DistanceSourceToPatient = decimal(exposure.sid_mm - oid_mm)
    image.EstimatedRadiographicMagnificationFactor = decimal(magnification)
    image.PixelSpacing = [decimal(row_mm / magnification), decimal(column_mm / magnification)]
    image.PixelSpacingCalibrationType = "GEOMETRY"
    image.PixelSpacingCalibrationDescription = (
        f"metacarpal axis {oid_mm:g} mm above image plane, SID {exposure.sid_mm:g} mm"
    )


def _collimator(image: Dataset, frame: Frame, context: Context) -> None:
    """The light field that the protocol asks for, centred on the panel; nobody measures the open field.

    The protocol gives it at the panel, so nothing is magnified. Without edges in the image there is nothing
    to say of them. First and last open column and row; the top left pixel is 1, 1 (C.8.7.3).
    """
    field_mm, spacing_mm = context.protocol.geometry.field_mm, frame.spacing_mm or (0.0, 0.0)
    edges: list[tuple[int, int]] = []
    for size_px, extent_mm, pixel_mm in zip(frame.shape, field_mm, spacing_mm, strict=True):
        closed_px = (size_px - extent_mm / pixel_mm) / 2
        if closed_px < 0:
            return
        edges.append((round(closed_px) + 1, size_px - round(closed_px)))
    image.CollimatorShape = "RECTANGULAR"
    image.CollimatorUpperHorizontalEdge, image.CollimatorLowerHorizontalEdge = edges[0]
    image.CollimatorLeftVerticalEdge, image.CollimatorRightVerticalEdge = edges[1]
    image.ExposedArea = [round(extent_mm / _MM_PER_CM) for extent_mm in field_mm]


def _detector(image: Dataset, frame: Frame, exam: Exam, context: Context) -> None:
    row_mm, column_mm = frame.spacing_mm or (0.0, 0.0)
    rows, columns = frame.shape
    image.DetectorType = "SCINTILLATOR"
    image.DetectorConfiguration = "AREA"
    if len(frame.source) > _SH_CHARACTERS:
        raise ValueError(f"detector serial '{frame.source}' is longer than {_SH_CHARACTERS} characters")
    image.DetectorID = frame.source
    image.DetectorActiveShape = "RECTANGLE"
    image.DetectorActiveDimensions = [decimal(rows * row_mm), decimal(columns * column_mm)]
    if context.calibrated_at is not None:
        day, time = date_time(context.calibrated_at, exam)
        image.DateOfLastDetectorCalibration, image.TimeOfLastDetectorCalibration = day, time


def _anatomy(image: Dataset, exam: Exam, context: Context) -> None:
    protocol = context.protocol
    image.BodyPartExamined = protocol.body_part
    image.AnatomicRegionSequence = items(coded(*REGION_CODES[protocol.body_part]))
    image.ImageLaterality = exam.item.side.value
    image.ViewPosition = protocol.view
    view = coded(*VIEW_CODES[protocol.view])
    view.ViewModifierCodeSequence = items()
    image.ViewCodeSequence = items(view)
    image.PatientOrientation = ["L", "H"]


def _processing_pixels(image: Dataset, frame: Frame) -> None:
    image.ImageType = ["ORIGINAL", "PRIMARY", ""]
    image.PixelIntensityRelationship, image.PixelIntensityRelationshipSign = "LIN", 1
    image.AcquisitionDeviceProcessingDescription = "offset, gain and defects corrected"
    image.DetectorDescription = "; ".join(frame.history)
    _pixels(image, _as_16_bit(frame), 16)


def _as_16_bit(frame: Frame) -> npt.NDArray[np.uint16]:
    """Rounded LSB. Noise below zero becomes 0; the saturated level, if higher, becomes the largest number."""
    highest = float(frame.pixels.max())
    if highest > _MAX_16_BIT and (frame.saturation is None or highest > frame.saturation):
        raise ValueError(
            f"pixel values up to {highest:.0f} do not fit 16 bits, and no saturation explains them"
        )
    if frame.pixels.dtype == np.uint16:
        return frame.pixels
    whole: Any = np.empty(frame.shape, np.uint16)
    cv2.addWeighted(frame.pixels, 1, frame.pixels, 0, 0, whole, cv2.CV_16U)
    return whole


def _presentation_pixels(image: Dataset, picture: Picture) -> None:
    image.ImageType = ["DERIVED", "PRIMARY", ""]
    image.PixelIntensityRelationship, image.PixelIntensityRelationshipSign = "LOG", -1
    image.DerivationDescription = "; ".join(picture.frame.history)[-1024:]
    image.WindowCenter, image.WindowWidth = decimal(picture.window_center), decimal(picture.window_width)
    image.WindowCenterWidthExplanation = "Hand"
    image.VOILUTFunction = "LINEAR"
    _pixels(image, picture.frame.pixels, _PRESENTATION_BITS)


def _pixels(image: Dataset, pixels: npt.NDArray[np.uint16], bits: int) -> None:
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.PresentationLUTShape = "IDENTITY"
    image.Rows, image.Columns = pixels.shape
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, bits, bits - 1
    image.PixelRepresentation = 0
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = "0", "1", "US"
    image.LossyImageCompression = "00"
    image.BurnedInAnnotation = "NO"
    image.add_new("PixelData", "OW", pixels.astype("<u2", copy=False).tobytes())


def _link(presentation: Dataset, processing: Dataset) -> None:
    """Source image (C.7.6.1) and the list of references to other series (C.12.2)."""
    source = reference(processing)
    source.PurposeOfReferenceCodeSequence = items(
        coded("121322", "DCM", "Source image for image processing operation")
    )
    source.SpatialLocationsPreserved = "YES"
    presentation.SourceImageSequence = items(source)
    series = Dataset()
    series.SeriesInstanceUID = processing.SeriesInstanceUID
    series.ReferencedInstanceSequence = items(reference(processing))
    presentation.ReferencedSeriesSequence = items(series)
