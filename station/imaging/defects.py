"""Defective pixels of a panel: which they are, whether they can be replaced, and by what.

Assumes
    Means of several darks and flats of one panel; the flat is smooth over a few pixels.
Tolerates
    Column structure in the offset, ±50 % slow variation of gain, up to 1 % defects, dead columns up to three
    side by side, clusters up to seven pixels wide.
Method
    Robust limits against the 5×5 median (offset, gain), against the panel (noise, dead gain, lost range); a
    line that is mostly defective is taken whole. A replacement is the mean of the nearest good pixels
    weighted by 1/distance², planned once so that correcting a frame only gathers.
Meaning
    A True pixel is never measured; its replacement is an interpolation.
Known failures
    A pixel that flickers more rarely than once in the darks is not seen. A structure narrower than the
    cluster it lies in is lost.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

# Site-independent limits, status: derived (no false positive expected in 7 million Gaussian pixels).
NOISE_LIMIT_FACTOR = 5.0  # × the panel's median dark SD
OFFSET_LIMIT_SD = 8.0  # robust SD of offset against its 5×5 median
OFFSET_LIMIT_LSB = 20.0  # smaller deviations never make a defect
OFFSET_LIMIT_FRACTION = 0.25  # of saturation: too little range left
GAIN_LIMIT_SD = 6.0  # robust SD of the flat against its 5×5 median
GAIN_LIMIT_FRACTION = 0.05  # smaller deviations never make a defect
DEAD_GAIN_RANGE = (0.5, 2.0)  # of the panel's median flat signal
LINE_LIMIT_FRACTION = 0.5  # a row or column with more defects is defective as a whole
CLUSTER_REACH_PX = 3  # a defect's nearest good pixel is at most that far (chessboard)

_WINDOW_PX = 4
_NEIGHBOURS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Patches:
    """How to replace N defects: value = (flat[sources] * weights).sum(axis=0); padding has weight 0."""

    targets: npt.NDArray[np.int64]  # (N,) flat indexes
    sources: npt.NDArray[np.int64]  # (8, N) flat indexes of good pixels
    weights: Float  # (8, N), columns sum to 1


def find(offset: Float, noise: Float, signal: Float, saturation: float) -> Mask:
    """Pixels whose offset, noise or gain is outside robust limits.

    Parameters
    ----------
    offset, noise : (rows, columns) float32
        Mean and SD of the darks, LSB.
    signal : (rows, columns) float32
        Mean flat minus offset, LSB.
    saturation : float
        Raw pixel value at which the panel clips, LSB.

    Returns
    -------
    (rows, columns) bool
    """
    level = float(np.median(signal))
    defects = (signal < DEAD_GAIN_RANGE[0] * level) | (signal > DEAD_GAIN_RANGE[1] * level)
    defects |= (signal + offset >= 0.98 * saturation) | (offset > OFFSET_LIMIT_FRACTION * saturation)
    defects |= noise > NOISE_LIMIT_FACTOR * max(float(np.median(noise)), 1.0)
    defects |= _outlying(offset - _smooth(offset), OFFSET_LIMIT_SD, OFFSET_LIMIT_LSB)
    defects |= _outlying(signal - _smooth(signal), GAIN_LIMIT_SD, GAIN_LIMIT_FRACTION * level)
    for axis in (0, 1):
        dead = defects.mean(axis=axis) > LINE_LIMIT_FRACTION
        defects |= dead[None, :] if axis == 0 else dead[:, None]
    return defects


def _smooth(image: Float) -> Float:
    return np.asarray(cv2.medianBlur(image, 5), dtype=np.float32)


def _outlying(deviation: Float, limit_sd: float, at_least: float) -> Mask:
    sample = deviation.ravel()[:: max(1, deviation.size // 500_000)]
    robust_sd = 1.4826 * float(np.median(np.abs(sample - np.median(sample))))
    return np.abs(deviation) > max(limit_sd * robust_sd, at_least)


def deepest(defects: Mask) -> int:
    """Distance of the most enclosed defect to its nearest good pixel, px (chessboard); 0 without defects."""
    if defects.all():
        return max(defects.shape)
    return int(cv2.distanceTransform(defects.astype(np.uint8), cv2.DIST_C, 3).max())


def plan(defects: Mask) -> Patches:
    """Replacement of every defect by its nearest good pixels.

    Parameters
    ----------
    defects : (rows, columns) bool
        No defect further than `CLUSTER_REACH_PX` from a good pixel.

    Raises
    ------
    ValueError
        If some defect has no good pixel near enough.
    """
    rows, columns = defects.shape
    span = np.arange(-_WINDOW_PX, _WINDOW_PX + 1)
    offsets = np.stack(np.meshgrid(span, span, indexing="ij"), axis=-1).reshape(-1, 2)
    distance2 = (offsets**2).sum(axis=1)
    order = np.argsort(distance2, kind="stable")[1:]
    offsets, distance2 = offsets[order], distance2[order]
    at = np.argwhere(defects)
    near = at[:, None, :] + offsets[None, :, :]
    inside = (near >= 0).all(axis=2) & (near < (rows, columns)).all(axis=2)
    near = np.clip(near, 0, (rows - 1, columns - 1))  # padding only: `inside` excludes these
    good = inside & ~defects[near[..., 0], near[..., 1]]
    if not good.any(axis=1).all():
        raise ValueError(f"a defect has no good pixel within {_WINDOW_PX} px; the cluster is too large")
    nearest = np.argsort(~good, axis=1, kind="stable")[:, :_NEIGHBOURS]
    chosen = np.take_along_axis(near, nearest[..., None], axis=1)
    weights = np.take_along_axis(good, nearest, axis=1) / distance2[nearest]
    weights /= weights.sum(axis=1, keepdims=True)
    sources = chosen[..., 0] * columns + chosen[..., 1]
    sources = np.where(weights > 0, sources, sources[:, :1])  # padding, too, points at a good pixel
    return Patches(
        at[:, 0] * columns + at[:, 1],
        np.ascontiguousarray(sources.T),
        np.ascontiguousarray(weights.T, dtype=np.float32),
    )
