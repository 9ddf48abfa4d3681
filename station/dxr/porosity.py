"""Porosity of the cortex from the dark streaks along the walls, or why this image does not show it.

Assumes
    Attenuation of a dose image; pores are tunnels along the bone, darker than their surroundings, sparse, and
    longer than wide; quantum noise falls with dose as Poisson noise does.
Tolerates
    Any dose, voltage and wall for which the stated uncertainty stays below the limit; slow changes along the
    wall; white or coloured noise.
Method
    Each wall is sampled along its own edge, as depth below the surface, less a margin at either side. What
    changes slowly along the bone is taken away, the rest divided by the bone's own attenuation there and
    smoothed more along than across. Sparse dark streaks leave this residual with a variance c2 and a negative
    third moment c3; for streaks of relative depth d and share p, c2 = p·d and c3 = −k·p·d². Noise adds to c2
    only: it is measured in the tissue beside the same wall and subtracted; it is symmetric and leaves c3.
    p is the mean of its posterior over a grid of p and d, flat in p, wide in d.
Meaning
    Share of the mineral path that streaks take away, mean over the walls of all bones. `u95` holds the
    scatter between blocks along the walls (noise, and the chance of where the few pores lie), the unknown
    distribution of depths, which sets k, and streaks too faint to be seen. Not validated on bone: it is the
    share of the simulator's streaks.
Known failures
    Anything else that is dark, sparse and along the wall (a nutrient canal, a resorbed endosteal surface)
    counts as pores; pores finer than the blur that lie everywhere do not. With little dose it reads high
    where there is none, since no share is negative. Streaks beyond 3 mm fade into what changes slowly. Waves
    and ridges of real surfaces pretend about 0.01 with an interval that refuses it, so that on real bones the
    constant is the rule.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from station.dxr.edges import Walls
from station.dxr.localise import attenuation
from station.dxr.radiogrammetry import Profile
from station.frame import Frame
from station.result import Measurement, Reason

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]

PITCH_LIMIT_MM = 0.15  # at the detector; beyond it streaks of 0.1-0.3 mm drown (own choice, from memory)
SPREAD_U95 = 0.005  # of the fraction between persons, 1.96 · 0.0026 (derived: printed standard errors 0.00023
# and 0.00021 of 123 and 170 persons, Dhainaut 2013): the constant's u95, and the most a measured one may have
_MARGIN_MM = 0.3  # kept from either edge of the wall
_LEAST_WALL_MM = 1.0  # 0.4 mm between the margins
_ACROSS_MM, _ALONG_MM = 0.08, 0.3  # sigma of the smoothing: a streak's own shape and the blur (own choice)
_SLOW_MM = 1.0  # sigma along of what is taken away: a tunnel stays, the surface's own waves go (own choice)
_EDGE_DEGREE = 4  # of the surface along the region
_BLOCK_MM = 5.0  # along the wall; more than any streak
_LEAST_BLOCKS = 12
# k: smoothed streaks are Gaussian bumps. With one depth for all k = 4/3, with exponential depths k = 2.
_SHAPE, _SHAPE_U95 = 5 / 3, 1 / 3  # derived
# d after smoothing and its spread in ln d: a tunnel of 0.2 mm in 5 mm of bone, blurred (derived)
_DEPTH, _DEPTH_SPREAD = 0.012, 0.9
# streaks too faint for this image (derived from 30 of 60 simulated hands; holds for the others)
_FAINT_U95 = 0.003
_SHARES = np.linspace(0.0, 0.08, 121)
_DEPTHS = np.geomspace(0.0008, 0.18, 60)


@dataclass(frozen=True, slots=True)
class _Moments:
    """Of blocks of wall: their sizes, second moments less noise, and third moments; all (blocks,)."""

    size: Floats
    second: Floats
    third: Floats


def measure_porosity(
    frame: Frame, bones: Sequence[tuple[Walls, Profile]], mm_per_px: float
) -> Measurement | Reason:
    """Porosity of the walls of some bones, where it says more than a constant would.

    Parameters
    ----------
    frame : Frame
        For Processing dose image with known spacing.
    bones : sequence of (Walls, Profile)
        As found and measured in that frame.
    mm_per_px : float
        Object plane.

    Returns
    -------
    Measurement or Reason
        A fraction with u95 up to `SPREAD_U95`; else `porosity-not-measured` with the value and its limit.
    """
    pitch = max(frame.spacing_mm) if frame.spacing_mm else np.inf
    if pitch > PITCH_LIMIT_MM:
        return _not_measured("the pixels are too large for pores (mm)", float(pitch), PITCH_LIMIT_MM)
    found = estimate_porosity(frame, bones, mm_per_px)
    if found is None:
        return _not_measured("walls are too thin (mm)", _thickest_mm(bones, mm_per_px), _LEAST_WALL_MM)
    if found.u95 > SPREAD_U95:
        seen = f"the image shows {found.value:.3f}, with a half width of the 95 % interval of"
        return _not_measured(seen, found.u95, SPREAD_U95)
    return found


def estimate_porosity(
    frame: Frame, bones: Sequence[tuple[Walls, Profile]], mm_per_px: float
) -> Measurement | None:
    """What the image says of porosity, however little; None where too little wall is thick enough."""
    blocks = [side for walls, profile in bones for side in _moments(frame, walls, profile, mm_per_px)]
    if sum(len(side.size) for side in blocks) < _LEAST_BLOCKS:
        return None
    joined = (np.concatenate([getattr(side, name) for side in blocks]) for name in _Moments.__slots__)
    share, random_u95 = _posterior(_Moments(*joined))
    shape_u95 = share * _SHAPE_U95 / _SHAPE
    return Measurement(share, "1", float(np.linalg.norm([random_u95, shape_u95, _FAINT_U95])))


def _thickest_mm(bones: Sequence[tuple[Walls, Profile]], mm_per_px: float) -> float:
    return max(max(profile.walls_px) for _, profile in bones) * mm_per_px


def _not_measured(why: str, value: float, limit: float) -> Reason:
    message = f"the constant is used for porosity: {why} {value:.3g}, limit {limit:.3g}"
    remedy = "None is needed for the density; more dose or finer pixels would show the pores."
    return Reason("porosity-not-measured", message, remedy, value, limit)


def _moments(frame: Frame, walls: Walls, profile: Profile, mm_per_px: float) -> list[_Moments]:
    """One entry for each wall that is thick enough."""
    found: list[_Moments] = []
    for side, wall_px in enumerate(profile.walls_px):
        first, last = _MARGIN_MM / mm_per_px, wall_px - _MARGIN_MM / mm_per_px
        if wall_px * mm_per_px < _LEAST_WALL_MM:
            continue
        depth = np.arange(first, last)
        inside = _band(frame, walls, profile, side, depth)
        # beside the bone, by whole pixels: interpolation smooths noise by where between pixels it samples
        outside = _band(frame, walls, profile, side, depth - np.ceil(wall_px))
        found.append(_wall_moments(inside, outside, frame, mm_per_px))
    return found


def _band(frame: Frame, walls: Walls, profile: Profile, side: int, depth_px: Floats) -> Image:
    """Frame values (along, depth) below one surface, a pixel apart; negative depths are outside the bone."""
    strip = walls.strip
    s = np.arange(profile.roi_px[0], profile.roi_px[1])
    middle, half = sum(profile.roi_px) / 2, (profile.roi_px[1] - profile.roi_px[0]) / 2
    near = np.abs(strip.along_px - middle) <= half
    trend = np.polyfit((strip.along_px[near] - middle) / half, walls.outer[side][near], _EDGE_DEGREE)
    edge = np.polyval(trend, (s - middle) / half)
    across = edge[:, None] + (1.0, -1.0)[side] * depth_px
    where = strip.to_frame_px(np.broadcast_to(s[:, None], across.shape), across).astype(np.float32)
    low = np.floor(where.reshape(-1, 2).min(axis=0)).astype(int) - 2
    high = np.ceil(where.reshape(-1, 2).max(axis=0)).astype(int) + 3
    low, high = np.clip(low, 0, np.array(frame.shape) - 1), np.clip(high, 1, frame.shape)
    crop = frame.pixels[low[0] : high[0], low[1] : high[1]].astype(np.float32, copy=False)
    rows, columns = where[..., 0] - np.float32(low[0]), where[..., 1] - np.float32(low[1])
    return np.asarray(
        cv2.remap(crop, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


def _wall_moments(inside: Image, outside: Image, frame: Frame, mm_per_px: float) -> _Moments:
    bone, tissue = attenuation(inside, frame.signal), attenuation(outside, frame.signal)
    slow = _slow(bone, mm_per_px)
    path = np.maximum(slow - float(np.median(tissue)), np.float32(1e-3))
    residual = _streaks(bone - slow, mm_per_px) / path
    residual -= residual.mean()
    beside = _streaks(tissue - _slow(tissue, mm_per_px), mm_per_px)
    # Poisson noise: attenuation's variance times the signal is the same in bone and tissue; column by column,
    # since the smoothing's own gain is greater at the first and the last
    noise = (beside * beside).mean(axis=0) * outside.mean(axis=0) / (inside * path * path)
    rows = max(len(residual) // max(round(_BLOCK_MM / mm_per_px), 1), 1)
    blocks = [np.array_split(values, rows) for values in (residual, noise)]
    pairs = list(zip(*blocks, strict=True))
    return _Moments(
        np.array([r.size for r, _ in pairs], np.float64),
        np.array([(r * r - n).mean() for r, n in pairs], np.float64),
        np.array([(r * r * r).mean() for r, _ in pairs], np.float64),
    )


def _slow(values: Image, mm_per_px: float) -> Image:
    return _smoothed(values, 0.0, _SLOW_MM / mm_per_px)


def _streaks(values: Image, mm_per_px: float) -> Image:
    """Smoothed to the size of a streak."""
    return _smoothed(values, _ACROSS_MM / mm_per_px, _ALONG_MM / mm_per_px)


def _smoothed(values: Image, across_px: float, along_px: float) -> Image:
    smooth = cv2.GaussianBlur(
        values, (0, 0), sigmaX=max(across_px, 0.01), sigmaY=along_px, borderType=cv2.BORDER_REFLECT
    )
    return np.asarray(smooth, np.float32)


def _posterior(moments: _Moments) -> tuple[float, float]:
    """Mean of p and the half width of its 95 % interval, 1.96 standard deviations."""
    mean, covariance = _mean(np.stack([moments.second, moments.third]), moments.size)
    share, depth = _SHARES[:, None], _DEPTHS[None, :]
    off = np.stack([share * depth - mean[0], -_SHAPE * share * depth**2 - mean[1]])
    # the same few streaks make both moments: their errors go together
    misfit = np.einsum("iab,ij,jab->ab", off, np.linalg.inv(covariance), off)
    misfit += (np.log(depth / _DEPTH) / _DEPTH_SPREAD) ** 2
    weight = np.exp(-0.5 * (misfit - misfit.min())).sum(axis=1)
    weight /= weight.sum()
    share_mean = float(weight @ _SHARES)
    return share_mean, 1.96 * float(np.sqrt(weight @ (_SHARES - share_mean) ** 2))


def _mean(values: Floats, size: Floats) -> tuple[Floats, Floats]:
    """Weighted means (n,) of blocks (n, blocks), and their covariance from the blocks' scatter (n, n)."""
    weight = size / size.sum()
    mean = values @ weight
    off = (values - mean[:, None]) * weight
    return mean, off @ off.T * (len(size) / (len(size) - 1))
