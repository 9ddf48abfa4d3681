"""An adult left hand: where its bones and its outline lie.

The layout is our own reading of normal PA hands, in mm of the hand's plane: origin near the head of the third
metacarpal, x towards the thumb, y towards the forearm. Widths and walls are from memory of adult hands.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from simulators.spec import MEASURED, HandSpec
from simulators.tube import TILE_STEP_MM, Texture, Tube

Image = npt.NDArray[np.float32]
Point = tuple[float, float]
_Series = tuple[float, ...]

GRID_STEP_MM = 0.25  # of the soft tissue
GRID_ORIGIN_MM = (-125.0, -150.0)  # x, y of the first grid point
_GRID_SIZE = (1000, 1480)  # columns, rows
CARPAL_STEP_MM = TILE_STEP_MM
CARPAL_ORIGIN_MM = (-28.0, -8.0)
_CARPAL_SIZE = (680, 780)  # columns, rows
_CARPAL_DEPTH_MM, _CARPAL_SHELL_MM, _CARPAL_FILL = 15.0, 0.6, 0.19
_CARPAL_GROWTH = 1.13
_TIP_MM = 3.6  # soft tissue beyond the last bone
_EDGE_SHARE = 0.75  # how far inside the hand is fully thick, share of its half thickness
_WEB_MM = 2.2  # how widely the skin rounds corners

# How real cross-sections leave the ellipse: spread of Legendre coefficients of the chord's factor, degrees
# 1-4 of the outline (measured on surfaces of metacarpals 1 and 5 and of phalanges), 0-3 of the canal about
# what follows the outline (own choice).
_OUTLINE_SPREAD = (0.25, 0.08, 0.065, 0.055)
_CANAL_SPREAD = (0.12, 0.12, 0.08, 0.05)
_CANAL_FOLLOWS = 0.7

# base x, y, head x, y, narrowest width, base width, head width, wall, narrowest place (fraction)
_METACARPALS = {
    1: (24.5, 37.5, 40.0, -1.5, 9.6, 15.0, 14.6, 1.6, 0.52),
    2: (10.3, 37.0, 20.0, -31.0, 8.2, 15.6, 14.6, 1.6, 0.53),
    3: (0.3, 34.8, -0.8, -29.6, 8.2, 13.0, 14.6, 1.6, 0.55),
    4: (-11.0, 34.2, -18.2, -20.6, 6.9, 10.8, 12.2, 1.5, 0.50),
    5: (-19.8, 37.0, -33.2, -10.2, 7.4, 12.6, 11.8, 1.4, 0.54),
}
# finger: proximal, middle, distal phalanx (the thumb has no middle one)
_PHALANGES = {
    1: ((41.7, -4.0, 54.6, -25.8, 8.6, 14.6, 11.2, 1.4), (56.2, -28.0, 65.3, -43.6, 6.4, 12.4, 8.4, 1.0)),
    2: (
        (22.0, -32.4, 29.4, -66.4, 9.4, 15.0, 11.6, 1.5),
        (30.0, -68.4, 34.2, -86.4, 8.0, 12.4, 9.4, 1.2),
        (34.6, -88.2, 38.2, -102.2, 5.0, 9.8, 6.6, 0.9),
    ),
    3: (
        (-0.4, -31.2, 1.3, -70.0, 9.6, 15.2, 11.8, 1.6),
        (1.4, -72.2, 1.6, -96.2, 8.4, 12.8, 9.8, 1.3),
        (1.6, -98.0, 0.6, -114.0, 5.2, 10.0, 7.0, 0.9),
    ),
    4: (
        (-18.6, -22.2, -22.2, -59.6, 9.0, 14.0, 11.2, 1.5),
        (-22.6, -61.6, -24.8, -84.0, 7.8, 12.0, 9.2, 1.2),
        (-25.0, -85.8, -27.0, -101.4, 5.0, 9.6, 6.8, 0.9),
    ),
    5: (
        (-36.2, -11.6, -47.4, -39.7, 7.6, 12.6, 9.4, 1.3),
        (-48.4, -41.4, -54.8, -56.5, 6.6, 10.4, 8.0, 1.0),
        (-55.3, -58.1, -59.1, -70.2, 4.2, 8.4, 5.8, 0.8),
    ),
}
_CARPALS: Mapping[str, tuple[Point, ...]] = {
    "capitate": (
        (-5, 36),
        (0, 35),
        (5, 36),
        (6.4, 41),
        (5.8, 49),
        (4, 54),
        (0, 56),
        (-4, 54),
        (-5.8, 48),
        (-6, 41),
    ),
    "hamate": (
        (-20.4, 38.4),
        (-14, 34.8),
        (-8, 34),
        (-5.4, 38),
        (-5, 46),
        (-6, 53),
        (-8.4, 53.6),
        (-12.4, 48),
    ),
    "triquetrum": (
        (-22, 47),
        (-17.5, 46),
        (-12.8, 48.6),
        (-8.6, 55),
        (-10, 58.6),
        (-15.6, 59.8),
        (-20.6, 56.6),
    ),
    "pisiform": ((-20.4, 52), (-16.4, 50), (-12.4, 52), (-12, 56.4), (-15.6, 58.4), (-19.8, 56.8)),
    "lunate": (
        (-12, 61),
        (-8.6, 57.4),
        (-2.8, 55.8),
        (1.6, 57.2),
        (2.4, 61),
        (-0.8, 63.6),
        (-6.4, 64.4),
        (-10.8, 63.6),
    ),
    "scaphoid": (
        (7.6, 46.2),
        (12, 45.6),
        (15.2, 49.4),
        (14.4, 55),
        (10, 59.8),
        (5, 61.2),
        (2.6, 58.8),
        (4.4, 54),
    ),
    "trapezoid": ((6.8, 38.4), (11, 36.8), (15.8, 38), (17, 43), (14.2, 46.8), (9, 45), (6.4, 42)),
    "trapezium": ((14.8, 37.6), (19.2, 35.6), (23.6, 39.2), (24.4, 43.6), (20.2, 48), (16, 46.2), (14, 42.4)),
    "sesamoid": ((30.6, -2.4), (33, -4.4), (35.2, -2.2), (34.6, 0.6), (31.6, 0.8)),
}
_PALM: tuple[Point, ...] = (
    (-41, -8), (-26, -27), (-17, -35), (0, -39), (20, -39), (32, -28), (35, -12), (43, 8), (37, 30), (31, 46),
    (28, 64), (26, 100), (29, 225), (-33, 225), (-29, 100), (-28.5, 60), (-31, 44), (-36, 26), (-41, 8),
)  # fmt: skip
_PALM_MM = 25.6  # thickness at the middle of the palm in the table below
_PALM_HALF_DEPTH_MM = (  # y, half thickness: finger tips, palm, wrist, forearm
    (-118.0, -90.0, -60.0, -40.0, -18.0, 10.0, 38.0, 55.0, 75.0, 100.0, 225.0),
    (5.4, 6.6, 8.0, 10.0, 12.2, 12.8, 13.4, 15.0, 17.0, 18.5, 23.0),
)


@dataclass(frozen=True, slots=True)
class Bone:
    """A tube and where it lies; `rise_mm` is its height over the hand's plane."""

    name: str
    tube: Tube
    base: Point
    head: Point
    rise_mm: float = 0.0


def bones(spec: HandSpec, spread: float, twist_deg: float) -> list[Bone]:
    """All tubular bones of a left hand, sized by the spec; fingers spread by a factor on their angles."""
    found = [_metacarpal(spec, finger, spread, twist_deg) for finger in _METACARPALS]
    for finger, phalanges in _PHALANGES.items():
        for order, (bx, by, hx, hy, *sizes) in enumerate(phalanges):
            base, head = _spread(finger, (bx, by), spread), _spread(finger, (hx, hy), spread)
            distal = order == len(phalanges) - 1
            tube = _phalanx(spec, _length(base, head), sizes, twist_deg, distal=distal)
            found.append(Bone(f"phalanx {finger}.{order + 1}", tube, base, head, rise_mm=-3.0))
    return found + _forearm(spec, twist_deg)


def _metacarpal(spec: HandSpec, finger: int, spread: float, twist_deg: float) -> Bone:
    bx, by, hx, hy, width, base_width, head_width, wall, waist = _METACARPALS[finger]
    base, head = (
        ((bx, by), (hx, hy)) if finger > 1 else (_spread(1, (bx, by), spread), _spread(1, (hx, hy), spread))
    )
    flare = (base_width - width, head_width - width)
    if finger in MEASURED:
        width, wall = spec.w_mm(finger), spec.t_mm(finger)
    else:
        width *= spec.w / 8.2
        wall = min(wall * spec.t / 1.6, 0.42 * width)
    outline, canal = _uneven(spec, finger, wall / width)
    tube = Tube(
        length_mm=_length(base, head) * spec.scale, width_mm=width,
        base_width_mm=width + flare[0] * spec.scale, head_width_mm=width + flare[1] * spec.scale,
        wall_mm=wall, waist=waist, base_cap_mm=2.6, head_cap_mm=7.0 * spec.scale,
        base_cup_mm=1.0 if finger in (1, 2) else 0.0,
        depth=spec.depth, excess=0.05 if finger == 2 else 0.03, twist_deg=twist_deg,
        outline=outline, canal=canal,
    )  # fmt: skip
    rise = {1: -3.0, 2: 0.0, 3: 1.0, 4: 0.0, 5: -1.5}[finger]  # the metacarpal arch, memory
    return Bone(f"mc{finger}", tube, base, head, rise)


def _uneven(spec: HandSpec, finger: int, wall_share: float) -> tuple[_Series, _Series]:
    """Series of outline and canal; how the canal differs from the outline is half a habit of the hand."""
    if not spec.shape:
        return (), ()
    own, habit = (np.random.default_rng([spec.seed, *key]) for key in ((3, finger), (3,)))
    outline = spec.shape * np.append(0.0, _drawn(own, _OUTLINE_SPREAD))
    differs = (_drawn(own, _CANAL_SPREAD) + _drawn(habit, _CANAL_SPREAD)) / np.sqrt(2)
    differs *= spec.shape * min(1.0, 2 * wall_share / (1 - 2 * wall_share))  # a thin wall has no room for it
    canal = np.append(differs, 0.0) + _CANAL_FOLLOWS * outline
    return tuple(outline.tolist()), tuple(canal.tolist())


def _drawn(rng: np.random.Generator, spread: tuple[float, ...]) -> npt.NDArray[np.float64]:
    return np.clip(rng.standard_normal(len(spread)), -2, 2) * spread


def _phalanx(spec: HandSpec, length_mm: float, sizes: list[float], twist_deg: float, *, distal: bool) -> Tube:
    width, base_width, head_width, wall = (size * spec.scale for size in sizes)
    return Tube(
        length_mm=length_mm * spec.scale, width_mm=width, base_width_mm=base_width,
        head_width_mm=head_width, wall_mm=min(wall * spec.t / 1.6, 0.42 * width),
        waist=0.62 if distal else 0.58, base_cap_mm=2.4, head_cap_mm=2.6 if distal else 3.2, base_cup_mm=1.3,
        head_cup_mm=0.0 if distal else 0.5, depth=0.8, twist_deg=twist_deg,
    )  # fmt: skip


def _forearm(spec: HandSpec, twist_deg: float) -> list[Bone]:
    def tube(ends: tuple[Point, Point], sizes: tuple[float, ...], **more: float) -> Tube:
        width, base_width, head_width, wall = sizes
        plain = Tube(
            length_mm=_length(*ends) * spec.scale, width_mm=width * spec.scale,
            base_width_mm=base_width * spec.scale, head_width_mm=head_width * spec.scale,
            wall_mm=wall * spec.t / 1.6, waist=0.6, twist_deg=twist_deg,
        )  # fmt: skip
        return replace(plain, **more)

    radius, ulna = ((6.0, 225.0), (8.6, 63.4)), ((-17.5, 225.0), (-13.6, 67.0))
    return [
        Bone("radius", tube(radius, (13.0, 16.0, 26.5, 2.1), head_cap_mm=6.0, head_cup_mm=1.5,
                            head_slant=0.26, depth=0.72), *radius),
        Bone("ulna", tube(ulna, (10.5, 15.0, 15.5, 1.9), head_cap_mm=4.0, head_slant=-0.2,
                          depth=0.85), *ulna),
    ]  # fmt: skip


def _length(base: Point, head: Point) -> float:
    return float(np.hypot(head[0] - base[0], head[1] - base[1]))


def _spread(finger: int, point: Point, spread: float) -> Point:
    """Turn a finger about its knuckle (the thumb about its base) by a factor on its angle."""
    base, head = (np.array(_METACARPALS[finger][i : i + 2]) for i in (0, 2))
    proximal = _PHALANGES[finger][0]
    pivot, along = (base, head - base) if finger == 1 else (head, np.array(proximal[2:4]) - proximal[:2])
    share = 0.6 if finger == 1 else 1.0
    turn = (spread - 1) * share * np.arctan2(along[0], -along[1])
    c, s = np.cos(turn), np.sin(turn)
    x, y = np.array(point) - pivot
    return float(pivot[0] + c * x - s * y), float(pivot[1] + s * x + c * y)


def carpals(texture: Texture) -> Image:
    """Solid bone of carpals and the thumb's sesamoid in mm, from `CARPAL_ORIGIN_MM` in `CARPAL_STEP_MM`."""
    columns, rows = _CARPAL_SIZE
    net = texture.piece(texture.trabeculae, (rows, columns), CARPAL_STEP_MM, 3)
    total = np.zeros((rows, columns), np.float32)
    for name, corners in _CARPALS.items():
        depth = 4.0 if name == "sesamoid" else 9.0 if name == "pisiform" else _CARPAL_DEPTH_MM
        mask = _filled([_grown(_smooth(corners))], CARPAL_ORIGIN_MM, CARPAL_STEP_MM, _CARPAL_SIZE)
        inside = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) * np.float32(CARPAL_STEP_MM)
        outer = _rounded(inside, np.float32(depth / 2))
        inner = _rounded(
            np.maximum(inside - np.float32(_CARPAL_SHELL_MM), 0), np.float32(depth / 2 - _CARPAL_SHELL_MM)
        )
        total += outer - inner + np.float32(_CARPAL_FILL) * inner * net
    return cv2.GaussianBlur(total, (0, 0), 1.2).astype(np.float32, copy=False)


def soft_tissue(spec: HandSpec, spread: float) -> Image:
    """Thickness of the whole hand in mm, from `GRID_ORIGIN_MM` in `GRID_STEP_MM`; 0 outside its outline."""
    outlines = [np.array(_PALM)]
    for finger in _METACARPALS:
        joints, radii = _finger_joints(finger, spread)
        outlines += [
            _capsule((joints[i], joints[i + 1]), (radii[i], radii[i + 1])) for i in range(len(joints) - 1)
        ]
    mask = _filled(outlines, GRID_ORIGIN_MM, GRID_STEP_MM, _GRID_SIZE)
    blurred = cv2.GaussianBlur(mask * np.float32(255), (0, 0), _WEB_MM / GRID_STEP_MM)
    inside = _inside_mm((blurred > 127).astype(np.uint8))
    y_mm = GRID_ORIGIN_MM[1] + GRID_STEP_MM * np.arange(_GRID_SIZE[1])
    half_depth = np.interp(y_mm, *_PALM_HALF_DEPTH_MM).astype(np.float32)[:, None]
    half_depth *= np.float32(spec.tissue / _PALM_MM)
    half_depth = np.minimum(half_depth, np.float32(0.9) * _local_half_width(inside) + np.float32(0.1))
    thickness = _rounded(inside, np.float32(_EDGE_SHARE) * half_depth) / np.float32(_EDGE_SHARE)
    rng = np.random.default_rng([spec.seed, 2])
    waves = rng.standard_normal((60, 40)).astype(np.float32)
    waves = cv2.GaussianBlur(waves, (0, 0), 1.5)
    waves *= np.float32(0.025) / waves.std()
    thickness *= 1 + cv2.resize(waves, _GRID_SIZE, interpolation=cv2.INTER_CUBIC)
    return cv2.GaussianBlur(thickness * np.float32(spec.scale), (0, 0), 1.2).astype(np.float32, copy=False)


def _finger_joints(finger: int, spread: float) -> tuple[list[Point], list[float]]:
    phalanges = _PHALANGES[finger]
    joints = [_METACARPALS[finger][2:4], *(phalanx[2:4] for phalanx in phalanges)]
    if finger == 1:
        joints.insert(0, _METACARPALS[1][:2])
    radii = {1: [13.0, 12.4, 10.4, 8.4], 5: [9.2, 8.0, 7.2, 6.2]}.get(finger, [10.4, 9.0, 8.0, 6.9])
    *_, (bx, by, hx, hy, *_) = phalanges
    back = (radii[-1] - _TIP_MM) / _length((bx, by), (hx, hy))
    joints[-1] = (hx + back * (bx - hx), hy + back * (by - hy))
    return [_spread(finger, (float(x), float(y)), spread) for x, y in joints], radii


def _inside_mm(mask: npt.NDArray[np.uint8]) -> Image:
    """Distance to the outline inside it, 0 outside; smoothed to take the mask's steps off."""
    signed = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    signed -= cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    signed = cv2.GaussianBlur(signed, (0, 0), 3)
    return (np.maximum(signed, 0) * np.float32(GRID_STEP_MM)).astype(np.float32, copy=False)


def _local_half_width(inside: Image) -> Image:
    small = cv2.resize(inside, None, fx=0.125, fy=0.125, interpolation=cv2.INTER_AREA)
    small = cv2.dilate(small, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9)))
    small = cv2.GaussianBlur(small, (0, 0), 2)
    return cv2.resize(small, _GRID_SIZE, interpolation=cv2.INTER_LINEAR).astype(np.float32, copy=False)


def _rounded(inside_mm: Image, half_depth_mm: Image | np.float32) -> Image:
    """Thickness of a body with round edges, flat where it is further inside than its half depth."""
    near = np.minimum(inside_mm, half_depth_mm)
    return (2 * np.sqrt(near * (2 * half_depth_mm - near))).astype(np.float32, copy=False)


def _capsule(ends: tuple[Point, Point], radii: tuple[float, float]) -> npt.NDArray[np.float64]:
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    points = np.concatenate(
        [np.array(end) + radius * circle for end, radius in zip(ends, radii, strict=True)]
    )
    return cv2.convexHull(points.astype(np.float32))[:, 0].astype(float)


def _smooth(corners: tuple[Point, ...]) -> npt.NDArray[np.float64]:
    """Chaikin's corner cutting: a closed curve inside the polygon."""
    points = np.array(corners, float)
    for _ in range(3):
        after = np.roll(points, -1, 0)
        points = np.stack([0.75 * points + 0.25 * after, 0.25 * points + 0.75 * after], 1).reshape(-1, 2)
    return points


def _grown(outline: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Carpals touch and overlap in projection."""
    middle = outline.mean(0)
    return middle + _CARPAL_GROWTH * (outline - middle)


def _filled(
    outlines: list[npt.NDArray[np.float64]], origin_mm: Point, step_mm: float, size: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    mask = np.zeros(size[::-1], np.uint8)
    for outline in outlines:
        fixed = np.round((outline - np.array(origin_mm)) / step_mm * 16).astype(np.int32)
        cv2.fillPoly(mask, [fixed], 1, cv2.LINE_8, 4)
    return mask
