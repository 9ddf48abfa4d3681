"""Periosteal and endosteal edges of one metacarpal shaft, sub-pixel, in a straightened strip.

Assumes
    An approximate straight axis; attenuation (log) values, in which a hollow shaft shows two bright walls.
Tolerates
    An axis off by half a shaft width or ten degrees; noise; soft tissue gradients; neighbours outside the
    search band.
Method
    The shaft is resampled into a strip at full resolution, averaged a little along the bone. A straight pair
    of coarse opposite gradients aligns the strip; then the steepest gradient is followed along each side by
    dynamic programming, outer edges first, inner edges between them: a coarse slope finds
    the edge, a fine one places it. The axis is refitted to the outer mid-points, its head end moved to the
    finger joint's gap, and the edges found again.
Meaning
    Offsets are in frame pixels across the axis. Steepest gradients of a blurred tube lie inside the true
    surfaces by about 0.76 sigma at both edges, so the wall keeps its thickness while the width shrinks.
Known failures
    Medullary bone without a visible canal (small children, sclerosis): the inner edge then has no contrast.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from station.dxr.localise import attenuation
from station.dxr.paths import follow
from station.frame import Frame, Signal

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Pair = tuple[Floats, Floats]  # negative side, positive side

ACROSS_STEP_PX = 0.5
ALONG_STEP_PX = 3.0
_ROWS_AVERAGED = 3  # of one pixel each: a step along
GRADIENT_SIGMA_PX = 1.0  # derivative of Gaussian across; part of the known blur
OUTER_AVERAGE_PX = 4.0  # sigma of averaging along the bone
_AVERAGE_REACH_PX = 4 * OUTER_AVERAGE_PX + 2 * ALONG_STEP_PX  # where that average ends, and a step
INNER_AVERAGE_PX = 8.0  # endosteal contrast is lower, and trabeculae cross it
_SHAFT = (0.05, 0.95)  # of the axis: beyond lie joints
_EXTENT_REACH_PX = 25.0  # how far an edge's slope is followed to either side
_JOINT_RANGE = (0.3, 1.4)  # of the axis: mid shaft to mid phalanx
_JOINT_PRIOR = (0.95, 0.25)  # where the finger joint is expected, mean and spread, in axis lengths (derived)
_JOINT_HALF_GAP = 0.025  # of the axis: 1.5 mm of 63
_JOINT_CLEAR = 6.0  # depth of the gap over the unevenness of the shaft
_AXIS_BAND = 0.3  # half width of the band along the axis, of the bone width
_STRIP_WIDTHS = 1.3  # half width of the strip, in bone widths
_COARSE_ALIGN = 0.12  # sigma of the coarse slopes, of the width
_COARSE_OUTER = 0.08
_COARSE_INNER = 0.04
_ALIGN_REACH = 0.75  # of the expected width
_ALIGN_LOSS = 0.5
_ALIGN_PART = (0.3, 0.75)  # of the axis
_ALIGN_FRACTIONS = np.linspace(*_ALIGN_PART, 19)[:, None]
_ALIGN_WIDTHS = 2.4  # half width of the strip, in expected widths: beyond reach and half of the widest, 1.6
_WIDTHS = np.linspace(0.55, 1.7, 24)  # of the expected width, tried while aligning
_OUTER_BAND = (0.65, 1.4)  # of the half width: inside a neighbour's canal at mid shaft
_FLARE = 0.9  # the band's outer limit opens by that much from mid shaft to either end
_OUTLINE_SIGMA = 2.0  # steps of the strip
_OUTLINE_LEVEL, _OUTLINE_REACH = 0.35, 0.78  # of wall over tissue; of the width, from the middle (own choice)
_INNER_BAND = (0.05, 0.485)  # of the width, from the outer edge; below 0.48 W


@dataclass(frozen=True, slots=True)
class Axis:
    """A shaft's axis, base to head in frame (row, column), and its outer width at mid shaft."""

    base_px: Floats
    head_px: Floats
    width_px: float


@dataclass(frozen=True, slots=True)
class Strip:
    """A straightened shaft: rows run from the base to the head, columns across."""

    values: Image  # (n along, n across) attenuation
    raw: Image  # the same in frame units
    origin_px: Floats  # frame (row, column) of axis position 0, offset 0
    along: Floats  # unit vectors in frame (row, column)
    across: Floats
    start_px: float  # axis position of row 0
    length_px: float  # base to head
    signal: Signal
    ceiling: float | None  # frame value at and above which the pixels are clipped

    @property
    def along_px(self) -> Floats:
        """(n along,) position on the axis, 0 at the base."""
        return self.start_px + ALONG_STEP_PX * np.arange(self.values.shape[0])

    @property
    def across_px(self) -> Floats:
        """(n across,) offset from the axis."""
        count = self.values.shape[1]
        return ACROSS_STEP_PX * (np.arange(count) - (count - 1) / 2)

    def to_frame_px(self, along_px: npt.ArrayLike, across_px: npt.ArrayLike) -> Floats:
        """Axis coordinates to frame (row, column)."""
        s, x = np.asarray(along_px, np.float64), np.asarray(across_px, np.float64)
        return self.origin_px + s[..., None] * self.along + x[..., None] * self.across


@dataclass(frozen=True, slots=True)
class Walls:
    """The four edges along one shaft; all arrays (n along,), offsets across in frame pixels."""

    strip: Strip
    outer: Pair  # negative side, positive side
    outline: (
        Pair  # the outermost rise above tissue: a ridge or a flange has its steepest slope further inside
    )
    inner: Pair
    inner_slope: Pair  # steepness of the endosteal edges, attenuation per pixel
    outer_slope: Pair
    extent: Floats  # full width at half maximum of the periosteal slope, sharper side, px
    noise: float  # standard deviation of that steepness where nothing is

    @property
    def width_px(self) -> Floats:
        """Outer width."""
        return self.outer[1] - self.outer[0]

    @property
    def walls_px(self) -> Pair:
        """Thickness of the wall on the negative and on the positive side."""
        return self.inner[0] - self.outer[0], self.outer[1] - self.inner[1]


def find_axis(frame: Frame, base_px: Floats, head_px: Floats, expected_width_px: float) -> Axis:
    """Put an approximate axis onto its shaft, and its head end onto the finger joint.

    Parameters
    ----------
    frame : Frame
        Dose or attenuation.
    base_px, head_px : (2,)
        Approximate axis, frame (row, column).
    expected_width_px : float
        Outer width to be expected, within a factor of 1.7.
    """
    strip = _strip(frame, base_px, head_px, _ALIGN_WIDTHS * expected_width_px, within=_ALIGN_PART)
    shift, width = _align(strip, expected_width_px)
    base, head = strip.to_frame_px([0.0, strip.length_px], shift)
    strip = _strip(frame, base, head, _STRIP_WIDTHS * width)
    axis = _refit(strip, _outer_edges(strip, width)[0])
    band = _strip(frame, axis.base_px, axis.head_px, _AXIS_BAND * axis.width_px, _JOINT_RANGE)
    return replace(axis, head_px=_head_joint(band, axis.head_px))


def find_walls(frame: Frame, axis: Axis) -> Walls:
    """Follow the four edges of a shaft along its axis."""
    strip = _strip(frame, axis.base_px, axis.head_px, _STRIP_WIDTHS * axis.width_px)
    steep = _gradient(strip, OUTER_AVERAGE_PX, GRADIENT_SIGMA_PX)
    outer, slopes = _outer_edges(strip, axis.width_px, steep)
    steep_inside = _gradient(strip, INNER_AVERAGE_PX, GRADIENT_SIGMA_PX)
    inner, inner_slopes = _inner_edges(strip, outer, steep_inside)
    extent, noise = _extent(steep, outer), _slope_noise(steep_inside, outer)
    return Walls(strip, outer, _outline(strip, outer), inner, inner_slopes, slopes, extent, noise)


def _strip(
    frame: Frame,
    base_px: Floats,
    head_px: Floats,
    half_width_px: float,
    part: tuple[float, float] = _SHAFT,
    within: tuple[float, float] = (-np.inf, np.inf),
) -> Strip:
    """Of the rows of a part those within another, and as far as averages along the bone reach."""
    length = float(np.hypot(*(head_px - base_px)))
    along = (head_px - base_px) / length
    across = np.array([-along[1], along[0]])
    s = np.arange(part[0] * length, part[1] * length, ALONG_STEP_PX)
    s = s[(s > within[0] * length - _AVERAGE_REACH_PX) & (s < within[1] * length + _AVERAGE_REACH_PX)]
    # every pixel counts: rows are sampled one pixel apart and averaged, in frame units
    fine = s[0] + np.arange(_ROWS_AVERAGED * len(s)) - (_ROWS_AVERAGED - 1) / 2
    count = int(half_width_px / ACROSS_STEP_PX)
    x = np.asarray(ACROSS_STEP_PX * np.arange(-count, count + 1), np.float64)
    raw = _sampled(frame, base_px + fine[:, None] * along, x[:, None] * across)
    return Strip(
        attenuation(raw, frame.signal),
        raw,
        np.asarray(base_px),
        along,
        across,
        float(s[0]),
        length,
        frame.signal,
        _ceiling(frame),
    )


def _sampled(frame: Frame, middle: Floats, beside: Floats) -> Image:
    """Frame values at (row, column) of a line and beside it, each step along averaged."""
    rows, columns = where = np.empty((2, len(middle), len(beside)), np.float32)
    for i in (0, 1):
        np.add(middle[:, i, None], beside[:, i], out=where[i], casting="same_kind")
    corners = np.array([axis[[0, 0, -1, -1], [0, -1, 0, -1]] for axis in where])
    low = np.floor(corners.min(axis=1)).astype(int) - 3
    high = np.ceil(corners.max(axis=1)).astype(int) + 4
    low, high = np.clip(low, 0, np.array(frame.shape) - 1), np.clip(high, 1, frame.shape)
    crop = frame.pixels[low[0] : max(high[0], low[0] + 1), low[1] : max(high[1], low[1] + 1)]
    where -= low.astype(np.float32)[:, None, None]
    source = crop.astype(np.float32, copy=False)
    sampled = cv2.remap(source, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    thirds = [np.asarray(sampled[i::_ROWS_AVERAGED], np.float32) for i in range(_ROWS_AVERAGED)]
    return sum(thirds[1:], thirds[0]) / np.float32(_ROWS_AVERAGED)


def _ceiling(frame: Frame) -> float | None:
    if frame.saturation is not None:
        return frame.saturation
    return 255.0 if frame.pixels.dtype == np.uint8 else None


def _gradient(strip: Strip, average_px: float, sigma_px: float) -> Image:
    """Slope across (attenuation per pixel), averaged along the bone."""
    smooth = cv2.GaussianBlur(
        strip.values,
        (0, 0),
        sigmaX=sigma_px / ACROSS_STEP_PX,
        sigmaY=average_px / ALONG_STEP_PX,
        borderType=cv2.BORDER_REPLICATE,
    )
    kernel = np.array([[-0.5, 0.0, 0.5]], np.float32) / np.float32(ACROSS_STEP_PX)
    slope = cv2.filter2D(smooth, cv2.CV_32F, kernel, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(slope, np.float32)


def _align(strip: Strip, expected_width_px: float) -> tuple[Floats, float]:
    """Sideways shifts of base and head, and the width, that put a straight pair of edges on the shaft."""
    # a coarse slope: a neighbour's thin wall, bright on both sides, must not look like the far edge
    rows = (_ALIGN_FRACTIONS * strip.length_px - strip.start_px) / ALONG_STEP_PX
    gradient = _gradient(strip, OUTER_AVERAGE_PX, _COARSE_ALIGN * expected_width_px)
    slopes = gradient[np.rint(rows[:, 0]).astype(int)]
    slopes /= np.sqrt((slopes * slopes).mean(axis=1, keepdims=True)) + 1e-9
    reach = _ALIGN_REACH * expected_width_px
    shifts = np.linspace(-reach, reach, 25)
    base, head = (shift.ravel() for shift in np.meshgrid(shifts, shifts, indexing="ij"))
    # places of the axis in the flattened slopes, (fractions, shifts); either edge half a width beside it
    middle = (base + (head - base) * _ALIGN_FRACTIONS) / ACROSS_STEP_PX + (slopes.shape[1] - 1) / 2
    first = slopes.shape[1] * np.arange(len(slopes))[:, None]
    best, answer = (np.zeros(2), expected_width_px), -np.inf
    loss = _ALIGN_LOSS * (base**2 + head**2) / expected_width_px**2
    for width in _WIDTHS * expected_width_px:
        half = width / 2 / ACROSS_STEP_PX
        left, right = (np.rint(middle + side).astype(np.intp) + first for side in (-half, half))
        score = (slopes.take(left) - slopes.take(right)).mean(axis=0) - loss
        at = int(score.argmax())
        if score[at] > answer:
            answer = float(score[at])
            best = (np.array([base[at], head[at]]), float(width))
    return best


def _outer_edges(strip: Strip, width_px: float, fine: Image | None = None) -> tuple[Pair, Pair]:
    fine = _gradient(strip, OUTER_AVERAGE_PX, GRADIENT_SIGMA_PX) if fine is None else fine
    coarse = _gradient(strip, OUTER_AVERAGE_PX, _COARSE_OUTER * width_px)
    x = strip.across_px
    from_middle = np.abs(strip.along_px / strip.length_px - 0.5)[:, None]
    near, far = (band * width_px / 2 for band in _OUTER_BAND)
    far = far + _FLARE * np.maximum(from_middle - 0.2, 0) / 0.3 * width_px / 2
    allowed = [(side * x >= near) & (side * x <= far) for side in (-1.0, 1.0)]
    return follow(coarse, fine, (1.0, -1.0), allowed, x)


def _inner_edges(strip: Strip, outer: Pair, fine: Image) -> tuple[Pair, Pair]:
    width = outer[1] - outer[0]
    coarse = _gradient(strip, INNER_AVERAGE_PX, _COARSE_INNER * float(np.median(width)))
    x = strip.across_px
    allowed: list[Bools] = []
    for side, edge in zip((-1.0, 1.0), outer, strict=True):
        depth = (side * (edge[:, None] - x)) / width[:, None]  # fraction of the width below the surface
        allowed.append((depth >= _INNER_BAND[0]) & (depth <= _INNER_BAND[1]))
    return follow(coarse, fine, (-1.0, 1.0), allowed, x)


def _refit(strip: Strip, outer: Pair) -> Axis:
    """Axis by least squares through the outer mid-points of the middle of the bone, and its median width."""
    s = strip.along_px
    shaft = (s > 0.25 * strip.length_px) & (s < 0.75 * strip.length_px)
    middle = (outer[0] + outer[1])[shaft] / 2
    slope, offset = np.polyfit(s[shaft], middle, 1)
    ends = np.array([0.0, strip.length_px])
    base, head = strip.to_frame_px(ends, offset + slope * ends)
    return Axis(base, head, float(np.median((outer[1] - outer[0])[shaft])))


def _outline(strip: Strip, outer: Pair) -> Pair:
    """Where the rise from the darkest place beside the bone reaches a share of the wall's brightness."""
    smooth = cv2.GaussianBlur(strip.values, (0, 0), sigmaX=_OUTLINE_SIGMA, sigmaY=_OUTLINE_SIGMA)
    middle, width = (outer[0] + outer[1])[:, None] / 2, (outer[1] - outer[0])[:, None]
    found: list[Floats] = []
    for side, edge in zip((-1.0, 1.0), outer, strict=True):
        depth = side * (strip.across_px - middle) / width  # 0 in the middle, 0.5 at the edge
        wall = np.where((depth > 0.15) & (depth <= 0.5), smooth, -np.inf).max(axis=1, keepdims=True)
        beside = np.where((depth > 0.5) & (depth < _OUTLINE_REACH), smooth, np.inf)
        tissue, dark = beside.min(axis=1, keepdims=True), beside.argmin(axis=1)
        limit = np.take_along_axis(depth, dark[:, None], axis=1)
        level = tissue + _OUTLINE_LEVEL * (wall - tissue)
        bright = (depth > 0.3) & (depth < limit) & (smooth >= level)
        at = np.where(bright, depth, -np.inf).argmax(axis=1)
        known = bright.any(axis=1)
        rows, beyond = np.arange(len(at)), np.clip(at + int(side), 0, smooth.shape[1] - 1)
        high, low = smooth[rows, at], smooth[rows, beyond]
        share = np.clip((high - level[:, 0]) / np.maximum(high - low, 1e-9), 0, 1)
        place = strip.across_px[at] + side * ACROSS_STEP_PX * share
        found.append(np.where(known, place, edge))
    return found[0], found[1]


def _extent(fine: Image, outer: Pair) -> Floats:
    """How far the periosteal slope extends across: the geometric rise of a tube plus all blur.

    Of the two sides the sharper one: blur widens both, a neighbour that comes near only one.
    """
    rows = np.arange(len(fine))[:, None]
    steps = np.arange(round(_EXTENT_REACH_PX / ACROSS_STEP_PX))
    found: list[Floats] = []
    for side, edge in zip((-1.0, 1.0), outer, strict=True):
        peak = np.rint(edge / ACROSS_STEP_PX + (fine.shape[1] - 1) / 2).astype(int)[:, None]
        half = -side * fine[rows, np.clip(peak, 0, fine.shape[1] - 1)] / 2
        extent = np.zeros(len(fine))
        for direction in (-1, 1):
            near = np.clip(peak + direction * steps, 0, fine.shape[1] - 1)
            above = -side * fine[rows, near] > half
            extent += np.logical_and.accumulate(above, axis=1).sum(axis=1)
        found.append(extent * ACROSS_STEP_PX)
    return np.minimum(*found)


def _head_joint(strip: Strip, head_px: Floats) -> Floats:
    """The head end moved to the gap of the finger joint, where one is clear on the axis."""
    s = strip.along_px / strip.length_px
    step = ALONG_STEP_PX / strip.length_px
    profile = strip.values.mean(axis=1)[:, None]
    smooth = cv2.GaussianBlur(profile, (0, 0), sigmaX=0.01, sigmaY=_JOINT_HALF_GAP / 2 / step)[:, 0]
    h = max(round(_JOINT_HALF_GAP / step), 1)
    depth = np.zeros_like(smooth)
    depth[h:-h] = smooth[: -2 * h] + smooth[2 * h :] - 2 * smooth[h:-h]
    unevenness = float(np.median(np.abs(depth[s < 0.6])))
    worth = depth * np.exp(-0.5 * ((s - _JOINT_PRIOR[0]) / _JOINT_PRIOR[1]) ** 2)
    worth[s < 0.6] = 0
    at = int(worth.argmax())
    if depth[at] < _JOINT_CLEAR * unevenness:
        return head_px
    return strip.to_frame_px(s[at] * strip.length_px, 0.0)


def _slope_noise(gradient: Image, outer: Pair) -> float:
    """Spread of the averaged slope along the bone's own middle line, beyond its slow changes."""
    centre = np.rint((outer[0] + outer[1]) / 2 / ACROSS_STEP_PX + (gradient.shape[1] - 1) / 2).astype(int)
    line = gradient[np.arange(len(centre)), np.clip(centre, 0, gradient.shape[1] - 1)]
    differences = np.diff(line[::4])
    return float(1.4826 * np.median(np.abs(differences - np.median(differences))) / np.sqrt(2))
