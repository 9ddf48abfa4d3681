"""What the eye is shown: the hand on the panel, and the radiograph with what was measured, as RGB arrays.

Assumes
    A camera view rectified to the panel, a radiograph with square pixels and bone bright.
Tolerates
    Any size down to one pixel: what would be a blot at that size is left out, what warns is drawn last.
Method
    The picture is brought to the wanted size first, lines are drawn after that, so that a line is one crisp
    pixel in 80x64 as well as in 800x600. A radiograph is kept in three sizes, the smallest that still has
    enough pixels is scaled. The window is DICOM's linear one (PS3.3 C.11.2.1.2.1).
Meaning
    Rows and columns are counted from the upper left corner. Meaning is carried by the style of a line or a
    fill as well as by its colour. Measurement never reads these pixels: it has the frame.
Known failures
    Scaled down, picture and lines may be half an output pixel apart.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from station.devices import CameraView
from station.positioning import Points, PositioningReport
from station.report.sheet import Outline
from station.ui.canvas import DARK, Line, Palette, Rgb, Stroke, dimmed, draw_line, draw_zone, sampled

Grey = npt.NDArray[np.uint16]

MOST_ZOOM = 32.0  # a pixel of the frame is then several millimetres on any screen; derived
LEAST_WINDOW = 16.0  # steps: below that only noise is seen; derived
MOST_WINDOW = 8192.0  # twice the 12 bits of the picture
_TWELVE_BITS = 4095
_PREVIEWED_PERCENT = (1.0, 99.8)  # of a raw frame's grey values: air to bone; derived
_MARGIN_MM = 12.0  # of table shown around the panel, so that a hand beside it is seen; derived
_LEVELS = 3  # the frame, a half, a quarter
_LEAST_LEVEL_PX = 64  # side below which halving saves nothing; derived
_LEAST_BONE_PX = 18.0  # width of a shaft below which its edges would be one blot; derived
_LEAST_NAMED_PX = 72.0  # length of a bone beside which its number still can be read; derived


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """A picture of the size asked for, where things are in it, and the same in words."""

    pixels: Rgb
    scale: float  # output pixels per mm (camera) or per frame pixel (radiograph)
    corner: tuple[float, float]  # row, column of the upper left corner, in the same unit
    words: str

    def at(self, row: float, column: float) -> tuple[float, float]:
        """Where a place (mm on the panel, or centre of a frame pixel plus a half) is, in output pixels."""
        return (row - self.corner[0]) * self.scale, (column - self.corner[1]) * self.scale


def camera(
    view: CameraView,
    size_px: tuple[int, int],
    *,
    field_mm: tuple[float, float],
    report: PositioningReport | None = None,
    earlier_mm: Points = (),
    palette: Palette = DARK,
) -> Drawing:
    """The panel as the camera sees it, with the light field, the zone, the hand and the earlier outline.

    Parameters
    ----------
    size_px : (rows, columns)
        Of the drawing.
    field_mm : (rows, columns)
        Of the light field, centred on the panel.
    earlier_mm : points
        The outline of an earlier exam, (row, column) in mm on the panel.
    """
    panel = np.asarray(view.panel_size_mm)
    scale = float((np.asarray(size_px) / (panel + 2 * _MARGIN_MM)).min())  # per mm
    corner_mm = panel / 2 - np.asarray(size_px) / scale / 2
    corner_px = corner_mm / view.mm_per_px + np.asarray(view.panel_origin_px) + 0.5
    frame = np.asarray(view.pixels, np.uint8)
    pixels = sampled(frame, corner_px, scale * view.mm_per_px, size_px, _rgb)
    pixels = dimmed(pixels, palette.light)

    def place(points: Points | Line) -> Line:
        return (np.asarray(points, np.float64).reshape(-1, 2) - corner_mm) * scale

    if report is not None and len(report.zone_mm) > 2:
        draw_zone(
            pixels, place(report.zone_mm), palette.zone_ok if report.ok else palette.zone_not, report.ok
        )
    field_at = panel / 2 + np.outer((-1, 1), np.asarray(field_mm) / 2)
    (top, left), (bottom, right) = field_at
    corners = np.array([(top, left), (top, right), (bottom, right), (bottom, left), (top, left)])
    draw_line(pixels, place(corners), palette.light_field)
    for points, stroke in (
        (earlier_mm, palette.earlier),
        (report.outline_mm if report else (), palette.hand),
    ):
        if len(points) > 1:
            draw_line(pixels, place((*points, points[0])), stroke)
    return Drawing(
        pixels, scale, (float(corner_mm[0]), float(corner_mm[1])), _camera_words(report, earlier_mm)
    )


def _camera_words(report: PositioningReport | None, earlier_mm: Points) -> str:
    if report is None:
        return "Camera view of the panel, not judged yet"
    side = f"{report.side.word} hand" if report.side else "hand" if len(report.outline_mm) else "no hand"
    state = "well positioned" if report.ok else "; ".join(found.remedy for found in report.findings)
    prior = "; the earlier exam's outline is dashed" if len(earlier_mm) else ""
    return f"Camera view of the panel: {side}, {state}{prior}"


@dataclass(frozen=True, slots=True)
class Look:
    """How a radiograph is looked at. Every change returns the same look where a limit forbids it."""

    shape: tuple[int, int]  # of the frame, px
    window_center: float
    window_width: float
    centre: tuple[float, float] | None = None  # row, column of the frame, px; None: all of it
    zoom: float = 1.0  # 1: all of it
    inverted: bool = False
    overlay: bool = True

    def zoomed(self, factor: float) -> "Look":
        """Closer (more than 1) or farther about the centre; all of it is the farthest."""
        zoom = min(max(self.zoom * factor, 1.0), MOST_ZOOM)
        if zoom == self.zoom:
            return self
        return replace(self, zoom=zoom, centre=None if zoom == 1 else self.centre).panned(0, 0)

    def panned(self, down: float, right: float) -> "Look":
        """Moved by shares of what is seen; the edge of the frame is where it ends."""
        if self.zoom <= 1:
            return self
        at = self.centre or (self.shape[0] / 2, self.shape[1] / 2)
        moved: list[float] = []
        for size, place, share in zip(self.shape, at, (down, right), strict=True):
            half = size / self.zoom / 2
            moved.append(min(max(place + share * 2 * half, half), size - half))
        centre = (moved[0], moved[1])
        return self if centre == self.centre else replace(self, centre=centre)

    def windowed(self, center: float = 0.0, width: float = 1.0) -> "Look":
        """Window moved by a share of its width, and made so many times as wide."""
        wide = min(max(self.window_width * width, LEAST_WINDOW), MOST_WINDOW)
        middle = min(max(self.window_center + center * self.window_width, 0.0), MOST_WINDOW / 2)
        return replace(self, window_center=middle, window_width=wide)

    def onto(self, outlines: Iterable[Outline], kinds: Sequence[str] = ("axis",)) -> "Look":
        """Close to outlines of these kinds; all of the frame where there are none."""
        found = [o.points_px for o in outlines if o.kind in kinds and len(o.points_px)]
        if not found:
            return replace(self, centre=None, zoom=1.0)
        low, high = np.vstack(found).min(axis=0), np.vstack(found).max(axis=0)
        needed = (high - low + 1) * 1.15 / np.asarray(self.shape)
        zoom = min(max(1 / float(needed.max()), 1.0), MOST_ZOOM)
        row, column = (low + high) / 2
        return replace(self, zoom=zoom, centre=(float(row), float(column))).panned(0, 0)


class Radiograph:
    """A picture of 12 bits in 16, kept in three sizes so that every look is quick."""

    def __init__(self, pixels: Grey, window_center: float, window_width: float) -> None:
        if pixels.ndim != 2 or pixels.dtype != np.uint16 or not pixels.size:
            raise ValueError(
                f"a radiograph is (rows, columns) of uint16, got {pixels.shape} of {pixels.dtype}; "
                "show the For Presentation picture"
            )
        self.first_look = Look((pixels.shape[0], pixels.shape[1]), window_center, window_width)
        self._levels = [pixels]
        while len(self._levels) < _LEVELS and min(self._levels[-1].shape) >= 2 * _LEAST_LEVEL_PX:
            last = self._levels[-1]
            rows, columns = (size // 2 for size in last.shape)
            even = last[: 2 * rows, : 2 * columns]
            half = cv2.resize(even, (columns, rows), interpolation=cv2.INTER_AREA)
            self._levels.append(np.asarray(half, np.uint16))

    def draw(
        self,
        look: Look,
        size_px: tuple[int, int],
        outlines: Sequence[Outline] = (),
        palette: Palette = DARK,
    ) -> Drawing:
        """The radiograph at this size (rows, columns), with outlines unless the look leaves them away."""
        shape = np.asarray(self._levels[0].shape)
        scale = float((np.asarray(size_px) / shape).min()) * look.zoom
        middle = shape / 2 if look.centre is None else np.asarray(look.centre)
        corner = middle - np.asarray(size_px) / scale / 2
        level = min(max(math.floor(-math.log2(scale)), 0), len(self._levels) - 1)

        def shown(values: npt.NDArray[np.uint16]) -> Rgb:
            grey = window(values, look.window_center, look.window_width)
            return np.asarray(
                cv2.cvtColor(255 - grey if look.inverted else grey, cv2.COLOR_GRAY2RGB), np.uint8
            )

        reduced = self._levels[level]
        pixels = sampled(reduced, corner / 2**level, scale * 2**level, size_px, shown)
        drawn: list[str] = []
        if look.overlay and outlines:
            pixels = dimmed(pixels, palette.light)
            drawn = _overlaid(pixels, outlines, corner, scale, palette)
        words = _radiograph_words(look, drawn)
        return Drawing(pixels, scale, (float(corner[0]), float(corner[1])), words)


def preview(raw: Grey) -> Radiograph:
    """A raw frame before correction and measurement, bone bright, at half its size: only to be looked at."""
    without_single_defects = cv2.medianBlur(np.ascontiguousarray(raw[::2, ::2]), 3)
    thickness = -np.log(without_single_defects.astype(np.float32) + 1)
    least, most = np.percentile(thickness[::8, ::8], _PREVIEWED_PERCENT)
    levels = (thickness - least) / max(float(most - least), 1e-6) * _TWELVE_BITS
    picture = np.clip(levels, 0, _TWELVE_BITS).astype(np.uint16)
    return Radiograph(picture, _TWELVE_BITS / 2, _TWELVE_BITS)


def _radiograph_words(look: Look, drawn: Sequence[str]) -> str:
    window_words = f"window {look.window_center:.0f}, width {look.window_width:.0f}"
    parts = ["Radiograph of the hand", f"zoom {look.zoom:.1f}", window_words]
    parts += ["inverted"] if look.inverted else []
    parts += [f"with {', '.join(drawn)}"] if drawn else ["without outlines"]
    return ", ".join(parts)


def window(values: npt.NDArray[np.uint16], center: float, width: float) -> npt.NDArray[np.uint8]:
    """DICOM's linear VOI LUT function to eight bits (PS3.3 C.11.2.1.2.1)."""
    if width <= 1:
        return np.where(values > center - 0.5, np.uint8(255), np.uint8(0))
    shares = (values.astype(np.float32) - np.float32(center - 0.5)) / np.float32(width - 1) + np.float32(0.5)
    return np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)  # its two outer branches are the clip


def _rgb(values: Rgb) -> Rgb:
    return np.asarray(cv2.cvtColor(values, cv2.COLOR_BGR2RGB), np.uint8)


def _overlaid(
    pixels: Rgb, outlines: Sequence[Outline], corner: npt.NDArray[np.float64], scale: float, palette: Palette
) -> list[str]:
    """Draw what this scale has room for, warnings last; returns the kinds that were drawn."""
    placed = [(o, (np.asarray(o.points_px, np.float64) + 0.5 - corner) * scale) for o in outlines]
    widths = [
        float(np.linalg.norm(p[1] - p[0])) for o, p in placed if o.kind in {"region", "failed"} and len(p) > 1
    ]
    fine = not widths or min(widths) >= _LEAST_BONE_PX
    drawn: list[str] = []
    for kind, stroke in palette.outlines.items():
        if not fine and kind in {"path", "endosteal", "periosteal", "narrowest"}:
            continue
        if not fine and kind in {"region", "failed"}:
            stroke = replace(stroke, gap_px=0)  # noqa: PLW2901  dashes would be longer than the shaft is wide
        for outline, points in placed:
            if outline.kind != kind or len(points) < 2:
                continue
            draw_line(pixels, points, stroke)
            if kind == "failed" and len(points) >= 4:
                draw_line(pixels, points[[0, 2]], stroke)
                draw_line(pixels, points[[1, 3]], stroke)
            if kind == "axis" and float(np.linalg.norm(points[1] - points[0])) >= _LEAST_NAMED_PX:
                _number(pixels, outline.label, points, stroke)
            if kind not in drawn:
                drawn.append(kind)
    return drawn


def _number(pixels: Rgb, label: str, points: Line, stroke: Stroke) -> None:
    """The bone's number beyond its head, where it hides nothing."""
    number = next((word for word in label.split() if word.isdigit()), "")
    row, column = points[1] + 0.1 * (points[1] - points[0])
    if not (0 <= row < pixels.shape[0] and 0 <= column < pixels.shape[1]):
        return
    size = max(min(pixels.shape[:2]) / 700, 0.4)
    for colour, thick in (((0, 0, 0), 3), (stroke.colour, 1)):
        place = (int(column), int(row))
        cv2.putText(pixels, number, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, thick, cv2.LINE_AA)
