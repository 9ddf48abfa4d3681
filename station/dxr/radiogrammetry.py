"""From four edges to T, W, MCI and VPA of one bone, and from the bones to DXR-BMD.

Assumes
    Edges by steepest gradient on attenuation, near enough to start a fit from.
Tolerates
    Single bad profiles: those without contrast, with a wall beyond 0.48 W, or far from their neighbours.
Method
    The region of interest is centred on the narrowest part that keeps its margin from either bone end.
    T is the mean of both walls, W the outer width, of the tube fitted to the region's mean profile
    (`tube_fit`). Where no tube fits, both are means over the valid profiles, and the known part of the blur
    is put back into W (steepest gradients of a blurred tube lie 0.76 sigma inside the surface).
Meaning
    u95 is 1.96 times the standard error of the fit to this very image, noise and unknown cross-section; it
    covers a second explanation of the profile where there is one, a disagreement with steepest gradients
    beyond their known bias, and what real outlines do beyond the fit's series. It does not hold the constant
    c, which is uncertain by up to 10 % between systems.
Known failures
    Those of `tube_fit`: a straight ridge beside a thin wall. Without a fit, flat or ridged shafts read up to
    0.4 mm too thick in T and 0.2 mm too narrow in W.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from station.dxr.edges import ALONG_STEP_PX, GRADIENT_SIGMA_PX, Walls
from station.dxr.tube_fit import fit_tube

Floats = npt.NDArray[np.float64]

RELATIVE_ROI = {2: 0.31, 3: 0.29, 4: 0.28}  # of the bone length: 20/18/16 mm of an adult (derived)
_EDGE_SHIFT = 0.76  # steepest gradient inside the true surface, in sigma of the blur (derived)
_SMOOTH_FRACTION = 0.08  # of the length, before the narrowest part is sought (5 mm of 63)
_PLATEAU = 0.01  # relative width: within it all is the narrowest part, and its middle the centre (own choice)
_MAX_WALL = 0.48  # of W
_MIN_SLOPE = 2.0  # endosteal steepness over its noise
_OUTLIER_MAD = 3.5
_MIN_SPREAD_PX = 0.5  # a spread below that calls nothing an outlier
_NORMAL_95 = 1.96
# Of W, half widths of what the fit does not model (derived: T from phantoms with uneven outlines, W from
# carved real surfaces)
_BEYOND_T, _BEYOND_W = 0.002, 0.006
# Of W, what steepest gradients are wrong by on real shafts (derived from carved real surfaces): the half
# width without a fit. Where fit and gradients differ by more, the profile is no tube's and the excess is in
# doubt.
_GRADIENT_BIAS = 0.025
_DISPLAY_BLUR_PX = 1.0  # of a display image, where nothing is known (derived)


@dataclass(frozen=True, slots=True)
class Profile:
    """One bone in frame pixels (detector plane), free of blur."""

    number: int
    t_px: float
    t_u95_px: float
    w_px: float
    w_u95_px: float
    correlation: float  # of the errors of T and W
    walls_px: tuple[float, float]  # mean wall on the negative and the positive side
    valid_fraction: float
    narrowest_px: float  # position of the region's centre on the axis
    roi_px: tuple[float, float]  # start and end on the axis
    contrast: float  # median endosteal steepness over its noise

    @property
    def mci(self) -> float:
        """2T/W."""
        return 2 * self.t_px / self.w_px

    @property
    def mci_u95(self) -> float:
        """Half width of MCI's 95 % interval, with the correlation of T and W."""
        t, w = self.t_u95_px / self.t_px, self.w_u95_px / self.w_px
        return self.mci * _combined(t, -w, self.correlation)

    @property
    def vpa_u95_px(self) -> float:
        """Half width of VPA's 95 % interval, with the correlation of T and W."""
        return volume_per_area_u95(self.t_px, self.t_u95_px, self.w_px, self.w_u95_px, self.correlation)


def metacarpal_index(t: float, w: float) -> float:
    """MCI = 2T/W; T is one wall, W the outer width, in the same unit. Refuses T outside 0 … W/2."""
    _refuse_impossible(t, w)
    return 2 * t / w


def volume_per_area(t: float, w: float) -> float:
    """VPA = π·T·(1 − T/W), in the unit of T and W. Refuses T outside 0 … W/2."""
    _refuse_impossible(t, w)
    return float(np.pi) * t * (1 - t / w)


def volume_per_area_u95(t: float, t_u95: float, w: float, w_u95: float, correlation: float = 0.0) -> float:
    """Half width of VPA's 95 % interval by first-order propagation."""
    return float(np.pi) * _combined((1 - 2 * t / w) * t_u95, (t / w) ** 2 * w_u95, correlation)


def _combined(first: float, second: float, correlation: float) -> float:
    return float(np.sqrt(max(first * first + second * second + 2 * correlation * first * second, 0.0)))


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
        Sigma of the imaging system's blur as far as it is known, 0 if it is not; the fit may move it.
    """
    s, length = walls.strip.along_px, walls.strip.length_px
    centre = _narrowest(walls, roi_length_px, margin_fraction)
    inside = np.abs(s - centre) <= roi_length_px / 2
    width = walls.width_px[inside]
    sides = [wall[inside] for wall in walls.walls_px]
    valid = _valid(walls, inside, width, sides)
    fraction = float(valid.mean())
    if valid.sum() < 3:
        valid = np.ones_like(valid)  # the gate on the fraction refuses the bone; the numbers are never shown
    steepest = _by_gradient(width[valid], [side[valid] for side in sides], blur_px)
    size = _fitted(walls, inside, blur_px, sum(steepest.walls_px) / 2) or steepest
    return Profile(
        number=number,
        t_px=sum(size.walls_px) / 2,
        t_u95_px=size.t_u95_px,
        w_px=size.w_px,
        w_u95_px=size.w_u95_px,
        correlation=size.correlation,
        walls_px=size.walls_px,
        valid_fraction=fraction,
        narrowest_px=centre,
        roi_px=(max(centre - roi_length_px / 2, 0.0), min(centre + roi_length_px / 2, length)),
        contrast=float(np.median(np.minimum(*walls.inner_slope)[inside]) / max(walls.noise, 1e-9)),
    )


@dataclass(frozen=True, slots=True)
class _Size:
    """Walls and width of the region with their 95 % half widths."""

    walls_px: tuple[float, float]
    w_px: float
    t_u95_px: float
    w_u95_px: float
    correlation: float


def _fitted(walls: Walls, rows: npt.NDArray[np.bool_], blur_px: float, steepest_t_px: float) -> _Size | None:
    tube = fit_tube(walls, rows, float(np.sqrt((blur_px or _DISPLAY_BLUR_PX) ** 2 + 1 / 12)))
    if tube is None:
        return None
    w = tube.w_px
    doubt = max(abs(tube.t_px - steepest_t_px) - _GRADIENT_BIAS * w, 0.0)
    t_u95 = float(np.linalg.norm([_NORMAL_95 * tube.t_se_px, tube.rival_t_px, _BEYOND_T * w, doubt]))
    w_u95 = float(np.hypot(_NORMAL_95 * tube.w_se_px, _BEYOND_W * w))
    shared = _NORMAL_95**2 * float(tube.covariance_px2[0, 1]) / (t_u95 * w_u95)
    return _Size(tube.walls_px, w, t_u95, w_u95, shared)


def _by_gradient(width: Floats, sides: list[Floats], blur_px: float) -> _Size:
    w = float(width.mean()) + 2 * _EDGE_SHIFT * float(np.sqrt(blur_px**2 + GRADIENT_SIGMA_PX**2 + 1 / 12))
    t_se, w_se = _standard_error((sides[0] + sides[1]) / 2), _standard_error(width)
    return _Size(
        (float(sides[0].mean()), float(sides[1].mean())),
        w,
        float(np.hypot(2 * t_se, _GRADIENT_BIAS * w)),
        float(np.hypot(2 * w_se, _GRADIENT_BIAS * w)),
        0.0,
    )


def _narrowest(walls: Walls, roi_length_px: float, margin_fraction: float) -> float:
    s, length = walls.strip.along_px, walls.strip.length_px
    sigma = _SMOOTH_FRACTION * length / ALONG_STEP_PX / 2
    smooth = cv2.GaussianBlur(
        (walls.outline[1] - walls.outline[0])[:, None], (0, 0), sigmaX=0.01, sigmaY=sigma
    )[:, 0]
    low = margin_fraction * length + roi_length_px / 2
    allowed = (s >= low) & (s <= length - low)
    if not allowed.any():
        return length / 2
    width = smooth[allowed]
    worth = np.exp(-(width / width.min() - 1) / _PLATEAU)
    return float(worth @ s[allowed] / worth.sum())


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
