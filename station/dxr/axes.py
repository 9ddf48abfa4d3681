"""Axes of metacarpals 2-4 from joint to joint, whatever the fingers do.

Assumes
    A located hand. The spaces of the finger joints are darker than the bones beside them.
Tolerates
    Fingers apart or pressed together, tips cut off; carpals that overlap a base.
Method
    Shafts are sought from the bases of the fingers. Where a joint then crosses a shaft, the fingers are
    together and their bases were seen too far out: shafts are sought again from the finger tips, and the
    axes that fewer gaps cross are kept. The base is moved to the gap between metacarpal and carpus: a thin
    dark line that may be tilted or notched, sought for the three bones together, because they share the
    error of the first guess.
Meaning
    An axis runs from the bone's surface at the carpus to its surface at the finger joint.
Known failures
    Carpus and metacarpal fused or overlapping (oblique views): the base is then a guess from proportions.
"""

from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from station.dxr.edges import Axis, find_axis
from station.dxr.localise import Located, attenuation
from station.dxr.metacarpals import Shaft, find_shafts
from station.frame import Frame
from station.result import Reason

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]

MEASURED = (2, 3, 4)
_EXPECTED_WIDTH = 0.2  # of the palm radius (derived from real hands)
_LENGTH_PER_SPACING = {2: 1.62, 3: 1.61, 4: 1.42}  # bone length over the distance between heads 2 and 4
# All in bone lengths, from anatomy: a joint space of 1.5 mm and bones of about 62 mm.
_GAP_SIGMA = 0.012
_PLATE_SIGMA = 0.008
_PLATE = (0.78, 0.93)  # where growth plates of the heads lie
_STEP = 0.004
_BASE_REACH = 0.2  # how far the first guess of a base may be off
_BASE_SPREADS = (0.2, 0.06)  # and how far it usually is, at first and once more from there
_HALF_GAP = 0.0125
_TOGETHER = 0.036  # how far one base may differ from the common error
_TILT = 0.06  # how far the gap may leave its middle at the bone's sides
_BAND = 0.43  # half width of the band in which gaps are seen, of the width
_ENOUGH = 2.3  # answer of one gap that needs no more: one bone must not outvote two (derived)
_BASE_CLEAR = 4.0  # sum of the three gaps' answers, in local root mean squares; at chance below 3 (derived)
_SHAFT = (0.25, 0.7)  # where no joint lies; above are the growth plates of the heads
_PHALANX = (1.1, 1.3)  # nor there; below are the growth plates of the phalanges
_JOINT = 0.06  # half width of where the finger joint is
_RIVAL = 0.8  # a gap that clear beside the best one may be the joint as well; own choice
_CLEARER = 0.7  # other axes must have that much less of it to be believed; own choice
_CROSSED = 0.8  # clearness of a gap across a shaft over the joint's, below 0.6 in right axes (derived)


def find_axes(frame: Frame, located: Located) -> dict[int, Axis] | Reason:
    """Axes of metacarpals 2-4, base to head.

    Returns
    -------
    dict or Reason
        Axes by number, or `metacarpals-not-found`.
    """
    shafts = find_shafts(located)
    if isinstance(shafts, Reason):
        return shafts
    axes = _fitted(frame, located, shafts)
    crossed = _crossings(frame, axes)
    if max(crossed) > _CROSSED:
        other = find_shafts(located, from_tips=True)
        if not isinstance(other, Reason):
            again = _fitted(frame, located, other)
            clearer = sum(_crossings(frame, again)) < _CLEARER * sum(crossed)
            axes = again if clearer else axes
    return _settled(frame, axes)


def growth_plates(frame: Frame, axes: dict[int, Axis]) -> float:
    """Clearness of the dark line below the heads, in root mean squares; the middle one of the bones."""
    found: list[float] = []
    for axis in axes.values():
        s, answer = _gaps(frame, axis, (0.7, 1.1), _PLATE_SIGMA)
        found.append(float(answer[(s > _PLATE[0]) & (s < _PLATE[1])].max()))
    return float(np.median(found))


def _fitted(frame: Frame, located: Located, shafts: dict[int, Shaft]) -> dict[int, Axis]:
    expected_px = _EXPECTED_WIDTH * located.hand.palm_radius_px * located.scale
    ends = {n: (np.asarray(shafts[n].base_px), np.asarray(shafts[n].head_px)) for n in MEASURED}
    return {n: find_axis(frame, *ends[n], expected_px) for n in MEASURED}


def _crossings(frame: Frame, axes: dict[int, Axis]) -> list[float]:
    """For each bone the clearest gap across its shaft or the phalanx's, over that of the joint between."""
    ratios: list[float] = []
    for axis in axes.values():
        s, answer = _gaps(frame, axis, (_SHAFT[0], _PHALANX[1]), both_sides=True)
        shafts = (s < _SHAFT[1]) | (s > _PHALANX[0])
        joint = answer[np.abs(s - 1) < _JOINT].max()
        ratios.append(float(answer[shafts].max() / max(joint, 1e-3)))
    return ratios


def _settled(frame: Frame, axes: dict[int, Axis]) -> dict[int, Axis]:
    """Ends on the bones' surfaces, half a joint space from the middle of the gaps that were found."""
    guessed = _by_proportion(axes)
    usual, often = _BASE_SPREADS
    # which of two gaps is the joint shows only from there, where the bones are seen at their right length
    again = [_bases_on_gaps(frame, first, often)[0] for first, _ in _bases_on_gaps(frame, guessed, usual)]
    settled = max(again, key=lambda found: found[1])[0]
    return {number: _moved(axis, _HALF_GAP, -_HALF_GAP) for number, axis in settled.items()}


def _bases_on_gaps(frame: Frame, axes: dict[int, Axis], spread: float) -> list[tuple[dict[int, Axis], float]]:
    """Base ends moved to the gaps to the carpus, with their clearness; best first, as they are if none is."""
    answers: dict[int, Floats] = {}
    s = np.zeros(0)
    for number, axis in axes.items():
        s, answers[number] = _gaps(frame, axis, (-_BASE_REACH, _BASE_REACH))
    near = np.ones((2 * round(_TOGETHER / _STEP) + 1, 1), np.uint8)
    seen = (cv2.dilate(np.minimum(a, _ENOUGH)[:, None], near)[:, 0] for a in answers.values())
    common = sum(seen, np.zeros(len(s)))
    worth = np.where(common >= _BASE_CLEAR, common, 0.0) * np.exp(-0.5 * (s / spread) ** 2)
    found: list[tuple[dict[int, Axis], float]] = []
    left = worth.copy()
    while left.max() > max(_RIVAL * float(worth.max()), 1e-9):
        at = int(left.argmax())
        close = np.abs(s - s[at]) <= _TOGETHER + _STEP / 2
        moves = {n: float(s[close][int(answer[close].argmax())]) for n, answer in answers.items()}
        found.append(({n: _moved(axis, moves[n]) for n, axis in axes.items()}, float(left[at])))
        left[close] = 0.0
    return found or [(axes, 0.0)]


def _moved(axis: Axis, base: float, head: float = 0.0) -> Axis:
    """Both ends moved along the axis by shares of its length, towards the finger if positive."""
    along = axis.head_px - axis.base_px
    return replace(axis, base_px=axis.base_px + base * along, head_px=axis.head_px + head * along)


def _by_proportion(axes: dict[int, Axis]) -> dict[int, Axis]:
    """Base ends half way between the palm's prior and the lengths that the spacing of the heads implies.

    The palm's prior moves with the soft tissue between the fingers, the spacing of the heads with the spread
    of the metacarpals: the mean errs least.
    """
    spacing = float(np.hypot(*(axes[2].head_px - axes[4].head_px)))
    settled: dict[int, Axis] = {}
    for number, axis in axes.items():
        prior = float(np.hypot(*(axis.base_px - axis.head_px)))
        length = (prior + _LENGTH_PER_SPACING[number] * spacing) / 2
        settled[number] = _moved(axis, 1 - length / prior)
    return settled


def _gaps(
    frame: Frame,
    axis: Axis,
    part: tuple[float, float],
    sigma: float = _GAP_SIGMA,
    *,
    both_sides: bool = False,
) -> tuple[Floats, Floats]:
    """Places along the axis (n,) and how much a thin dark line crosses it there, in root mean squares."""
    along = axis.head_px - axis.base_px
    across = np.array([-along[1], along[0]]) / np.hypot(*along)
    margin = 3 * sigma
    s = np.arange(part[0] - margin, part[1] + margin, _STEP)
    x = np.linspace(-_BAND, _BAND, 31) * axis.width_px
    places = axis.base_px + s[:, None, None] * along + x[None, :, None] * across
    values = cv2.GaussianBlur(_sampled(frame, places), (0, 0), sigmaX=2.0, sigmaY=sigma / _STEP)
    lag = round(sigma / _STEP)
    dark = np.zeros_like(values)
    below, above, here = values[: -2 * lag], values[2 * lag :], values[lag:-lag]
    # the foot of something bright, such as a ring, is dark against one side only
    dark[lag:-lag] = (2 * np.minimum(below, above) if both_sides else below + above) - 2 * here
    dark /= np.sqrt((dark * dark).mean()) + 1e-9
    seen = _tilted(dark, np.rint(_TILT * np.abs(x) / x[-1] / _STEP))
    inside = (s >= part[0] - 1e-9) & (s <= part[1] + 1e-9)
    return s[inside], seen.sum(axis=1, dtype=np.float64)[inside] / len(x)


def _tilted(values: Image, reach: Floats) -> Image:
    """In each column the largest of the values up to `reach` rows away."""
    outermost = np.argsort(-reach, kind="stable")
    largest = values.T[outermost]
    for rows in range(1, int(reach.max()) + 1):
        wide = largest[: np.count_nonzero(reach >= rows)]
        pairs = np.maximum(wide[:, :-1], wide[:, 1:])
        wide[:, :-1] = pairs
        np.maximum(wide[:, 1:-1], pairs[:, :-1], out=wide[:, 1:-1])
        wide[:, -1] = pairs[:, -1]
    return largest.T


def _sampled(frame: Frame, places: Floats) -> Image:
    """Attenuation at places (…, 2) of the frame."""
    low = np.clip(np.floor(places.reshape(-1, 2).min(axis=0)).astype(int) - 1, 0, np.array(frame.shape) - 1)
    high = np.clip(np.ceil(places.reshape(-1, 2).max(axis=0)).astype(int) + 2, low + 1, frame.shape)
    crop = frame.pixels[low[0] : high[0], low[1] : high[1]].astype(np.float32, copy=False)
    where = (places - low).astype(np.float32)
    raw = cv2.remap(crop, where[..., 1], where[..., 0], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return attenuation(raw, frame.signal)
