"""Find and name the shafts of metacarpals 2-5 from the hand's pose and the bright ridges in its palm.

Assumes
    A located hand with five named fingers, bones brighter than the soft tissue around them.
Tolerates
    Any rotation, either side; hands from about five years up; display processing that keeps bones bright.
Method
    The palm is resampled to a canonical pose (fingers up, thumb to the right, palm radius R = 64 px). A ridge
    filter as wide as a shaft answers on the shafts. Straight lines near the anatomical prior (heads below the
    finger bases, bases fanned out from the carpus) compete; the four lines are chosen together, so that a
    line cannot take its neighbour's bone.
Meaning
    A shaft runs from the base (carpus) to the head (finger joint), approximately; `edges` refines it.
Known failures
    Overlapping metacarpals (oblique views) and metal in the palm.
"""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from station.dxr.hand import Hand
from station.dxr.localise import Located
from station.exam import Side
from station.result import Reason

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]

NUMBERS = (2, 3, 4, 5)

_R_PX = 64  # palm radius in the canonical patch
_ALONG = (-0.9, 1.9)  # extent of the patch from the palm centre towards the fingers, in R
_ACROSS = (-1.5, 1.4)  # towards the thumb
# Base and head of each metacarpal, derived from landmarks of five hands (Digital Hand Atlas), in R:
_BASE_ALONG = {2: -0.37, 3: -0.35, 4: -0.37, 5: -0.43}  # from the palm centre
_BASE_ACROSS = {2: 0.22, 3: -0.08, 4: -0.34, 5: -0.51}
_HEAD_BELOW_FINGER_BASE = {2: 0.06, 3: 0.19, 4: 0.21, 5: 0.03}
# The same from the finger tips, for fingers together (means of real hands of ages 8-16), in R:
_HEAD_BELOW_TIP = {2: 1.78, 3: 2.05, 4: 1.95, 5: 1.55}
_LENGTH = {2: 1.58, 3: 1.53, 4: 1.38, 5: 1.27}
_RIDGE_SIGMA = 0.075  # about 0.4 shaft widths, in R
_FRACTIONS = np.linspace(0.22, 0.82, 25)  # of the bone, where ridge answers are averaged
_SEARCH = 0.26  # how far either end may move sideways, in R
_STEP = 0.025
_PRIOR_WEIGHT = 4.0  # ridge answer per R² of deviation from the prior
_MIN_SPACING = (0.14, 0.26)  # between neighbours at base and head ends of the averaged part, in R
_MIN_ANSWER = 0.45  # mean normalised ridge answer of a real shaft


@dataclass(frozen=True, slots=True)
class Shaft:
    """One metacarpal's approximate axis in frame pixels (row, column)."""

    number: int
    base_px: tuple[float, float]
    head_px: tuple[float, float]
    answer: float  # mean normalised ridge answer, about 1 for a clear shaft


@dataclass(frozen=True, slots=True)
class Pose:
    """Canonical hand coordinates (along, across) in palm radii, origin at the palm centre."""

    origin_px: Floats
    up: Floats  # row, column
    thumbwards: Floats
    radius_px: float

    def to_small_px(self, along: Floats, across: Floats) -> Floats:
        """(…,) and (…,) in R to (…, 2) small image pixels."""
        offset = along[..., None] * self.up + across[..., None] * self.thumbwards
        return self.origin_px + self.radius_px * offset

    def to_hand(self, small_px: tuple[float, float]) -> Floats:
        """Small image pixel to (along, across) in R."""
        offset = (np.asarray(small_px) - self.origin_px) / self.radius_px
        return np.array([offset @ self.up, offset @ self.thumbwards])


def pose_of(hand: Hand, side: Side) -> Pose:
    """The pose in which a left and a right hand look the same."""
    angle = np.radians(hand.pointing_deg)
    up = np.array([-np.cos(angle), np.sin(angle)])
    right = np.array([np.sin(angle), np.cos(angle)])
    return Pose(np.asarray(hand.palm_px), up, right if side is Side.LEFT else -right, hand.palm_radius_px)


def find_shafts(located: Located, *, from_tips: bool = False) -> dict[int, Shaft] | Reason:
    """Name and locate metacarpals 2-5.

    Parameters
    ----------
    from_tips : bool
        Expect the heads below the finger tips instead of the finger bases: right for fingers together.

    Returns
    -------
    dict or Reason
        Shafts by number, or `metacarpals-not-found`.
    """
    hand = located.hand
    pose = pose_of(hand, located.side)
    answers = _ridges(_patch(located.image, pose))
    lines = [
        _candidates(
            answers,
            *_expected(hand, pose, number, from_tips),
        )
        for number in NUMBERS
    ]
    chosen = _choose(lines)
    if chosen is None:
        return _not_found(0.0)
    shafts = {
        number: _shaft(located, pose, number, line, which)
        for number, line, which in zip(NUMBERS, lines, chosen, strict=True)
    }
    weakest = min(shaft.answer for shaft in shafts.values())
    return _not_found(weakest) if weakest < _MIN_ANSWER else shafts


def _not_found(weakest: float) -> Reason:
    return Reason(
        "metacarpals-not-found",
        "no four separate metacarpal shafts are seen where the palm should be",
        "Check that this is a PA hand, lying flat, and that nothing covers the palm.",
        weakest,
        _MIN_ANSWER,
    )


def _patch(image: Image, pose: Pose) -> Image:
    """Canonical patch: row 0 towards the fingers, columns towards the thumb."""
    along = np.arange(_ALONG[1], _ALONG[0], -1 / _R_PX)
    across = np.arange(_ACROSS[0], _ACROSS[1], 1 / _R_PX)
    where = pose.to_small_px(*np.meshgrid(along, across, indexing="ij")).astype(np.float32)
    sampled = cv2.remap(
        image, where[..., 1], where[..., 0], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(sampled, np.float32)


def _ridges(patch: Image) -> Image:
    """Negative second derivative across, at the scale of a shaft, over its local root mean square."""
    sigma = _RIDGE_SIGMA * _R_PX
    smooth = cv2.GaussianBlur(patch, (0, 0), sigma)
    curvature = -cv2.filter2D(smooth, cv2.CV_32F, np.array([[1, -2, 1]], np.float32))
    power = cv2.GaussianBlur(curvature * curvature, (0, 0), 0.5 * _R_PX)
    return np.asarray(curvature / np.sqrt(power + 1e-12), np.float32)


@dataclass(frozen=True, slots=True)
class _Lines:
    """Candidate lines of one bone, at the two ends of the averaged part."""

    base: Floats  # (2,) along, across of the prior base
    head: Floats
    shift_base: Floats  # (n,) sideways shift of the base, R
    shift_head: Floats
    score: Floats  # (n,)
    answer: Floats  # (n,)

    def across_at(self, fraction: float) -> Floats:
        """(n,) sideways position at a fraction of the bone."""
        low, high = self.base[1] + self.shift_base, self.head[1] + self.shift_head
        return low + fraction * (high - low)


def _expected(hand: Hand, pose: Pose, number: int, from_tips: bool) -> tuple[Floats, Floats]:
    """Base and head of a metacarpal where the fingers let them be expected, in R."""
    finger = hand.fingers[number]
    head = pose.to_hand(finger.base_px) - (_HEAD_BELOW_FINGER_BASE[number], 0.0)
    base = np.array([_BASE_ALONG[number], _BASE_ACROSS[number]])
    if from_tips:
        head[0] = pose.to_hand(finger.tip_px)[0] - _HEAD_BELOW_TIP[number]
        base[0] = head[0] - _LENGTH[number]
    return base, head


def _candidates(answers: Image, base: Floats, head: Floats) -> _Lines:
    shifts = np.arange(-_SEARCH, _SEARCH + 1e-9, _STEP)
    shift_base, shift_head = (s.ravel() for s in np.meshgrid(shifts, shifts, indexing="ij"))
    along = base[0] + _FRACTIONS * (head[0] - base[0])
    start, end = base[1] + shift_base, head[1] + shift_head
    across = start[:, None] + _FRACTIONS * (end - start)[:, None]
    rows = np.broadcast_to((_ALONG[1] - along) * _R_PX, across.shape).astype(np.float32)
    columns = ((across - _ACROSS[0]) * _R_PX).astype(np.float32)
    answer = cv2.remap(answers, columns, rows, cv2.INTER_LINEAR).mean(axis=1).astype(np.float64)
    score = answer - _PRIOR_WEIGHT * (shift_base**2 + shift_head**2)
    return _Lines(base, head, shift_base, shift_head, score, answer)


def _choose(lines: list[_Lines]) -> list[int] | None:
    """The best four lines with their order and spacing kept (dynamic programming over the bones)."""
    total = lines[0].score
    back: list[npt.NDArray[np.intp]] = []
    for left, right in pairwise(lines):
        allowed = np.ones((len(left.score), len(right.score)), bool)
        for fraction, spacing in zip(_FRACTIONS[[0, -1]], _MIN_SPACING, strict=True):
            allowed &= left.across_at(fraction)[:, None] - right.across_at(fraction)[None, :] > spacing
        reached = np.where(allowed, total[:, None], -np.inf)
        back.append(reached.argmax(axis=0))
        total = reached.max(axis=0) + right.score
    last = int(total.argmax())
    if not np.isfinite(total[last]):
        return None
    chosen = [last]
    for step in reversed(back):
        chosen.append(int(step[chosen[-1]]))
    return chosen[::-1]


def _shaft(located: Located, pose: Pose, number: int, lines: _Lines, which: int) -> Shaft:
    ends = np.array([lines.base, lines.head])
    ends[:, 1] += lines.shift_base[which], lines.shift_head[which]
    base, head = located.to_frame_px(pose.to_small_px(ends[:, 0], ends[:, 1]))
    return Shaft(
        number, (float(base[0]), float(base[1])), (float(head[0]), float(head[1])), float(lines.answer[which])
    )
