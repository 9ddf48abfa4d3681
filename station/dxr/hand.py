"""The outline of one hand as geometry: fingers, palm, side, direction; the same for light and X-ray masks.

Assumes
    A binary mask of about 200-800 pixels height that holds the hand and perhaps its forearm, palm down and
    seen from the tube. The forearm may leave the image; the fingers may too (a cut finger is found by its
    visible part).
Tolerates
    Any in-plane rotation, either side, fingers apart or together, small specks and holes in the mask.
Method
    The palm is the largest inscribed circle (radius R) that has fingers around it. Opening the mask with a
    disc wider than a finger and narrower than a forearm leaves the body; what falls off, long and thin, is
    fingers. The thumb is the outermost finger that lies furthest towards the wrist.
Meaning
    `pointing_deg` is the direction from the wrist to the base of the middle finger; lengths scale with R
    (about 40 mm in an adult), so nothing here needs the pixel size.
Known failures
    Fingers pressed together along their whole length are one block: they are counted by the notches between
    their tips, and only named if four are seen. A tucked thumb leaves the side undecided.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from station.exam import Side
from station.result import Reason

Mask = npt.NDArray[np.bool_]
Points = npt.NDArray[np.float64]  # (n, 2) row, column
Box = tuple[slice, slice]  # rows, columns

# Proportions in palm radii R, derived from hand outlines of children and adults.
_OPENING = 0.40  # half width of the widest thumb < this < half width of two fingers and of a forearm
_MIN_FINGER_LENGTH = 0.42
_MAX_FINGER_WIDTH = 0.95
_THUMB_BELOW = (
    0.9  # tip and base of the thumb together lie that much nearer to the wrist than its neighbour's
)
_THUMB_MARGIN = 0.25  # and more so than the little finger's
_NOTCH_DEPTH = 0.05  # between the tips of fingers that touch
_BASE_OF_TIP = 0.5  # a joined finger leaves the palm half way from the palm's centre to its tip
_WRIST_BELOW_PALM = 1.25
_SECOND_OBJECT_FRACTION = 0.3  # of the area of the largest object
_MIN_AREA_FRACTION = 0.015  # of the image


@dataclass(frozen=True, slots=True)
class Finger:
    """A finger; the base is where it leaves the palm."""

    tip_px: tuple[float, float]
    base_px: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Hand:
    """One hand, in (row, column) of its mask."""

    mask: Mask
    outline_px: Points  # (n, 2), closed
    side: Side | None  # by the thumb, for a palm-down hand seen from the tube; None if undecidable
    pointing_deg: float  # wrist -> middle finger, degrees clockwise from up as displayed
    palm_px: tuple[float, float]
    palm_radius_px: float
    fingers: dict[int, Finger]  # 1 thumb ... 5 little, those found and named
    touches_border: frozenset[str]  # top, bottom, left, right


def find_hand(mask: Mask) -> Hand | Reason:
    """Find the one hand in a mask.

    Parameters
    ----------
    mask : (rows, columns) bool
        True where the object is.

    Returns
    -------
    Hand or Reason
        The reason is `no-hand`, `two-hands` or `not-a-hand`.
    """
    largest = _largest_object(mask)
    if isinstance(largest, Reason):
        return largest
    box = _box(largest)
    solid, depth = _solid(largest, box)
    outline = _outline(solid)
    candidates: list[tuple[Points, float, list[Finger]]] = []
    for centre, r in _palm_candidates(depth):
        candidates.append((centre, r, _loose_fingers(solid, depth, box, (centre, r))))
        if len(candidates[-1][2]) >= 5:
            break  # the deepest come first
    palm, radius, fingers = max(candidates, key=lambda candidate: (min(len(candidate[2]), 5), candidate[1]))
    if 0 < len(fingers) < 5:
        fingers += _joined_fingers(outline, palm, radius, fingers)
    if not 2 <= len(fingers) <= 6:
        return _wrong_count(len(fingers))
    fan = _fan(fingers, palm, radius)
    wrist = _wrist(solid, palm, radius, fan.up)
    middle = fan.named.get(3)
    towards = np.asarray(middle.base_px) if middle else palm + fan.up * radius
    return Hand(
        mask=solid,
        outline_px=outline,
        side=fan.side,
        pointing_deg=_clockwise_from_up(towards - wrist),
        palm_px=_pair(palm),
        palm_radius_px=radius,
        fingers=fan.named,
        touches_border=_touches(solid),
    )


def _wrong_count(fingers: int) -> Reason:
    if fingers > 6:
        return Reason("two-hands", "more than one hand", "Place one hand only.", fingers, 5)
    return Reason(
        "not-a-hand",
        "the object has no outline of a hand: fewer than two fingers stand apart from it",
        "Place one hand flat, palm down, with the fingers slightly spread.",
        fingers,
        2,
    )


def _largest_object(mask: Mask) -> Mask | Reason:
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    areas = np.bincount(labels.ravel(), minlength=count)[1:]
    if count < 2 or areas.max() < _MIN_AREA_FRACTION * mask.size:
        return Reason("no-hand", "no hand is in view", "Place the hand on the panel, palm down.")
    order = np.argsort(areas)[::-1]
    if count > 2 and areas[order[1]] > _SECOND_OBJECT_FRACTION * areas[order[0]]:
        return Reason(
            "two-hands",
            "a second large object is in view",
            "Place one hand only and clear the panel.",
            float(areas[order[1]] / areas[order[0]]),
            _SECOND_OBJECT_FRACTION,
        )
    return labels == order[0] + 1


def _objects(image: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.intp]]:
    """(row, column) of the pixels of each connected object."""
    _, labels = cv2.connectedComponents(image, connectivity=4)
    owner = labels[image > 0]
    by_owner = np.argwhere(image)[np.argsort(owner, kind="stable")]
    return np.split(by_owner, np.cumsum(np.bincount(owner)[1:-1]))


def _box(mask: Mask) -> Box:
    """The part of the image that holds the object, and a pixel around it: what need be looked at."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return slice(max(top - 1, 0), top + height + 1), slice(max(left - 1, 0), left + width + 1)


def _solid(mask: Mask, box: Box) -> tuple[Mask, npt.NDArray[np.float32]]:
    """The mask without holes, and the distance of its pixels from the outside (image border included)."""
    filled = np.zeros(mask.shape, np.uint8)
    depth = np.zeros(mask.shape, np.float32)
    inside = np.zeros(mask[box].shape, np.uint8)
    contours, _ = cv2.findContours(mask[box].astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(inside, contours, -1, 1, cv2.FILLED)
    padded = cv2.copyMakeBorder(inside, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    filled[box] = inside
    depth[box] = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    return filled.astype(bool), depth


def _palm_candidates(depth: npt.NDArray[np.float32]) -> Iterator[tuple[Points, float]]:
    """Up to three deep points: a forearm may be as wide as the palm, so the deepest need not be it."""
    left = depth.copy()
    deepest = float(depth.max())
    for _ in range(3):
        row, column = np.unravel_index(int(left.argmax()), left.shape)
        radius = float(left[row, column])
        if radius < 0.6 * deepest:
            return
        yield np.array([row, column], np.float64), radius
        cv2.circle(left, (int(column), int(row)), int(1.2 * radius), 0.0, cv2.FILLED)


def _loose_fingers(
    solid: Mask, depth: npt.NDArray[np.float32], box: Box, circle: tuple[Points, float]
) -> list[Finger]:
    """Long thin parts that an opening removes and that start near the palm, a circle."""
    palm, radius = circle
    core = (depth[box] < _OPENING * radius).astype(np.uint8)
    body = cv2.distanceTransform(core, cv2.DIST_L2, 5) <= _OPENING * radius
    loose = (solid[box] & ~body).astype(np.uint8)
    near_body = cv2.dilate(body.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    corner = np.array([side.start for side in box])
    fingers: list[Finger] = []
    for places in _objects(loose):
        if len(places) < 0.1 * radius * radius:
            continue
        points = (places + corner).astype(np.float64)
        at_body = near_body[places[:, 0], places[:, 1]]
        if not at_body.any():
            continue
        base = points[at_body].mean(axis=0)
        reach = np.hypot(*(points - base).T)
        length = float(reach.max())
        # a tip is the middle of the far end, not its one extreme pixel
        tip = points[reach > length - 0.05 * radius].mean(axis=0)
        if length <= _MIN_FINGER_LENGTH * radius:
            continue
        near_palm = float(np.hypot(*(base - palm))) < 2.0 * radius
        if len(points) / length < _MAX_FINGER_WIDTH * radius and near_palm:
            fingers.append(Finger(_pair(tip), _pair(base)))
    return fingers


def _joined_fingers(outline: Points, palm: Points, radius: float, loose: list[Finger]) -> list[Finger]:
    """Fingers that touch their neighbours: outline peaks between the notches of their tips."""
    tips = np.array([f.tip_px for f in loose])
    up = _unit((tips - np.array([f.base_px for f in loose])).sum(axis=0))
    from_palm = outline - palm
    # start the closed outline at the wrist, so that no finger is cut in two
    start = int(np.argmin(from_palm @ up))
    from_palm = np.roll(from_palm, -start, axis=0)
    reach = np.hypot(*from_palm.T) / radius
    peaks = _peaks(reach, least=1.35, prominence=_NOTCH_DEPTH)
    peaks = peaks[np.abs(_angle_from(up, from_palm[peaks])) < 80]
    found: list[Finger] = []
    for peak in from_palm[peaks]:
        if np.hypot(*(tips - palm - peak).T).min() > 0.35 * radius:
            base = peak - _BASE_OF_TIP * float(peak @ up) * up
            found.append(Finger(_pair(palm + peak), _pair(palm + base)))
    return found


def _peaks(values: Points, least: float, prominence: float) -> npt.NDArray[np.int64]:
    """Local maxima that stand out from the higher of the dips to either side; a plateau counts at its middle.

    The same as `scipy.signal.find_peaks`, whose import alone takes as long as three analyses.
    """
    starts = np.flatnonzero(np.diff(values, prepend=np.nan) != 0)  # of runs of equal values
    ends = np.append(starts[1:], len(values)) - 1
    runs = values[starts]
    tops = np.flatnonzero((runs[1:-1] > runs[:-2]) & (runs[1:-1] > runs[2:])) + 1
    found: list[int] = []
    for top in tops[runs[tops] >= least]:
        higher = np.flatnonzero(runs > runs[top])
        at = int(np.searchsorted(higher, top))
        first = int(higher[at - 1]) + 1 if at > 0 else 0
        last = int(higher[at]) if at < len(higher) else len(runs)
        dip = max(float(runs[first : top + 1].min()), float(runs[top:last].min()))
        if runs[top] - dip >= prominence:
            found.append(int(starts[top] + ends[top]) // 2)
    return np.array(found, np.int64)


@dataclass(frozen=True, slots=True)
class _Fan:
    """The fingers in order, as far as they can be named."""

    up: Points  # unit vector of the fingers' common direction
    side: Side | None
    named: dict[int, Finger]


def _fan(fingers: list[Finger], palm: Points, radius: float) -> _Fan:
    tips = np.array([f.tip_px for f in fingers])
    bases = np.array([f.base_px for f in fingers])
    up = _unit(((tips - palm) / np.hypot(*(tips - palm).T)[:, None]).sum(axis=0))
    order = np.argsort(_angle_from(up, tips - palm))
    tips, bases, ordered = tips[order], bases[order], [fingers[i] for i in order]
    thumb = _thumb(tips, bases, up, radius)
    if thumb is not None and len(ordered) > 2:
        keep = [i for i in range(len(ordered)) if i != thumb]
        up = _unit((bases[keep] - palm).sum(axis=0))
    if thumb is None:
        return _Fan(up, None, {})
    # clockwise angles rise to the right as displayed: the thumb of a left hand is at the right end
    side = Side.LEFT if thumb else Side.RIGHT
    from_thumb = ordered[::-1] if thumb else ordered
    named = {1: from_thumb[0]}
    if len(from_thumb) == 5:
        named |= {2 + i: finger for i, finger in enumerate(from_thumb[1:])}
    return _Fan(up, side, named)


def _thumb(tips: Points, bases: Points, up: Points, radius: float) -> int | None:
    """Index (first or last) of the thumb among fingers in angular order, or None."""
    last = len(tips) - 1
    along = (bases + tips) @ up / radius  # both ends of a thumb lie lower than its neighbour's
    drops = {0: float(along[1] - along[0]), last: float(along[last - 1] - along[last])}
    thumb = max(drops, key=lambda end: drops[end])
    clear = drops[thumb] > _THUMB_BELOW and drops[thumb] > drops[last - thumb] + _THUMB_MARGIN
    return thumb if clear else None


def _wrist(solid: Mask, palm: Points, radius: float, up: Points) -> Points:
    """Middle of the mask across the hand below the palm; on the palm's axis if the image ends before."""
    across = np.array([-up[1], up[0]])
    centre = palm - _WRIST_BELOW_PALM * radius * up
    steps = np.arange(-1.2 * radius, 1.2 * radius + 1)
    line = np.rint(centre + steps[:, None] * across).astype(int)
    inside = ((line >= 0) & (line < solid.shape)).all(axis=1)
    steps, line = steps[inside], line[inside]
    hit = solid[line[:, 0], line[:, 1]]
    return centre + float(steps[hit].mean()) * across if hit.any() else centre


def _outline(solid: Mask) -> Points:
    contours, _ = cv2.findContours(solid.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return max(contours, key=len)[:, 0, ::-1].astype(np.float64)


def _touches(solid: Mask) -> frozenset[str]:
    edges = {"top": solid[0], "bottom": solid[-1], "left": solid[:, 0], "right": solid[:, -1]}
    return frozenset(name for name, edge in edges.items() if edge.any())


def _angle_from(up: Points, vectors: Points) -> npt.NDArray[np.float64]:
    """Clockwise angle of vectors from `up` as displayed, -180 ... 180 degrees."""
    along = vectors @ up
    right = vectors @ np.array([up[1], -up[0]])
    return np.degrees(np.arctan2(right, along))


def _clockwise_from_up(vector: Points) -> float:
    return float(np.degrees(np.arctan2(vector[1], -vector[0])))


def _unit(vector: Points) -> Points:
    return vector / max(float(np.hypot(*vector)), 1e-9)


def _pair(point: Points) -> tuple[float, float]:
    return float(point[0]), float(point[1])
