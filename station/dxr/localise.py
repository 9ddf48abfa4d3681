"""Where the hand lies in a radiograph: a small image of it, and the hand's outline in that.

Assumes
    One hand on a background that is darker than soft tissue after conversion to attenuation (bone bright).
    The background may be natural, saturated or masked.
Tolerates
    Film borders, markers, wedges and collimator blades, as long as they do not overlap the fingers; a
    background that rises slowly; any polarity that `Frame.signal` states rightly.
Method
    Area-average to about 420 pixels height, take the logarithm if the signal is dose, and try thresholds from
    just above the background upwards. The threshold is right if what it cuts out is a hand: the middle one of
    all that give the most complete hand is taken.
Meaning
    `scale` turns small pixels into frame pixels: frame = (small + 0.5)·scale − 0.5, for row and column alike.
Known failures
    A background ramp as high as soft tissue; two hands that overlap.
"""

from collections import Counter
from dataclasses import dataclass
from math import isfinite

import cv2
import numpy as np
import numpy.typing as npt

from station.dxr.hand import Hand, find_hand
from station.exam import Side
from station.frame import Frame, Signal
from station.result import Reason

Image = npt.NDArray[np.float32]

_HEIGHT_PX = 420
_LEVELS = (0.04, 0.06, 0.08, 0.11, 0.14, 0.18, 0.22, 0.27, 0.33, 0.40, 0.47)  # of the range background-bone
_BORDER_COVERED = 0.45  # of an image edge: no forearm covers that much, film borders do
_BORDER_FADED = 0.12  # a border stripe ends where less of the line is covered
_BORDER_DEPTH = 0.06  # of the image
_BLADE_ATTENUATION = (
    3.3  # −ln(dose/open field): beyond any hand (2.9), below blades and lead with lag (4.0); derived
)
_MAX_VALUE = 1e9  # own choice: far beyond any detector, and its square is far within float32
_SHAFT_WIDTH = 0.2  # of the palm radius (derived from real hands)
_MIN_SHAFT_PX = 10.0  # 2.4 times that, the most edges allow, is below the 25 px of `quality` (derived)


@dataclass(frozen=True, slots=True)
class Located:
    """The hand in a small image."""

    image: Image  # attenuation, bone bright
    hand: Hand  # with five named fingers
    side: Side  # by its thumb
    scale: float  # frame pixels per small pixel

    def to_frame_px(self, small_px: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Small image coordinates to frame coordinates."""
        return (small_px + 0.5) * self.scale - 0.5


def locate(frame: Frame) -> Located | Reason:
    """Find the hand in a radiograph.

    Returns
    -------
    Located or Reason
        With five named fingers; else the reasons of `find_hand`, `no-open-hand` or `no-contrast`.
    """
    strange = _strange_pixels(frame)
    if strange is not None:
        return strange
    image, usable, scale = _reduced(frame)
    low, high = np.percentile(image[usable], (1, 99)) if usable.any() else (0.0, 0.0)
    if not high > low:
        return Reason("no-contrast", "the image is uniform", "Check that an exposure was made and read out.")
    # float32 noise of the percentiles must not decide about masked zeros
    masks = [(image > low + level * (high - low)) & usable for level in _LEVELS]
    found = [find_hand(_without_film_border(mask)) for mask in masks]
    hands = [hand for hand in found if isinstance(hand, Hand)]
    if not hands:
        reasons = [reason for reason in found if isinstance(reason, Reason)]
        commonest = Counter(reason.id for reason in reasons).most_common(1)[0][0]
        return next(reason for reason in reasons if reason.id == commonest)
    open_hands = [(hand, hand.side) for hand in hands if len(hand.fingers) == 5 and hand.side is not None]
    if not open_hands:
        return Reason(
            "no-open-hand",
            "nothing in the image has the outline of an open hand with five fingers",
            "Lay the whole hand flat, palm down, fingers and thumb slightly apart.",
            max(len(hand.fingers) for hand in hands),
            5,
        )
    hand, side = open_hands[len(open_hands) // 2]
    return _too_small(hand, scale) or Located(image, hand, side, scale)


def _strange_pixels(frame: Frame) -> Reason | None:
    """Pixels that are no radiograph's: no real numbers, not finite, or beyond what float32 can square."""
    pixels = frame.pixels
    if pixels.dtype.kind not in "uif":
        message = f"pixels of type {pixels.dtype} are no grey values"
        return Reason("pixels-unusable", message, "Give integer or floating point grey values.")
    largest = max(abs(float(pixels.min())), abs(float(pixels.max())))
    if not isfinite(largest):  # both ends are no number as soon as one pixel is none
        message = "the image holds values that are no finite numbers"
        return Reason("pixels-unusable", message, "Export the image again, or correct its defects first.")
    if largest > _MAX_VALUE:
        message = f"a pixel has the value {largest:.3g}"
        remedy = "Export the image again in its stored values."
        return Reason("pixels-unusable", message, remedy, largest, _MAX_VALUE)
    return None


def _too_small(hand: Hand, scale: float) -> Reason | None:
    """Whether no shaft of this hand can have the pixels that its walls need; spares the search for them."""
    width = _SHAFT_WIDTH * hand.palm_radius_px * scale
    if width >= _MIN_SHAFT_PX:
        return None
    message = f"the hand is small in the image: its metacarpals would be about {width:.1f} pixels wide"
    return Reason("resolution-too-low", message, "Use the full-resolution image.", width, _MIN_SHAFT_PX)


def attenuation(pixels: npt.NDArray[np.generic], signal: Signal) -> Image:
    """Attenuation in arbitrary units, bone bright; dose becomes −ln(dose), with dose below 1 taken as 1."""
    values = pixels.astype(np.float32)
    if signal is Signal.ATTENUATION:
        return values
    return -np.log(np.maximum(values, np.float32(1)))


def _without_film_border(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Clear a bright stripe along an edge of the image, which would join fingers that come near it."""
    cleared = mask.copy()
    for turns in range(4):
        view = np.rot90(cleared, turns)
        if view[0].mean() > _BORDER_COVERED:
            covered = view[: max(int(_BORDER_DEPTH * len(view)), 1)].mean(axis=1)
            thin = covered < _BORDER_FADED
            view[: int(thin.argmax()) + 1 if thin.any() else len(covered)] = False
    return cleared


def _reduced(frame: Frame) -> tuple[Image, npt.NDArray[np.bool_], float]:
    """Small attenuation image, where it is usable, and frame pixels per small pixel."""
    rows, columns = frame.shape
    scale = max(max(rows, columns) / _HEIGHT_PX, 1.0)
    size = (max(round(columns / scale), 1), max(round(rows / scale), 1))
    pixels = frame.pixels
    if pixels.dtype.str[1:] not in {"u1", "u2", "f4"}:  # what cv2.resize averages
        pixels = pixels.astype(np.float32)
    small = attenuation(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), frame.signal)
    usable = np.isfinite(small)
    if frame.signal is Signal.DOSE:
        open_field = np.percentile(small, 2)
        blades = (small > open_field + _BLADE_ATTENUATION).astype(np.uint8)
        usable &= cv2.dilate(blades, np.ones((3, 3), np.uint8)) == 0
    return small, usable, scale
