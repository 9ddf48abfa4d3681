"""The picture that says why: what the analysis saw, drawn onto the radiograph, and the same as data.

Assumes
    The frame that was analysed and the result of that analysis.
Tolerates
    Refusals at any stage: what was found up to there is drawn, with the reasons below the picture.
Method
    The search is repeated with the functions of the analysis, which gives the same axes and edges again; the
    regions come from the result. Nothing here changes or adds a number.
Meaning
    Outlines are polylines in frame pixels (row, column), ready for a presentation state. In the picture:
    hand grey, axis blue, periosteal edge green, endosteal edge orange, region yellow, narrowest place red.
Known failures
    If the analysis places its edges by other means than `edges.find_walls`, these are not its edges.
"""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from station.dxr.axes import find_axes
from station.dxr.edges import Axis, Walls, find_walls
from station.dxr.localise import Located, attenuation, locate
from station.frame import Frame
from station.result import Bone, DxrResult, Measurement, Reason, Refused

Points = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]
Kind = Literal["hand", "axis", "periosteal", "endosteal", "region", "narrowest"]

# Blue, green, red
_COLOURS: dict[Kind, tuple[int, int, int]] = {
    "hand": (120, 120, 120),
    "axis": (255, 160, 60),
    "periosteal": (80, 230, 80),
    "endosteal": (40, 150, 255),
    "region": (60, 230, 255),
    "narrowest": (60, 60, 255),
}
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


def outlines(frame: Frame, result: DxrResult | Refused) -> tuple[Outline, ...]:
    """What the analysis saw in this frame, as far as it came."""
    located = locate(frame)
    if isinstance(located, Reason):
        return ()
    hand = located.to_frame_px(located.hand.outline_px)
    found = [Outline("hand", "hand", np.vstack((hand, hand[:1])))]
    bones = {bone.number: bone for bone in result.bones} if isinstance(result, DxrResult) else {}
    for number, axis in _axes(frame, located).items():
        found += _bone_outlines(number, axis, find_walls(frame, axis), bones.get(number))
    return tuple(found)


def _axes(frame: Frame, located: Located) -> dict[int, Axis]:
    axes = find_axes(frame, located)
    return {} if isinstance(axes, Reason) else axes


def _bone_outlines(number: int, axis: Axis, walls: Walls, bone: Bone | None) -> Iterator[Outline]:
    name, strip = f"metacarpal {number}", walls.strip
    yield Outline(f"{name} axis", "axis", np.array([axis.base_px, axis.head_px]))
    kinds: tuple[tuple[Kind, tuple[Points, Points]], ...] = (
        ("periosteal", walls.outer),
        ("endosteal", walls.inner),
    )
    for kind, sides in kinds:
        for side in sides:
            yield Outline(f"{name} {kind}", kind, strip.to_frame_px(strip.along_px, side))
    if bone is None:
        return
    corners = np.array(bone.roi_px)
    yield Outline(f"{name} region", "region", np.vstack((corners, corners[:1])))
    # the region is centred on the narrowest place
    centre = float((corners.mean(axis=0) - strip.origin_px) @ strip.along)
    ends = [float(np.interp(centre, strip.along_px, side)) for side in walls.outer]
    yield Outline(f"{name} narrowest", "narrowest", strip.to_frame_px([centre, centre], ends))


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
        thick = 2 if outline.kind == "narrowest" else 1
        cv2.polylines(picture, [fixed], False, _COLOURS[outline.kind], thick, cv2.LINE_AA, shift=_SHIFT_BITS)
        if outline.kind == "axis":
            _name(picture, outline.label, points)
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
    where = (int(head[0]) - 8, int(head[1]) + 8)
    for colour, thick in (((0, 0, 0), 5), (_COLOURS["region"], 2)):
        number = label.split()[1]
        cv2.putText(picture, number, where, cv2.FONT_HERSHEY_SIMPLEX, 0.9, colour, thick, cv2.LINE_AA)


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
