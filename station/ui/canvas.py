"""What drawings are made of: an image brought to a size, lines of a style, and the colours of a theme.

Everything is in output pixels, counted from the upper left corner of the drawing as edges: the centre of the
first pixel is at a half. The style of a line or a fill says what it means, its colour says it again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]  # (rows, columns, 3)
Line = npt.NDArray[np.float64]  # (n, 2) row, column
Colour = tuple[int, int, int]  # red, green, blue

_NEAREST_ABOVE = 2.0  # output pixels per frame pixel, from there on pixels are shown as they are
_SMOOTH_FROM_PX = 300  # rows from which lines are smoothed, below they would fade; derived
_PX_PER_THICKNESS = 400  # shorter side of a picture per pixel of a line's thickness; derived
_FILL = 0.35  # share of colour in a translucent zone
_HATCH_PX = 4  # from line to line
_SHIFT_BITS = 4  # cv2 draws in sixteenths of a pixel
_FARTHEST_PX = 30_000.0  # beyond any screen, within cv2's integers


@dataclass(frozen=True, slots=True)
class Stroke:
    """How a line looks: dash and gap in output pixels (no gap: solid), thickness in steps."""

    colour: Colour
    dash_px: int = 1
    gap_px: int = 0
    thick: int = 1


@dataclass(frozen=True, slots=True)
class Palette:
    """Named strokes of one theme; `light` is how bright the picture below the lines is shown."""

    light_field: Stroke
    zone_ok: Stroke
    zone_not: Stroke
    hand: Stroke
    earlier: Stroke
    outlines: Mapping[str, Stroke]  # by kind, in the order in which they are drawn
    light: float = 1.0


def _palette(colours: Mapping[str, Colour], light: float) -> Palette:
    """The same styles in other colours: who knows one theme reads them all."""
    c = colours
    return Palette(
        light_field=Stroke(c["field"]),
        zone_ok=Stroke(c["good"]),
        zone_not=Stroke(c["bad"], 2, 2),
        hand=Stroke(c["hand"]),
        earlier=Stroke(c["earlier"], 3, 3),
        outlines={
            "path": Stroke(c["path"], 1, 2),
            "hand": Stroke(c["path"], 1, 3),
            "region": Stroke(c["field"], 4, 2),
            "endosteal": Stroke(c["inner"], 2, 1),
            "periosteal": Stroke(c["good"]),
            "axis": Stroke(c["axis"], 6, 3),
            "narrowest": Stroke(c["bad"], thick=2),
            "failed": Stroke(c["bad"], 3, 2, thick=2),
        },
        light=light,
    )


DARK = _palette(
    {
        "field": (255, 230, 60),
        "good": (80, 230, 80),
        "bad": (255, 70, 60),
        "hand": (70, 210, 255),
        "earlier": (240, 130, 255),
        "path": (110, 150, 130),
        "inner": (255, 150, 40),
        "axis": (90, 170, 255),
    },
    light=1.0,
)
HIGH_CONTRAST = _palette(
    {
        "field": (255, 255, 0),
        "good": (0, 255, 0),
        "bad": (255, 80, 80),
        "hand": (0, 255, 255),
        "earlier": (255, 140, 255),
        "path": (190, 190, 190),
        "inner": (255, 170, 0),
        "axis": (120, 190, 255),
    },
    light=0.75,
)
MONOCHROME = _palette(
    dict.fromkeys(("field", "good", "bad", "hand", "path", "inner", "axis"), (255, 255, 255))
    | {"earlier": (160, 160, 160)},
    light=0.6,
)


def dimmed(pixels: Rgb, light: float) -> Rgb:
    """The picture darker, so that lines stand out."""
    return pixels if light >= 1 else np.asarray(cv2.convertScaleAbs(pixels, alpha=light), np.uint8)


def sampled(
    image: npt.NDArray[Any],
    corner: npt.NDArray[np.float64],
    scale: float,
    size_px: tuple[int, int],
    shown: Callable[[npt.NDArray[Any]], Rgb],
) -> Rgb:
    """The part of an image from `corner` on at this scale; black where the image has ended."""
    canvas = np.zeros((*size_px, 3), np.uint8)
    if scale >= 1:
        first = np.clip(np.ceil(-corner * scale), 0, size_px).astype(int)
        end = np.clip(np.floor((np.asarray(image.shape[:2]) - corner) * scale), first, size_px).astype(int)
        if (end <= first).any():
            return canvas
        shift = (first + 0.5) / scale + corner - 0.5
        inverse = np.array([[1 / scale, 0, shift[1]], [0, 1 / scale, shift[0]]])
        how = cv2.INTER_NEAREST if scale > _NEAREST_ABOVE else cv2.INTER_LINEAR
        rows, columns = end - first
        piece = cv2.warpAffine(
            image,
            inverse,
            (int(columns), int(rows)),
            flags=how | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    else:
        begin = np.clip(np.floor(corner), 0, image.shape[:2]).astype(int)
        stop = np.clip(np.ceil(corner + np.asarray(size_px) / scale), begin, image.shape[:2]).astype(int)
        if (stop <= begin).any():
            return canvas
        first = np.clip(np.rint((begin - corner) * scale), 0, np.asarray(size_px) - 1).astype(int)
        end = np.clip(np.rint((stop - corner) * scale), first + 1, size_px).astype(int)
        part = image[begin[0] : stop[0], begin[1] : stop[1]]
        piece = cv2.resize(part, tuple((end - first)[::-1].tolist()), interpolation=cv2.INTER_AREA)
    canvas[first[0] : end[0], first[1] : end[1]] = shown(piece)
    return canvas


def draw_zone(pixels: Rgb, points: Line, stroke: Stroke, ok: bool) -> None:
    """A translucent fill where all is well, hatched where it is not."""
    mask = np.zeros(pixels.shape[:2], np.uint8)
    hull = cv2.convexHull(_fixed(points))
    cv2.fillConvexPoly(mask, hull, 255, cv2.LINE_8, _SHIFT_BITS)
    if not ok:
        step = _HATCH_PX * _thickness(pixels)
        diagonal = np.arange(pixels.shape[0])[:, None] + np.arange(pixels.shape[1])
        mask[diagonal % step >= step // 2] = 0
    inside = mask > 0
    mixed = pixels[inside] * (1 - _FILL) + np.array(stroke.colour) * _FILL
    pixels[inside] = np.rint(mixed).astype(np.uint8)
    corners = hull.reshape(-1, 2)[:, ::-1] / 2**_SHIFT_BITS + 0.5
    draw_line(pixels, np.vstack((corners, corners[:1])), stroke)


def _thickness(pixels: Rgb) -> int:
    return max(round(min(pixels.shape[:2]) / _PX_PER_THICKNESS), 1)


def _fixed(points: Line) -> npt.NDArray[np.int32]:
    """Points (edges count from 0) as cv2 counts them: column first, centres at whole numbers."""
    near = np.clip(points[:, ::-1] - 0.5, -_FARTHEST_PX, _FARTHEST_PX)
    return np.rint(near * 2**_SHIFT_BITS).astype(np.int32)


def draw_line(pixels: Rgb, points: Line, stroke: Stroke) -> None:
    """One polyline, on a dark seam where there is room for one."""
    unit = _thickness(pixels)
    smooth = pixels.shape[0] >= _SMOOTH_FROM_PX
    kind = cv2.LINE_AA if smooth else cv2.LINE_8
    thick = unit * stroke.thick if smooth else 1
    lines = [_fixed(points)]
    if stroke.gap_px:
        lines = _dashes(points, stroke.dash_px * unit, stroke.gap_px * unit, pixels.shape[:2])
    if smooth and stroke.dash_px >= stroke.gap_px:
        cv2.polylines(pixels, lines, False, (0, 0, 0), thick + 2, kind, _SHIFT_BITS)
    cv2.polylines(pixels, lines, False, stroke.colour, thick, kind, _SHIFT_BITS)


def _dashes(points: Line, dash_px: int, gap_px: int, size_px: tuple[int, ...]) -> list[npt.NDArray[np.int32]]:
    """The dashes of a polyline that are on the picture."""
    steps = np.diff(points, axis=0)
    along = np.concatenate(([0.0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))))
    if not 0 < along[-1] < _FARTHEST_PX:
        return [_fixed(points)]
    at = np.arange(0.0, along[-1] + 0.5)
    fine = np.column_stack([np.interp(at, along, points[:, axis]) for axis in (0, 1)])
    number, within = np.divmod(at, dash_px + gap_px)
    beyond = ((fine < -dash_px) | (fine > np.asarray(size_px) + dash_px)).any(axis=1)
    kept = (within < dash_px) & ~beyond
    cuts = np.flatnonzero(np.diff(number[kept])) + 1
    fixed = _fixed(fine[kept])
    ends = [0, *cuts.tolist(), len(fixed)]
    return [fixed[a:b] for a, b in pairwise(ends) if b > a]
