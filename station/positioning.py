"""Positioning check: is this hand ready to be exposed, and if not, what must be done.

Seen from above (from the tube) the picture's bottom is the patient's side: the forearm enters there, the
fingers point up. Instructions are spoken to the person whose hand it is: "towards you" is down in the
picture, "away from you" is up, left and right are the picture's. A positive angle is clockwise as displayed.

Assumes: a rectified view of the panel, palm down; bare skin on a neutral (black, grey, white) panel; the
    light field centred on the panel. Palm up cannot be told from the other hand palm down: the operator
    confirms it. Millimetres are those of the panel plane; a hand a few cm high looks up to 3 % larger.
Tolerates: light or dark skin, ambient light and a field lamp of different colour, noise, the field's edge
    across the hand, the forearm leaving the picture on any side.
Method: redness (R - B) / (R + G + B) above the background of its own zone (inside or outside the light
    field), smoothed; Otsu's threshold kept within bounds; the outline's geometry is that of
    station.dxr.hand, the same as for the radiograph. Stillness is how long every earlier outline has stayed
    within the limit of the newest one, all but 2 % of its length.
Meaning: a finding is something to change before exposing. Their absence permits nothing by itself, it is one
    fact among those of readiness. What was not seen is a finding, never a pass.
Known failures: gloves, long sleeves over the palm and a skin-coloured table beside the panel; a moving
    finger seen end on; movement along the outline only. Bright skin on a dark panel gains up to 0.6 mm.
"""

import math
import zlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from station.devices import CameraView
from station.dxr.hand import Hand, find_hand
from station.exam import Side
from station.protocols import Protocol
from station.result import Reason

STALE_S = 0.5  # older is no picture, and a longer gap breaks stillness; derived: 5 frames of a 10 Hz camera
_MOVED_SHARE = 0.02  # of the outline: a fingertip's movement counts, a speck's does not; derived
_REDNESS_RANGE = (0.035, 0.12)  # bounds of the threshold above background; derived: pale skin has 0.08
_BLACK = 12.0  # grey levels added to the sum so that a black panel's noise stays grey; derived
_REDNESS_STEPS = 1000.0  # redness per grey level of the 8 bit image Otsu's method works on
_SHAPE_MM_PER_PX = 1.5  # a tenth of a finger's width; derived
_SPECK_MM = 3.0  # smaller than any finger; derived
_SLIDE_STEP_MM = 5  # what a person can do by eye: advice is rounded up to it; derived
_JITTER_MM = 2.0  # the zone of a hand laid down anew differs by so much; derived from drawn hands
_OUTLINE_STEP_MM = 0.8  # the UI's outline deviates no more than that; derived
_HALF_FINGER_MM = 8.0  # half the width of a finger, from its axis to the bone's far side; memory
_WEB_TO_HEAD = 0.2  # palm radii; the joints lie about 20 mm below the webs, memory; half of it is used
_WRIST_REACH = 1.0  # metacarpal bases lie within one palm radius of the palm's centre; derived from phantoms
_WRIST_WIDTH = 0.6  # and within that part of it beside the axis; derived from phantoms

Points = tuple[tuple[float, float], ...]

CHECKLIST: tuple[tuple[str, str], ...] = (
    ("patient", "This is the patient of the order"),
    ("side", "The hand on the panel is the side that was ordered"),
    ("palm-down", "One hand only, palm flat down, no jewellery or dressing over the metacarpals"),
    ("straight", "Fingers straight and slightly spread, pointing away from the patient"),
    ("inside-field", "Knuckles and wrist are inside the light field"),
    ("still", "The hand rests and holds still"),
)


@dataclass(frozen=True, slots=True)
class PositioningReport:
    """What was seen of the hand at one moment, or confirmed by the operator.

    Points are (row, column) in mm from the panel's top left corner.
    """

    at: float  # clock time, s
    findings: tuple[Reason, ...]  # empty: well positioned
    side: Side | None = None
    rotation_deg: float | None = None  # of the hand from straight up, clockwise positive
    spread_deg: float | None = None  # between index and little finger
    still_s: float = 0.0
    outline_mm: Points = ()
    zone_mm: Points = ()  # where metacarpals 2-4 are expected
    confirmed_by: str | None = None  # the operator, where there is no camera

    @property
    def ok(self) -> bool:
        """Nothing is left to change."""
        return not self.findings


@dataclass(frozen=True, slots=True)
class Seen:
    """An earlier outline, (n, 2) row and column in mm on the panel."""

    at: float
    digest: int  # of the picture
    outline_mm: npt.NDArray[np.float32]


class Watch:
    """Looks at view after view and remembers just enough to know how long the hand has been still."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol
        self._past: tuple[Seen, ...] = ()

    def see(self, view: CameraView | None, expected_side: Side, now: float) -> PositioningReport:
        """Judge the newest view; the same view may be shown again."""
        report, self._past = judge(view, self._past, expected_side, now, self._protocol)
        return report


def confirmed(items: Collection[str], by: str, at: float) -> PositioningReport:
    """The operator's word where there is no camera; every item left out is a finding.

    Raises
    ------
    ValueError
        Nobody signs, or an item is not on the list.
    """
    known = dict(CHECKLIST)
    if not by.strip():
        raise ValueError("the positioning checklist needs the name of the person who confirms it")
    if unknown := set(items) - set(known):
        names = ", ".join(sorted(unknown))
        raise ValueError(f"{names} is not on the positioning checklist: {', '.join(known)}")
    missing = tuple(
        Reason(f"not-confirmed-{item}", f"Not confirmed: {text}", "Check it at the panel and confirm it")
        for item, text in CHECKLIST
        if item not in items
    )
    return PositioningReport(at, missing, confirmed_by=by.strip())


def judge(
    view: CameraView | None, past: tuple[Seen, ...], expected_side: Side, now: float, protocol: Protocol
) -> tuple[PositioningReport, tuple[Seen, ...]]:
    """Judge one view in the light of earlier ones.

    Parameters
    ----------
    view : CameraView or None
        The newest picture, None if there is none yet.
    past : tuple of Seen
        What the previous call returned; empty at first.
    expected_side : Side
        The side ordered.
    now : float
        Time in s, of the clock that stamps the views.
    protocol : Protocol
        Its positioning limits and light field.

    Returns
    -------
    PositioningReport, tuple of Seen
        The report, and what to pass as `past` next time.
    """
    if view is None:
        return PositioningReport(now, (_no_picture(None),)), past
    digest = zlib.crc32(view.pixels.tobytes())
    view = replace(view, at=_taken_at(view, digest, past))
    if abs(now - view.at) > STALE_S:
        return PositioningReport(now, (_no_picture(now - view.at),)), past
    mask = segment(view, protocol.geometry.field_mm)
    hand, coarse = _shape(mask, view)
    if isinstance(hand, Reason):
        return PositioningReport(view.at, (_advice(hand),)), ()
    past = (*(s for s in past if s.at < view.at), Seen(view.at, digest, _outline_mm(mask, view)))
    still_s = _still_s(past, view, protocol.positioning.still_limit_mm)
    report = _report(hand, past[-1], still_s, expected_side, protocol, coarse)
    return report, tuple(s for s in past if s.at >= view.at - protocol.positioning.still_s - STALE_S)


def _report(
    hand: Hand, seen: Seen, still_s: float, expected_side: Side, protocol: Protocol, view: CameraView
) -> PositioningReport:
    limits, zone, spread = protocol.positioning, _zone_mm(hand, view), _spread_deg(hand)
    findings = (
        _side_finding(hand.side, expected_side),
        _rotation_finding(hand.pointing_deg, limits.rotation_limit_deg),
        _spread_finding(spread, limits.finger_spread_deg),
        _field_finding(zone, view, protocol),
        _still_finding(still_s, limits.still_s),
    )
    return PositioningReport(
        at=seen.at,
        findings=tuple(f for f in findings if f is not None),
        side=hand.side,
        rotation_deg=hand.pointing_deg,
        spread_deg=spread,
        still_s=still_s,
        outline_mm=_points(cv2.approxPolyDP(seen.outline_mm, _OUTLINE_STEP_MM, closed=True)),
        zone_mm=_points(zone),
    )


def _taken_at(view: CameraView, digest: int, past: tuple[Seen, ...]) -> float:
    """A camera always has noise: a picture equal to the last bit is the old one, whatever its time stamp."""
    return past[-1].at if past and past[-1].digest == digest else view.at


def segment(view: CameraView, field_mm: tuple[float, float]) -> npt.NDArray[np.bool_]:
    """Skin against a neutral panel.

    Parameters
    ----------
    view : CameraView
        (rows, columns, 3) BGR, 8 bit.
    field_mm : tuple of float
        Light field (rows, columns) in mm, centred on the panel: its lamp may differ in colour from the room.

    Returns
    -------
    ndarray of bool, (rows, columns)
        Empty (all False) where nothing is redder than its surroundings.
    """
    smooth = cv2.GaussianBlur(view.pixels, (0, 0), max(0.6 / view.mm_per_px, 0.6))
    blue, green, red = (channel.astype(np.float32) for channel in cv2.split(smooth))
    redness = np.asarray((red - blue) / (red + green + blue + np.float32(_BLACK)), np.float32)
    inside = _light_field(view, field_mm)
    redness -= np.where(inside, _background(redness, inside), _background(redness, ~inside))
    levels = cv2.convertScaleAbs(np.maximum(redness, 0), alpha=_REDNESS_STEPS)
    otsu, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    low, high = (bound * _REDNESS_STEPS for bound in _REDNESS_RANGE)
    mask = (levels > min(max(otsu, low), high)).astype(np.uint8)
    size = max(3, 2 * round(_SPECK_MM / view.mm_per_px / 2) + 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel).astype(np.bool_)


def _light_field(view: CameraView, field_mm: tuple[float, float]) -> npt.NDArray[np.bool_]:
    """Where the light field should be in the picture."""
    half = np.asarray(field_mm) / 2 / view.mm_per_px
    centre = np.asarray(view.panel_origin_px) + np.asarray(view.panel_size_mm) / 2 / view.mm_per_px
    top, left = np.rint(np.maximum(centre - half, 0)).astype(int)
    bottom, right = np.rint(np.maximum(centre + half, 0)).astype(int)
    inside = np.zeros(view.pixels.shape[:2], np.bool_)
    inside[top:bottom, left:right] = True
    return inside


def _background(redness: npt.NDArray[np.float32], zone: npt.NDArray[np.bool_]) -> np.float32:
    """Redness of what is not hand: the zone's lower quartile, as a hand covers less than three quarters."""
    sample = redness[::4, ::4][zone[::4, ::4]]
    return np.float32(np.percentile(sample, 25)) if sample.size else np.float32(0)


def _shape(mask: npt.NDArray[np.bool_], view: CameraView) -> tuple[Hand | Reason, CameraView]:
    """The hand on a grid just fine enough for fingers, and the view with that grid's geometry."""
    step = max(int(_SHAPE_MM_PER_PX / view.mm_per_px), 1)
    row, column = view.panel_origin_px
    coarse = replace(view, mm_per_px=view.mm_per_px * step, panel_origin_px=(row / step, column / step))
    return find_hand(mask[::step, ::step]), coarse


def _outline_mm(mask: npt.NDArray[np.bool_], view: CameraView) -> npt.NDArray[np.float32]:
    """Outline of the largest object at full resolution, as stillness is finer than shape; (n, 2)."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return _to_mm(max(contours, key=cv2.contourArea)[:, 0, ::-1], view)


def _to_mm(points_px: npt.ArrayLike, view: CameraView) -> npt.NDArray[np.float32]:
    points = np.asarray(points_px, np.float32) - np.asarray(view.panel_origin_px, np.float32)
    return points * np.float32(view.mm_per_px)


def _points(points_mm: npt.NDArray[Any]) -> Points:
    return tuple((float(row), float(column)) for row, column in points_mm.reshape(-1, 2))


def _still_s(seen: tuple[Seen, ...], view: CameraView, limit_mm: float) -> float:
    """For how long, without a gap, every outline lies within the limit of the newest."""
    newest = seen[-1]
    canvas = np.full(view.pixels.shape[:2], 255, np.uint8)
    cv2.polylines(canvas, [_to_px(newest, view)[:, ::-1]], isClosed=True, color=0)
    distance_px = cv2.distanceTransform(canvas, cv2.DIST_L2, 5)
    since = newest.at
    for earlier in reversed(seen[:-1]):
        rows, columns = _to_px(earlier, view).T
        moved = np.count_nonzero(distance_px[rows, columns] > limit_mm / view.mm_per_px)
        if since - earlier.at > STALE_S or moved > _MOVED_SHARE * len(rows):
            break
        since = earlier.at
    return newest.at - since


def _to_px(seen: Seen, view: CameraView) -> npt.NDArray[np.int32]:
    points = np.rint(seen.outline_mm / view.mm_per_px + np.asarray(view.panel_origin_px)).astype(np.int32)
    rows, columns = view.pixels.shape[:2]
    return np.clip(points, 0, (rows - 1, columns - 1)).astype(np.int32)


def _zone_mm(hand: Hand, view: CameraView) -> npt.NDArray[np.float32]:
    """Where metacarpals 2-4 are: from the bases of their fingers to the wrist side of the palm, (n, 2)."""
    angle = np.deg2rad(hand.pointing_deg)
    up, across = np.array((-np.cos(angle), np.sin(angle))), np.array((np.sin(angle), np.cos(angle)))
    palm, radius = np.asarray(hand.palm_px), hand.palm_radius_px
    beside = _WRIST_WIDTH * radius * across
    wrist = palm - _WRIST_REACH * radius * up
    bases = [palm + radius * up - beside, palm + radius * up + beside]
    if {2, 3, 4} <= hand.fingers.keys():
        bases = [np.asarray(hand.fingers[n].base_px) - _WEB_TO_HEAD * radius * up for n in (2, 3, 4)]
    half = _HALF_FINGER_MM / view.mm_per_px * across
    corners = [wrist - beside, wrist + beside, *(b - half for b in bases), *(b + half for b in bases)]
    return cv2.convexHull(_to_mm(corners, view)).reshape(-1, 2).astype(np.float32)


def _spread_deg(hand: Hand) -> float | None:
    """Angle between the axes of index and little finger, None unless both stand apart."""
    ends = [
        (f.base_px, f.tip_px) for n, f in hand.fingers.items() if n in (2, 5) and _inside(f.base_px, hand)
    ]
    if len(ends) < 2:
        return None
    index, little = (np.arctan2(tip[1] - base[1], base[0] - tip[0]) for base, tip in ends)
    return float(abs((np.rad2deg(index - little) + 180) % 360 - 180))


def _inside(point_px: tuple[float, float], hand: Hand) -> bool:
    """The axis of a finger pressed to its neighbour is a guess that may run beside the hand."""
    row, column = (round(v) for v in point_px)
    rows, columns = hand.mask.shape
    return 0 <= row < rows and 0 <= column < columns and bool(hand.mask[row, column])


def _no_picture(age_s: float | None) -> Reason:
    what = "has sent no picture yet" if age_s is None else f"sent its last picture {abs(age_s):.1f} s ago"
    remedy = "Check the camera and its cable; a room file without a camera asks for the checklist instead"
    return Reason("camera-no-picture", f"The positioning camera {what}", remedy, age_s, STALE_S)


def _advice(found: Reason) -> Reason:
    """The outline's refusal, with what to do at the panel."""
    remedy = {
        "no-hand": "Lay the hand on the panel, palm down, fingers away from you",
        "two-hands": "Take the other hand away; one hand only lies on the panel",
    }.get(found.id, "Lay the hand flat, palm down, fingers straight and slightly spread")
    return Reason(found.id, found.message, remedy, found.value, found.limit)


def _side_finding(side: Side | None, expected: Side) -> Reason | None:
    if side is expected:
        return None
    if side is None:
        message = "The thumb cannot be told from the fingers"
        return Reason("side-undecided", message, "Spread the thumb away from the index finger")
    message = f"The {side.word} hand (or a hand palm up) is on the panel, the {expected.word} one is ordered"
    return Reason("wrong-side", message, f"Place the {expected.word.upper()} hand, palm down")


def _rotation_finding(rotation_deg: float, limit_deg: float) -> Reason | None:
    if abs(rotation_deg) <= limit_deg:
        return None
    back, leans = ("counter-clockwise", "right") if rotation_deg > 0 else ("clockwise", "left")
    degrees = math.ceil(abs(rotation_deg))
    message = f"The hand points {degrees}° to the {leans}, allowed is {limit_deg:g}°"
    remedy = f"Turn the hand {degrees} degrees {back}"
    return Reason("hand-rotated", message, remedy, rotation_deg, limit_deg)


def _spread_finding(spread_deg: float | None, allowed_deg: tuple[float, float]) -> Reason | None:
    low, high = allowed_deg
    if spread_deg is not None and low <= spread_deg <= high:
        return None
    angle = f"Index and little finger are {spread_deg or 0:.0f}° apart, allowed is {low:g}° to {high:g}°"
    if spread_deg is not None and spread_deg > high:
        return Reason("fingers-too-wide", angle, "Relax the fingers, closer together", spread_deg, high)
    message = "The fingers cannot be told apart" if spread_deg is None else angle
    return Reason("fingers-together", message, "Spread the fingers a little", spread_deg, low)


def _field_finding(zone_mm: npt.NDArray[np.float32], view: CameraView, protocol: Protocol) -> Reason | None:
    """How far, and which way, the hand must slide for metacarpals 2-4 to be inside the light field."""
    half = np.asarray(protocol.geometry.field_mm) / 2 - protocol.positioning.field_margin_mm
    centre = np.asarray(view.panel_size_mm) / 2
    before = np.maximum(centre - half - zone_mm.min(axis=0), 0)  # beyond the top and the left limit
    behind = np.maximum(zone_mm.max(axis=0) - centre - half, 0)  # beyond the bottom and the right limit
    if not (before.any() or behind.any()):
        return None
    down, right = before - behind
    moves = [
        f"{_SLIDE_STEP_MM * math.ceil((abs(step) + _JITTER_MM) / _SLIDE_STEP_MM)} mm {ways[int(step < 0)]}"
        for step, ways in ((down, ("towards you", "away from you")), (right, ("to the right", "to the left")))
        if step
    ]
    remedy = f"Slide the hand {' and '.join(moves)}" if moves else "Straighten and centre the hand"
    message = f"Metacarpals 2-4 are not {protocol.positioning.field_margin_mm:g} mm inside the light field"
    return Reason("outside-field", message, remedy, float(max(before.max(), behind.max())), 0.0)


def _still_finding(still_s: float, needed_s: float) -> Reason | None:
    if still_s >= needed_s - 1e-6:  # sums of camera periods carry rounding
        return None
    message = f"The hand has been still for {still_s:.1f} s of {needed_s:g} s"
    return Reason("hand-moving", message, "Hold still", still_s, needed_s)
