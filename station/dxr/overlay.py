"""The picture that says why: what the analysis saw, drawn onto the radiograph, and the same as data.

Assumes
    The frame that was analysed, the result, and the trace of that analysis.
Tolerates
    Refusals at any stage: what was found up to there is drawn, with the reasons below the picture.
Method
    Nothing is searched again. In the region the silhouettes are drawn as far apart as the reported width and
    walls say, about the smoothed outer edges; elsewhere the path of the steepest slope that was followed.
Meaning
    Outlines are polylines in frame pixels (row, column), ready for a presentation state. In the picture:
    hand grey, axis blue, periosteal edge green, endosteal edge orange, followed path thin and darker, region
    yellow, narrowest place red; the region of a bone that failed a gate is red and names the gate.
Known failures
    The middle between both silhouettes is that of the followed edges: a fit that moved one edge alone is
    drawn shifted by half of that.
"""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from station.dxr.localise import attenuation
from station.dxr.trace import Trace, Traced
from station.frame import Frame
from station.result import DxrResult, Measurement, Reason, Refused

Points = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
Kind = Literal["hand", "axis", "path", "periosteal", "endosteal", "region", "narrowest", "failed"]

# Blue, green, red
_COLOURS: dict[Kind, tuple[int, int, int]] = {
    "hand": (120, 120, 120),
    "axis": (255, 160, 60),
    "path": (70, 130, 110),
    "periosteal": (80, 230, 80),
    "endosteal": (40, 150, 255),
    "region": (60, 230, 255),
    "narrowest": (60, 60, 255),
    "failed": (60, 60, 255),
}
_SMOOTH_DEGREE = 3  # of the outer edges along the region, as in the fit
_KEPT = 0.75  # of the rows, the nearest to the first smooth edge
_LONGER_SIDE_PX = 1600  # of the picture
_LEAST_WIDTH_PX = 900  # so that the text can be read
_MAX_ENLARGEMENT = 4.0
_WINDOW_PERCENT = (1.0, 99.7)
_LINE_PX = 26  # height of a line of text
_CHARACTER_PX = 10.2  # mean advance at that height
_SHIFT_BITS = 4  # cv2 draws in sixteenths of a pixel


@dataclass(frozen=True, slots=True)
class Outline:
    """One named polyline; closed ones repeat their first point."""

    label: str
    kind: Kind
    points_px: Points  # (n, 2) row, column of the frame


def outlines(trace: Trace) -> tuple[Outline, ...]:
    """What the analysis saw, as far as it came."""
    found: list[Outline] = []
    if trace.located is not None:
        hand = trace.located.to_frame_px(trace.located.hand.outline_px)
        found.append(Outline("hand", "hand", np.vstack((hand, hand[:1]))))
    for number, axis in trace.axes.items():
        found.append(Outline(f"metacarpal {number} axis", "axis", np.array([axis.base_px, axis.head_px])))
    for bone in trace.bones:
        found += (outline for outline in _bone_outlines(bone) if len(outline.points_px) > 1)
    return tuple(found)


def outlines_json(found: Sequence[Outline]) -> list[dict[str, Any]]:
    """The outlines as JSON types, to a hundredth of a pixel."""
    return [{"label": o.label, "kind": o.kind, "points_px": np.round(o.points_px, 2).tolist()} for o in found]


def _bone_outlines(bone: Traced) -> Iterator[Outline]:
    name, walls, strip = f"metacarpal {bone.number}", bone.walls, bone.walls.strip
    s = strip.along_px
    start, end = bone.profile.roi_px
    for surface, sides in (("periosteal", walls.outer), ("endosteal", walls.inner)):
        for edge in sides:
            for part, rows in (("below", s <= start), ("above", s >= end)):
                yield Outline(f"{name} {surface} path {part}", "path", strip.to_frame_px(s[rows], edge[rows]))
    inside = (s >= start) & (s <= end)
    if inside.any():
        at = np.concatenate(([start], s[inside], [end]))
        edges = _silhouettes(bone, inside, at)
        kinds: tuple[Kind, ...] = ("periosteal", "endosteal", "endosteal", "periosteal")
        for kind, edge in zip(kinds, edges, strict=True):
            yield Outline(f"{name} {kind}", kind, strip.to_frame_px(at, edge))
        centre = bone.profile.narrowest_px
        ends = [float(np.interp(centre, at, edge)) for edge in (edges[0], edges[3])]
        yield Outline(f"{name} narrowest", "narrowest", strip.to_frame_px([centre, centre], ends))
    half = bone.profile.w_px / 2
    corners = strip.to_frame_px([start, start, end, end, start], [-half, half, half, -half, -half])
    if bone.reason is None:
        yield Outline(f"{name} region", "region", corners)
    else:
        yield Outline(f"{name} {bone.reason.id}", "failed", corners)


def _silhouettes(bone: Traced, inside: Bools, at_px: Points) -> tuple[Points, Points, Points, Points]:
    """Offsets of the four edges: as wide and thick as measured, shaped like the smoothed outer edges."""
    s, profile = bone.walls.strip.along_px[inside], bone.profile
    low, high = (_smooth(s, edge[inside], at_px) for edge in bone.walls.outer)
    wider = (profile.w_px - float((high - low).mean())) / 2
    low, high = low - wider, high + wider
    return low, low + profile.walls_px[0], high - profile.walls_px[1], high


def _smooth(s: Points, edge: Points, at_px: Points) -> Points:
    """The edge as a polynomial, without the rows where its path left the bone."""
    start, length, degree = s[0], max(float(np.ptp(s)), 1.0), min(_SMOOTH_DEGREE, len(s) // 4)
    along = (s - start) / length
    away = np.abs(np.polyval(np.polyfit(along, edge, degree), along) - edge)
    near = away <= np.quantile(away, _KEPT)
    return np.polyval(np.polyfit(along[near], edge[near], degree), (at_px - start) / length)


def draw(frame: Frame, result: DxrResult | Refused, found: Sequence[Outline] = ()) -> Picture:
    """Radiograph with outlines, bone names, and the result or its refusal as text below.

    Returns
    -------
    (rows, columns, 3) uint8
        Blue, green, red; the longer side of the radiograph has at most 1600 pixels.
    """
    scale = min(_LONGER_SIDE_PX / max(frame.shape), _MAX_ENLARGEMENT)
    picture = np.asarray(cv2.cvtColor(_window(frame, scale), cv2.COLOR_GRAY2BGR), np.uint8)
    for outline in found:
        points = (outline.points_px[:, ::-1] + 0.5) * scale - 0.5
        fixed = np.rint(points * 2**_SHIFT_BITS).astype(np.int32)
        thick = 2 if outline.kind in {"narrowest", "failed"} else 1
        cv2.polylines(picture, [fixed], False, _COLOURS[outline.kind], thick, cv2.LINE_AA, shift=_SHIFT_BITS)
        if outline.kind == "axis":
            _name(picture, outline.label, points)
        if outline.kind == "failed":
            _write(picture, outline.label.split()[-1], points.max(axis=0), "failed", 0.6)
    missing = max(_LEAST_WIDTH_PX - picture.shape[1], 0)
    wide = np.pad(picture, ((0, 0), (0, missing), (0, 0)))
    return np.vstack((wide, _text(_lines(result), wide.shape[1])))


def _window(frame: Frame, scale: float) -> Picture:
    """The frame in eight bits, bone bright, at the picture's size."""
    rows, columns = (max(round(size * scale), 1) for size in frame.shape)
    pixels = np.abs(frame.pixels) if frame.pixels.dtype.kind == "c" else frame.pixels
    if pixels.dtype.str[1:] not in {"u1", "u2", "f4"}:
        pixels = pixels.astype(np.float32)
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    values = attenuation(cv2.resize(pixels, (columns, rows), interpolation=method), frame.signal)
    values = np.where(np.isfinite(values), values, np.float32(0))
    low, high = np.percentile(values, _WINDOW_PERCENT)
    grey = (values - low) * (255 / max(float(high - low), 1e-6))
    return np.clip(grey, 0, 255).astype(np.uint8)  # a display window, no measurement


def _name(picture: Picture, label: str, points: Points) -> None:
    """A bone's number beyond its head."""
    head = points[1] + 0.12 * (points[1] - points[0])
    _write(picture, label.split()[1], head + np.array([-8.0, 8.0]), "region", 0.9)


def _write(picture: Picture, text: str, where: Points, kind: Kind, size: float) -> None:
    """Text that is read on bone and on background."""
    place = (int(where[0]), int(where[1]))
    for colour, thick in (((0, 0, 0), 4), (_COLOURS[kind], 1 if size < 0.8 else 2)):
        cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, thick, cv2.LINE_AA)


def _lines(result: DxrResult | Refused) -> list[tuple[str, Kind]]:
    if isinstance(result, Refused):
        return [("REFUSED", "narrowest"), *((_sentence(reason), "narrowest") for reason in result.reasons)]
    lines: list[tuple[str, Kind]] = [
        (f"MEASURED  side {result.side}  scale {result.scale}  {result.algorithm}", "periosteal")
    ]
    if result.bmd_g_cm2 is not None:
        constant = f"constant {result.bmd_status}"
        lines.append((f"DXR-BMD estimate {_number(result.bmd_g_cm2)} g/cm2 ({constant})", "periosteal"))
    lines.append((f"MCI (2T/W) {_number(result.mci)}", "periosteal"))
    for bone in result.bones:
        parts = [f"metacarpal {bone.number}: MCI {_number(bone.mci)}"]
        parts += [f"{s} {_number(v)} mm" for s, v in (("T", bone.t_mm), ("W", bone.w_mm)) if v is not None]
        lines.append((", ".join((*parts, f"{bone.valid_fraction:.0%} valid")), "periosteal"))
    return lines + [(_sentence(note), "endosteal") for note in result.notes]


def _number(value: Measurement) -> str:
    return f"{value.value:.3f} +- {value.u95:.3f}"


def _sentence(reason: Reason) -> str:
    limit = "" if reason.value is None else f" [{reason.value:.3g}"
    limit += "" if reason.limit is None or not limit else f", limit {reason.limit:.3g}"
    return f"{reason.id}: {reason.message}{limit}{']' if limit else ''} > {reason.remedy}"


def _text(lines: list[tuple[str, Kind]], width_px: int) -> Picture:
    """White space below the picture with the lines, wrapped; the font knows ASCII only."""
    columns = int((width_px - 20) / _CHARACTER_PX)
    wrapped: list[tuple[str, Kind]] = [
        (part, kind)
        for text, kind in lines
        for part in textwrap.wrap(text.encode("ascii", "replace").decode(), columns, subsequent_indent="    ")
    ]
    panel = np.zeros((_LINE_PX * (len(wrapped) + 1), width_px, 3), np.uint8)
    for row, (text, kind) in enumerate(wrapped, 1):
        colour = _COLOURS[kind]
        cv2.putText(panel, text, (10, _LINE_PX * row), cv2.FONT_HERSHEY_SIMPLEX, 0.6, colour, 1, cv2.LINE_AA)
    return panel
