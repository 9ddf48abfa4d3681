"""From four edges to T, W, MCI and VPA of one bone, and from the bones to DXR-BMD.

Assumes
    Edges by steepest gradient on attenuation; the shaft is a round tube where it is narrowest.
Tolerates
    Single bad profiles: those without contrast, with a wall beyond 0.48 W, or far from their neighbours.
Method
    The region of interest is centred on the narrowest part that keeps its margin from either bone end.
    T is the mean of both walls, W the outer width; means over the valid profiles. The known part of the blur
    is put back into W (steepest gradients of a blurred tube lie 0.76 sigma inside the surface).
Meaning
    u95 is twice the standard error of the mean (scatter of the profiles about a slow trend, with the number
    of independent profiles from their own autocorrelation) combined with a systematic half width. It does
    not hold the constant c, which is uncertain by up to 10 % between systems.
Known failures
    Flat or ridged shafts read up to 0.2 mm too thick in T and 0.2 mm too narrow in W.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from station.dxr.edges import ALONG_STEP_PX, GRADIENT_SIGMA_PX, Walls

Floats = npt.NDArray[np.float64]

RELATIVE_ROI = {2: 0.31, 3: 0.29, 4: 0.28}  # of the bone length: 20/18/16 mm of an adult (derived)
_EDGE_SHIFT = 0.76  # steepest gradient inside the true surface, in sigma of the blur (derived)
_SMOOTH_FRACTION = 0.08  # of the length, before the narrowest part is sought (5 mm of 63)
_MAX_WALL = 0.48  # of W
_MIN_SLOPE = 2.0  # endosteal steepness over its noise
_OUTLIER_MAD = 3.5
_MIN_SPREAD_PX = 0.5  # a spread below that calls nothing an outlier
# Systematic half widths (95 %) as fractions of W, derived: 0.10 mm and 0.15 mm of 8.2 mm
_SYSTEMATIC_T = 0.012
_SYSTEMATIC_W = 0.018


@dataclass(frozen=True, slots=True)
class Profile:
    """One bone in frame pixels (detector plane), blur put back into the width."""

    number: int
    t_px: float
    t_u95_px: float
    w_px: float
    w_u95_px: float
    walls_px: tuple[float, float]  # mean wall on the negative and the positive side
    valid_fraction: float
    narrowest_px: float  # position of the region's centre on the axis
    roi_px: tuple[float, float]  # start and end on the axis
    contrast: float  # median endosteal steepness over its noise

    @property
    def mci(self) -> float:
        """2T/W."""
        return 2 * self.t_px / self.w_px


def metacarpal_index(t: float, w: float) -> float:
    """MCI = 2T/W; T is one wall, W the outer width, in the same unit. Refuses T outside 0 … W/2."""
    _refuse_impossible(t, w)
    return 2 * t / w


def volume_per_area(t: float, w: float) -> float:
    """VPA = π·T·(1 − T/W), in the unit of T and W. Refuses T outside 0 … W/2."""
    _refuse_impossible(t, w)
    return float(np.pi) * t * (1 - t / w)


def volume_per_area_u95(t: float, t_u95: float, w: float, w_u95: float) -> float:
    """Half width of VPA's 95 % interval by first-order propagation, T and W taken as independent."""
    return float(np.pi) * float(np.hypot((1 - 2 * t / w) * t_u95, (t / w) ** 2 * w_u95))


def density(vpa_cm: float, constant_g_cm3: float, porosity: float) -> float:
    """DXR-BMD = c·VPA·(1 − p) in g/cm². Refuses porosity outside 0 … 1."""
    if not 0 <= porosity < 1:
        raise ValueError(f"porosity must be within 0 to 1, got {porosity}")
    return constant_g_cm3 * vpa_cm * (1 - porosity)


def _refuse_impossible(t: float, w: float) -> None:
    if not 0 < t <= w / 2:
        raise ValueError(f"a wall must lie within 0 to half the width {w:g}, got {t:g}")


def measure(
    walls: Walls, number: int, roi_length_px: float, margin_fraction: float, blur_px: float
) -> Profile:
    """Mean wall and width in the region of interest.

    Parameters
    ----------
    roi_length_px : float
        Length of the region along the axis.
    margin_fraction : float
        Of the bone length, kept free at either end; in a bone too short for it the region is centred.
    blur_px : float
        Sigma of the imaging system's blur as far as it is known; the edge filter's own is added here.
    """
    s, length = walls.strip.along_px, walls.strip.length_px
    centre = _narrowest(walls, roi_length_px, margin_fraction)
    inside = np.abs(s - centre) <= roi_length_px / 2
    width = walls.width_px[inside]
    sides = [wall[inside] for wall in walls.walls_px]
    thickness = (sides[0] + sides[1]) / 2
    valid = _valid(walls, inside, width, sides)
    fraction = float(valid.mean())
    if valid.sum() < 3:
        valid = np.ones_like(valid)  # the gate on the fraction refuses the bone; the numbers are never shown
    sigma = float(np.sqrt(blur_px**2 + GRADIENT_SIGMA_PX**2 + 1 / 12))
    w = float(width[valid].mean()) + 2 * _EDGE_SHIFT * sigma
    return Profile(
        number=number,
        t_px=float(thickness[valid].mean()),
        t_u95_px=float(np.hypot(2 * _standard_error(thickness[valid]), _SYSTEMATIC_T * w)),
        w_px=w,
        w_u95_px=float(np.hypot(2 * _standard_error(width[valid]), _SYSTEMATIC_W * w)),
        walls_px=(float(sides[0][valid].mean()), float(sides[1][valid].mean())),
        valid_fraction=fraction,
        narrowest_px=centre,
        roi_px=(max(centre - roi_length_px / 2, 0.0), min(centre + roi_length_px / 2, length)),
        contrast=float(np.median(np.minimum(*walls.inner_slope)[inside]) / max(walls.noise, 1e-9)),
    )


def _narrowest(walls: Walls, roi_length_px: float, margin_fraction: float) -> float:
    s, length = walls.strip.along_px, walls.strip.length_px
    sigma = _SMOOTH_FRACTION * length / ALONG_STEP_PX / 2
    smooth = cv2.GaussianBlur(walls.width_px[:, None], (0, 0), sigmaX=0.01, sigmaY=sigma)[:, 0]
    low = margin_fraction * length + roi_length_px / 2
    allowed = (s >= low) & (s <= length - low)
    if not allowed.any():
        return length / 2
    return float(s[allowed][int(smooth[allowed].argmin())])


def _valid(
    walls: Walls, inside: npt.NDArray[np.bool_], width: Floats, sides: list[Floats]
) -> npt.NDArray[np.bool_]:
    valid = np.minimum(*walls.inner_slope)[inside] > _MIN_SLOPE * walls.noise
    valid &= np.minimum(*walls.outer_slope)[inside] > _MIN_SLOPE * walls.noise
    for values in (width, *sides):
        deviation = np.abs(_about_trend(values))
        spread = max(1.4826 * float(np.median(deviation)), _MIN_SPREAD_PX)
        valid &= deviation <= _OUTLIER_MAD * spread
    return valid & (np.maximum(*sides) <= _MAX_WALL * width)


def _about_trend(values: Floats) -> Floats:
    """Values minus a quadratic along the bone: a shaft widens to its ends, which is no scatter."""
    position = np.linspace(-1, 1, len(values))
    return values - np.polyval(np.polyfit(position, values, min(2, len(values) - 1)), position)


def _standard_error(values: Floats) -> float:
    """Standard error of the mean about a quadratic trend, with the effective number of independent values."""
    count = len(values)
    rest = _about_trend(values)
    power = float(rest @ rest)
    if power <= 1e-12:
        return 0.0
    correlation = np.correlate(rest, rest, "full")[count:] / power
    first_negative = int(np.argmax(correlation < 0)) if (correlation < 0).any() else len(correlation)
    independent = count / (1 + 2 * float(correlation[:first_negative].sum()))
    return float(np.sqrt(power / max(count - 3, 1) / max(independent, 1.0)))
