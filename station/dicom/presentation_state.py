r"""What the analysis saw, drawn over the image for presentation (PS3.3 A.33.1): the pixels stay untouched.

| layer | drawn |
|---|---|
| HAND, AXIS, PATH, PERIOSTEAL, ENDOSTEAL, REGION, NARROWEST, FAILED | outlines, a polyline each |
| LABEL | the bones' numbers at their heads; every bone's T, W and MCI above left, or why there are none |
| SIDE | L or R, above left |

Outlines are (row, column) with the origin at the centre of the top left pixel; PIXEL units of C.10.5 are
column\row with the origin at that pixel's top left corner, so half a pixel is added. Points that change a
line by less than a tenth of a pixel are left out. The coarse outline of a hand that leaves the image may
overshoot it by a few pixels and is drawn along the border, as C.10.5 demands.

Colours are CIELab of the ICC profile connection space (D50), with a grey for displays without colour.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from station.dicom.equipment import describe
from station.dicom.modules import begin, date_time, items, performed_step, reference, study_code
from station.result import Bone, DxrResult, Measurement, Refused
from station.study import Study

SOP_CLASS = "1.2.840.10008.5.1.4.1.1.11.1"
SERIES_NUMBER = 3
SIMPLIFIED_PX = 0.1  # no point of an outline is farther from what is drawn

_APPROXIMATION_PX = 0.05  # of cv2, whose clean-up may add as much again
_OVERSHOOT_PX = 16.0  # the hand's outline is found on a picture at least that much finer than this
_POLYLINE_POINTS = 8000  # of one object: a FL element holds 65534 bytes
_BEYOND_HEAD = 0.12  # of the bone's length, where its number stands
_ST_CHARACTERS = 1024  # PS3.5 table 6.2-1
_WHITE = 65535

Points = npt.NDArray[np.float64]


class Drawn(Protocol):
    """What `dxr.overlay.outlines` finds: a named polyline in frame pixels (row, column)."""

    @property
    def label(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def points_px(self) -> Points: ...


@dataclass(frozen=True, slots=True)
class _Layer:
    meaning: str
    srgb: tuple[int, int, int]
    grey: int  # P-value, 0-65535


LAYERS: Mapping[str, _Layer] = {  # the station's own choice: the colours of its other pictures
    "hand": _Layer("outline of the hand", (120, 120, 120), 30000),
    "axis": _Layer("axes of the metacarpals", (60, 160, 255), 45000),
    "path": _Layer("edges outside the regions", (130, 130, 70), 30000),
    "region": _Layer("regions of interest", (255, 230, 60), 55000),
    "periosteal": _Layer("outer edges as measured", (80, 230, 80), _WHITE),
    "endosteal": _Layer("inner edges as measured", (255, 150, 40), _WHITE),
    "narrowest": _Layer("narrowest places", (255, 60, 60), _WHITE),
    "failed": _Layer("regions that failed a check", (255, 60, 60), _WHITE),
    "label": _Layer("bones and values", (255, 255, 255), _WHITE),
    "side": _Layer("side marker", (255, 255, 255), _WHITE),
}


def build(study: Study, picture: Dataset, outlines: Sequence[Drawn]) -> Dataset:
    """The presentation state of one image for presentation.

    Raises
    ------
    ValueError
        Another kind of image, an unknown kind of outline, or one that does not lie in the image.
    """
    if picture.get("PresentationIntentType") != "FOR PRESENTATION":
        raise ValueError("outlines are drawn over the image FOR PRESENTATION; give that one of the pair")
    exam = study.exam
    number = str(picture.InstanceNumber)
    state = begin(exam, SOP_CLASS, exam.uid_for("presentation-state", number))
    describe(state, study.equipment)
    study_code(state, study.code)
    state.Modality = "PR"
    state.SeriesInstanceUID = exam.uid_for("series", "presentation-state")
    state.SeriesNumber = SERIES_NUMBER
    state.SeriesDescription = f"DXR outlines, {exam.item.side.word} hand"
    state.SeriesDate, state.SeriesTime = date_time(exam.opened_at, exam)
    state.Laterality = exam.item.side.value
    performed_step(state, exam, study.protocol.title)
    _identification(state, study, number)
    _relationship(state, picture)
    _display(state, picture)
    _annotations(state, study, picture, outlines)
    return state


def _identification(state: Dataset, study: Study, number: str) -> None:
    state.InstanceNumber = number
    state.ContentLabel = "DXR"
    state.ContentDescription = "edges, regions and values of the DXR analysis"
    algorithm = study.result.algorithm if isinstance(study.result, DxrResult) else ""
    state.ContentCreatorName = algorithm.replace("@", "^")  # name and version as a person's two names
    made = date_time(study.made_at, study.exam)
    state.PresentationCreationDate, state.PresentationCreationTime = made


def _relationship(state: Dataset, picture: Dataset) -> None:
    series = Dataset()
    series.SeriesInstanceUID = picture.SeriesInstanceUID
    series.ReferencedImageSequence = items(reference(picture))
    state.ReferencedSeriesSequence = items(series)


def _display(state: Dataset, picture: Dataset) -> None:
    """The whole image with its own window."""
    area = Dataset()
    area.DisplayedAreaTopLeftHandCorner = [1, 1]
    area.DisplayedAreaBottomRightHandCorner = [picture.Columns, picture.Rows]
    area.PresentationSizeMode = "SCALE TO FIT"
    if "PixelSpacing" in picture:
        area.PresentationPixelSpacing = list(picture.PixelSpacing)
    else:
        area.PresentationPixelAspectRatio = [1, 1]
    state.DisplayedAreaSelectionSequence = items(area)
    window = Dataset()
    window.WindowCenter, window.WindowWidth = picture.WindowCenter, picture.WindowWidth
    window.WindowCenterWidthExplanation = picture.WindowCenterWidthExplanation
    window.VOILUTFunction = picture.VOILUTFunction
    state.SoftcopyVOILUTSequence = items(window)
    state.PresentationLUTShape = picture.PresentationLUTShape


def _annotations(state: Dataset, study: Study, picture: Dataset, outlines: Sequence[Drawn]) -> None:
    size_px = np.array([picture.Rows, picture.Columns], float)
    graphics: dict[str, list[Dataset]] = {}
    texts: dict[str, list[Dataset]] = {"side": [_side_marker(study)]}
    for drawn in outlines:
        if drawn.kind not in LAYERS:
            raise ValueError(
                f"outline '{drawn.label}' is of kind '{drawn.kind}'; known are {', '.join(LAYERS)}"
            )
        points = _xy(drawn, size_px)
        graphics.setdefault(drawn.kind, []).extend(_polylines(points))
        if drawn.kind == "failed":
            texts.setdefault("failed", []).append(_anchored(drawn.label, points[0]))
    measured_here = str(picture.IrradiationEventUID) == study.exposure.uid
    if measured_here and study.result is not None:
        texts["label"] = list(_labels(study.result, size_px))
    used = [kind for kind in LAYERS if kind in graphics or kind in texts]
    state.GraphicAnnotationSequence = items(
        *(_annotation(kind, graphics.get(kind), texts.get(kind), picture) for kind in used)
    )
    state.GraphicLayerSequence = items(*(_layer(kind, order) for order, kind in enumerate(used, 1)))


def _annotation(
    kind: str, graphics: list[Dataset] | None, texts: list[Dataset] | None, picture: Dataset
) -> Dataset:
    item = Dataset()
    item.ReferencedImageSequence = items(reference(picture))
    item.GraphicLayer = kind.upper()
    if texts:
        item.TextObjectSequence = items(*texts)
    if graphics:
        item.GraphicObjectSequence = items(*graphics)
    return item


def _layer(kind: str, order: int) -> Dataset:
    item, layer = Dataset(), LAYERS[kind]
    item.GraphicLayer = kind.upper()
    item.GraphicLayerOrder = order
    item.GraphicLayerRecommendedDisplayGrayscaleValue = layer.grey
    item.GraphicLayerRecommendedDisplayCIELabValue = cielab(layer.srgb)
    item.GraphicLayerDescription = layer.meaning
    return item


def _xy(drawn: Drawn, size_px: Points) -> Points:
    """Column and row in PIXEL units, inside the image."""
    points = np.asarray(drawn.points_px, float) + 0.5
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 2 or not np.isfinite(points).all():
        raise ValueError(f"outline '{drawn.label}' needs two or more finite points (row, column)")
    inside = np.clip(points, 0, size_px)
    outside_px = float(np.abs(points - inside).max())
    if outside_px > (_OVERSHOOT_PX if drawn.kind == "hand" else 0.5):
        raise ValueError(f"outline '{drawn.label}' leaves the image by {outside_px:.1f} px")
    return inside[:, ::-1]


def _polylines(points: Points) -> Iterator[Dataset]:
    kept = _simplified(points.astype(np.float32))
    for start in range(0, len(kept) - 1, _POLYLINE_POINTS - 1):
        part = kept[start : start + _POLYLINE_POINTS]
        item = Dataset()
        item.GraphicAnnotationUnits = "PIXEL"
        item.GraphicDimensions = 2
        item.NumberOfGraphicPoints = len(part)
        item.GraphicData = [float(value) for value in part.ravel()]
        item.GraphicType = "POLYLINE"
        item.GraphicFilled = "N"
        yield item


def _simplified(points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Fewer points for the same line; a closed one stays closed."""
    closed = bool((points[0] == points[-1]).all())
    ring = points[:-1] if closed else points
    shortened = cv2.approxPolyDP(ring.reshape(-1, 1, 2), _APPROXIMATION_PX, closed)
    kept = np.asarray(shortened, np.float32).reshape(-1, 2)
    if closed:
        kept = np.vstack((kept, kept[:1]))
    return kept if len(kept) > 1 else points[[0, -1]]


def _labels(result: DxrResult | Refused, size_px: Points) -> Iterator[Dataset]:
    if isinstance(result, Refused):
        reasons = "\r\n".join(f"{reason.id}: {reason.message}" for reason in result.reasons)
        yield _boxed(f"No DXR result\r\n{reasons}"[:_ST_CHARACTERS], (0.02, 0.12), (0.6, 0.3))
        return
    for bone in result.bones:
        base, head = np.array(bone.axis_px)
        place = np.clip(head + _BEYOND_HEAD * (head - base) + 0.5, 0, size_px)
        yield _anchored(str(bone.number), place[::-1])
    yield _boxed("\r\n".join(_values(bone) for bone in result.bones), (0.02, 0.12), (0.42, 0.22))


def _values(bone: Bone) -> str:
    lengths = "".join(
        f"{name} {_mm(found)}, " for name, found in (("T", bone.t_mm), ("W", bone.w_mm)) if found
    )
    return f"Metacarpal {bone.number}: {lengths}MCI {bone.mci.value:.3f}"


def _mm(found: Measurement) -> str:
    return f"{found.value:.2f} mm"


def _side_marker(study: Study) -> Dataset:
    return _boxed(study.exam.item.side.value, (0.02, 0.02), (0.12, 0.1))


def _anchored(words: str, xy: Points) -> Dataset:
    """Text at a place in the image."""
    item = Dataset()
    item.UnformattedTextValue = words
    item.AnchorPointAnnotationUnits = "PIXEL"
    item.AnchorPoint = [float(value) for value in xy]
    item.AnchorPointVisibility = "N"
    return item


def _boxed(words: str, top_left: tuple[float, float], bottom_right: tuple[float, float]) -> Dataset:
    """Text at a place of the displayed area: across and down, each 0 to 1."""
    item = Dataset()
    item.UnformattedTextValue = words
    item.BoundingBoxAnnotationUnits = "DISPLAY"
    item.BoundingBoxTopLeftHandCorner = list(top_left)
    item.BoundingBoxBottomRightHandCorner = list(bottom_right)
    item.BoundingBoxTextHorizontalJustification = "LEFT"
    return item


_XYZ_OF_SRGB = np.array(  # D65 adapted to D50 after Bradford, published (Lindbloom)
    [
        [0.4360747, 0.3850649, 0.1430804],
        [0.2225045, 0.7168786, 0.0606169],
        [0.0139322, 0.0971045, 0.7141733],
    ]
)
_D50 = np.array([0.96422, 1.0, 0.82521])


def cielab(srgb: tuple[int, int, int]) -> list[int]:
    """An sRGB colour as DICOM writes CIELab: L* 0-100 and a*, b* −128-127, each over 0-65535 (C.10.7.1.1)."""
    share = np.array(srgb) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    relative: Any = _XYZ_OF_SRGB @ linear / _D50
    f = np.where(relative > (6 / 29) ** 3, np.cbrt(relative), relative * (29 / 6) ** 2 / 3 + 4 / 29)
    light, a, b = 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])
    scaled = (light / 100, (a + 128) / 255, (b + 128) / 255)
    return [round(65535 * min(max(float(one), 0.0), 1.0)) for one in scaled]
