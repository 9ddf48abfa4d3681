"""What does not belong to a shaft: fracture lines and steps, metal, other fingers, texture of a dressing.

Assumes
    Edges along one shaft and its region of interest, found by `edges` and `radiogrammetry`.
Tolerates
    Bow and flare of the shaft, trabeculae, noise, walls of any thickness.
Method
    The region and a margin are straightened so that both outer edges become parallel. A shaft changes slowly
    along its axis: a quadratic per column, robust against outliers, is taken off, and what is left is judged
    over the bone's own contrast (cortex over the tissue beside it). Lines across the shaft are sought at all
    angles up to 65 degrees; metal by its height over the bone's contrast in its neighbours.
Meaning
    Shares of the bone's contrast or width, so kV, dose and display scaling do not matter.
Known failures
    What is even along the whole region and no denser than bone: an even plaster, a splint along the shaft.
    Impacted fractures without line or step; steps under 1 mm; a weave under 0.3 of the bone's contrast. Two
    exposures of a hand that moved between look like two sharp edges and pass.
"""

from collections.abc import Collection
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from station.dxr.edges import ACROSS_STEP_PX, ALONG_STEP_PX, Walls
from station.dxr.radiogrammetry import Profile
from station.frame import Signal
from station.result import Reason

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]

_MARGIN = 0.2  # of the region's length, looked at beyond either end
_HALF = 1.5  # columns reach that many half widths to either side
_COLUMNS = 61
_ANGLES_DEG = np.arange(-65, 66, 10)
_ROUNDS = 4  # of outlier rejection
_INSIDE, _BESIDE = 0.85, (1.12, 1.5)  # in half widths
_PATCH, _LINE, _STEP = 0.15, 0.12, 0.3  # sizes of what is sought, in widths: a line of about 1 mm

# Limits, in shares of the bone's contrast unless said otherwise (derived): between what 29 real hands read at
# most (in brackets) and what built defects read. No refusal of those hands is thus no proof; defects judge.
_DARK_LINE, _BRIGHT_LINE = 0.075, 0.085  # (0.04, 0.05); a gap of 0.4 mm through the whole shaft: 0.1
_MAX_PATCH = 0.42  # (0.36)
_MAX_STEP = 0.3  # (0.20); about 1.2 mm
_MAX_TEXTURE = 0.09  # (0.07) of one bone
_MIN_BONES = 2
_MAX_DRESSING = 0.06  # (0.04) of the middle one of the bones: a dressing lies over all
_CONTRAST = (0.6, 1.45)  # (0.77-1.27) over the middle one of the bones
_METAL = 1.8  # (1.53) brightest over the middle bone's contrast
_CLIPPED = 0.13  # (0.10) of the canal, more than in the other bones, at a display image's ceiling


@dataclass(frozen=True, slots=True)
class Oddness:
    """How far one shaft's region is from an even tube; mostly in shares of the bone's contrast."""

    contrast: float  # cortex over the tissue beside it, attenuation
    brightest: float  # of the region over the tissue beside it, attenuation
    dark_line: float  # depth of the darkest narrow line across the shaft
    bright_line: float
    patch: float  # largest unevenness of 0.15 widths, negative if dark
    step: float  # largest sudden shift of the shaft to one side
    texture: float  # rms unevenness beside the bone
    clipped_canal: float  # share of the canal's middle at the picture's ceiling, 0 ... 1


def oddness(walls: Walls, profile: Profile) -> Oddness:
    """Measure what is uneven in the region of one shaft."""
    rows = _rows(walls, profile)
    x, values = _straightened(walls, rows)
    bone, beside = np.abs(x) <= 1, (np.abs(x) > _BESIDE[0]) & (np.abs(x) < _BESIDE[1])
    tissue = float(np.median(values[:, beside]))
    contrast = max(float(np.median(np.percentile(values[:, bone], 85, axis=1))) - tissue, 1e-6)
    rest = _without_trend(values) / np.float32(contrast)
    row_widths = ALONG_STEP_PX / profile.w_px
    sigmas = (_PATCH / (x[1] - x[0]), _PATCH / 2 / row_widths)
    smooth = cv2.GaussianBlur(rest, (0, 0), sigmas[0], sigmaY=sigmas[1], borderType=cv2.BORDER_REPLICATE)
    bright = cv2.GaussianBlur(values, (0, 0), sigmas[0] / 2, sigmaY=sigmas[1] / 2)
    inside = np.abs(x) < _INSIDE
    patches = smooth[:, bone].ravel()
    dark_line, bright_line = _lines(rest[:, inside], x[inside], row_widths)
    return Oddness(
        contrast=contrast,
        brightest=float(np.percentile(bright[:, bone], 99.5)) - tissue,
        dark_line=dark_line,
        bright_line=bright_line,
        patch=float(patches[int(np.abs(patches).argmax())]),
        step=_step(rest, x, row_widths),
        texture=float(np.sqrt(np.mean(smooth[:, beside] ** 2))),
        clipped_canal=_clipped(walls, rows),
    )


def foreign_reasons(found: dict[int, Oddness], shafts: Collection[int]) -> dict[int, Reason]:
    """For each bone that something crosses or covers, what it is; the bones are judged against each other.

    Parameters
    ----------
    shafts : collection of int
        Which of them look like shafts; in the others only metal is sought.
    """
    usual = float(np.median([odd.contrast for odd in found.values()]))
    least_clipped = min(odd.clipped_canal for odd in found.values())
    reasons: dict[int, Reason] = {}
    for number, odd in found.items():
        reason = _metal(number, odd.brightest / usual, odd.clipped_canal - least_clipped)
        if reason is None and number in shafts:
            reason = _crossed(number, odd, odd.contrast / usual) or _covered(
                number, odd, odd.contrast / usual
            )
        if reason is not None:
            reasons[number] = reason
    return reasons


def dressing_reason(found: dict[int, Oddness], foreign: dict[int, Reason]) -> Reason | None:
    """Whether a texture lies over the whole hand, as of plaster, fibre or bandage, and nothing plainer."""
    broken = {number for number, reason in foreign.items() if reason.id == "shaft-broken"}
    metal = any(reason.id == "metal" for reason in foreign.values())
    if len(found) < _MIN_BONES or metal:
        return None
    whole = [odd.texture for number, odd in found.items() if number not in broken]
    texture = float(np.median(whole or [odd.texture for odd in found.values()]))
    if texture <= _MAX_DRESSING:
        return None
    return Reason(
        "dressing",
        "a coarse texture lies over the hand, as of a cast, splint or bandage",
        "Take the image without cast, splint or bandage; wait until it is removed.",
        texture,
        _MAX_DRESSING,
    )


def _metal(number: int, brightest: float, clipped: float) -> Reason | None:
    if brightest <= _METAL and clipped <= _CLIPPED:
        return None
    value, limit = (brightest, _METAL) if brightest > _METAL else (clipped, _CLIPPED)
    return Reason(
        "metal",
        f"something denser than bone lies over metacarpal {number}: a wire, plate, screw or ring",
        "Take off rings; a bone with metal in it cannot be measured.",
        value,
        limit,
    )


def _crossed(number: int, odd: Oddness, contrast: float) -> Reason | None:
    if contrast > _CONTRAST[1]:
        return None  # what covers the shaft says more than its end, which looks like a line
    remedy = "Look at the image: a fracture makes the bone useless for this measurement, a ring can come off."
    message = f"a dark line crosses the shaft of metacarpal {number}, as of a fracture"
    if odd.dark_line > _DARK_LINE and odd.patch < 0:
        return Reason("shaft-broken", message, remedy, odd.dark_line, _DARK_LINE)
    if odd.patch < -_MAX_PATCH:
        return Reason("shaft-broken", message, remedy, -odd.patch, _MAX_PATCH)
    if odd.bright_line > _BRIGHT_LINE or odd.dark_line > _DARK_LINE:
        message = f"a bright line crosses the shaft of metacarpal {number}: a ring, a wire or another bone"
        return Reason(
            "overlying-structure", message, remedy, max(odd.bright_line, odd.dark_line), _BRIGHT_LINE
        )
    if odd.step > _MAX_STEP:
        message = f"the shaft of metacarpal {number} jumps to one side, as of a displaced fracture"
        return Reason("shaft-broken", message, remedy, odd.step, _MAX_STEP)
    return None


def _covered(number: int, odd: Oddness, contrast: float) -> Reason | None:
    low, high = _CONTRAST
    checks = (
        (odd.patch, odd.patch > _MAX_PATCH, _MAX_PATCH),
        (odd.texture, odd.texture > _MAX_TEXTURE, _MAX_TEXTURE),
        (contrast, contrast < low, low),
        (contrast, contrast > high, high),
    )
    for value, bad, limit in checks:
        if bad:
            message = f"something overlies metacarpal {number}: its region is uneven beyond a bone's texture"
            remedy = "Lay the hand flat with fingers apart, nothing over or under the palm."
            return Reason("overlying-structure", message, remedy, value, limit)
    return None


def _rows(walls: Walls, profile: Profile) -> slice:
    """Of the strip: the region of interest and a margin."""
    start, end = profile.roi_px
    margin = _MARGIN * (end - start)
    s = walls.strip.along_px
    inside = np.flatnonzero((s >= start - margin) & (s <= end + margin))
    return slice(int(inside[0]), int(inside[-1]) + 1)


def _straightened(walls: Walls, rows: slice) -> tuple[Floats, Image]:
    """Offsets in half widths (m,), and the rows resampled to them (n, m)."""
    strip = walls.strip
    low, high = (_quadratic(edge[rows]) for edge in walls.outer)
    x = np.linspace(-_HALF, _HALF, _COLUMNS)
    across = (low + high)[:, None] / 2 + x * (high - low)[:, None] / 2
    columns = (across - strip.across_px[0]) / ACROSS_STEP_PX
    places = np.broadcast_to(np.arange(rows.start, rows.stop)[:, None], columns.shape)
    where = (columns.astype(np.float32), places.astype(np.float32))
    values = cv2.remap(strip.values, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return x, np.asarray(values, np.float32)


def _quadratic(values: Floats) -> Floats:
    along = np.linspace(-1, 1, len(values))
    return np.asarray(np.polyval(np.polyfit(along, values, 2), along), np.float64)


def _without_trend(values: Image) -> Image:
    """Values less a quadratic along each column, fitted with outliers drawn in to twice the usual spread."""
    along = np.linspace(-1, 1, len(values))
    basis = np.stack([np.ones_like(along), along, along**2], 1).astype(np.float32)
    project = basis @ np.linalg.pinv(basis)
    fitted = np.broadcast_to(np.median(values, axis=0), values.shape).astype(np.float32)
    for _ in range(_ROUNDS):
        rest = values - fitted
        spread = 2 * 1.4826 * np.median(np.abs(rest), axis=0)
        fitted = project @ (fitted + np.clip(rest, -spread, spread))
    return np.asarray(values - fitted, np.float32)


def _lines(rest: Image, x: Floats, row_widths: float) -> tuple[float, float]:
    """Darkest and brightest narrow line across the bone, over all angles."""
    rows = np.arange(len(rest), dtype=np.float32)[:, None]
    columns = np.broadcast_to(np.arange(len(x), dtype=np.float32), rest.shape)
    half = max(round(_LINE / 2 / row_widths), 1)
    dark = bright = 0.0
    for angle in _ANGLES_DEG:
        shear = (x * np.tan(np.radians(angle)) / 2 / row_widths).astype(np.float32)
        sheared = cv2.remap(rest, columns, rows + shear, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        line = sheared.mean(axis=1)[:, None]
        narrow = cv2.blur(line, (1, 2 * half + 1)) - cv2.blur(line, (1, 6 * half + 1))
        dark, bright = max(dark, -float(narrow.min())), max(bright, float(narrow.max()))
    return dark, bright


def _step(rest: Image, x: Floats, row_widths: float) -> float:
    """Largest jump along the bone of what is gained at one edge and lost at the other."""
    right, left = ((np.sign(side) * x > 0.8) & (np.sign(side) * x < 1.2) for side in (1, -1))
    tilt = (rest[:, right].mean(axis=1) - rest[:, left].mean(axis=1)) / 2
    span = max(round(_STEP / row_widths), 2)
    if len(tilt) < 2 * span + 1:
        return 0.0
    total = np.cumsum(np.concatenate([[0.0], tilt]))
    mean = (total[span:] - total[:-span]) / span
    return float(np.abs(mean[span:] - mean[:-span]).max())


def _clipped(walls: Walls, rows: slice) -> float:
    """Share of the middle half of the bone at and above the picture's ceiling, or of zero dose."""
    strip = walls.strip
    middle = float(np.mean((walls.outer[0] + walls.outer[1])[rows])) / 2
    half = float(np.mean(walls.width_px[rows])) / 4
    canal = strip.raw[rows][:, np.abs(strip.across_px - middle) < half]
    if strip.signal is Signal.DOSE or strip.ceiling is None:
        return 0.0
    return float((canal >= strip.ceiling - 0.5).mean())
