"""Follow an edge along a straightened bone: the smooth path of the steepest slope, set between the columns.

Assumes
    Slopes across the bone, row by row along it, one coarse and one fine.
Tolerates
    Rows without an edge, and short stretches where another edge is steeper.
Method
    Dynamic programming over both slopes, in units of their typical steepest value; the fine slope alone then
    places the edge near the path, by a parabola through its peak.
Meaning
    Positions are of the steepest slope, not of the surface.
Known failures
    A longer steep edge inside the allowed band wins.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]
Pair = tuple[Floats, Floats]  # negative side, positive side

_PLACING_STEPS = 3  # how far, in columns, the fine slope may move an edge
_FORBIDDEN = -10.0
_STEEP_ENOUGH = 1.6  # a steeper edge than that, in units of the median one, is no better
_BEND = 0.15  # loss per squared column between neighbouring rows, in gradient units


def follow(
    coarse: Image, fine: Image, rises: tuple[float, float], allowed: Sequence[Bools], x: Floats
) -> tuple[Pair, Pair]:
    """Positions and steepness of an edge on both sides of a strip.

    Parameters
    ----------
    coarse, fine : (n along, n across)
        Slope across, any unit.
    rises : tuple
        Sign of the slope that is looked for on the negative and on the positive side.
    allowed : two of (n along, n across) bool
        Where the edge may lie, by side; a path leaves it only where nothing is allowed.
    x : (n across,)
        Offsets of the columns, equally spaced; positions are in their unit.
    """
    bands = [_columns(where) for where in allowed]
    worths: list[Floats] = []
    for rise, where, band in zip(rises, allowed, bands, strict=True):
        inside = where[:, band]
        worth = _in_units(rise * coarse[:, band], inside) + _in_units(rise * fine[:, band], inside)
        worths.append(np.where(inside, np.minimum(worth, 2 * _STEEP_ENOUGH), _FORBIDDEN))
    paths = _smooth_paths(worths)
    (low, low_slope), (high, high_slope) = (
        _placed(rise, fine, path + band.start, x)
        for rise, path, band in zip(rises, paths, bands, strict=True)
    )
    return (low, high), (low_slope, high_slope)


def _columns(allowed: Bools) -> slice:
    """The columns that are allowed anywhere; all of them if none is."""
    used = np.flatnonzero(allowed.any(axis=0))
    return slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, allowed.shape[1])


def _placed(rise: float, fine: Image, path: npt.NDArray[np.int64], x: Floats) -> Pair:
    """The steepest place near a path, between the steps across, and its steepness."""
    rows = np.arange(len(path))
    near = path[:, None] + np.arange(-_PLACING_STEPS, _PLACING_STEPS + 1)
    near = np.clip(near, 1, len(x) - 2)
    peak = near[rows, (rise * fine[rows[:, None], near]).argmax(axis=1)]
    low, mid, high = (rise * fine[rows, peak + step].astype(np.float64) for step in (-1, 0, 1))
    curvature = low - 2 * mid + high
    peaked = (curvature < 0) & (mid >= low) & (mid >= high)
    shift = np.where(peaked, 0.5 * (low - high) / np.where(peaked, curvature, 1.0), 0.0)
    return x[peak] + shift * (x[1] - x[0]), mid


def _in_units(slope: Image, allowed: Bools) -> Floats:
    steepest = np.where(allowed, slope, 0.0).max(axis=1, initial=0.0)
    return slope.astype(np.float64) / max(float(np.median(steepest)), 1e-9)


def _smooth_paths(worths: Sequence[Floats]) -> list[npt.NDArray[np.int64]]:
    """In each array the path of greatest total worth from the first row to the last (dynamic programming).

    A step from row to row moves by two columns at most. All arrays go through the rows together, side by side
    with gaps that no path can cross: the work per row is mostly that of calling numpy.
    """
    gap = np.full((len(worths[0]), 2), -np.inf)
    total = np.hstack([gap, *(part for worth in worths for part in (worth, gap))])
    one, two = (_BEND * move**2 for move in (1, 2))
    best, further = np.empty(total.shape[1] - 4), np.empty(total.shape[1] - 4)
    for before, row in pairwise(total):
        np.maximum(before[1:-3], before[3:-1], out=best)
        np.subtract(best, one, out=best)
        np.maximum(before[:-4], before[4:], out=further)
        np.subtract(further, two, out=further)
        np.maximum(best, further, out=best)
        np.maximum(best, before[2:-2], out=best)
        np.add(row[2:-2], best, out=row[2:-2])
    paths: list[npt.NDArray[np.int64]] = []
    start = 2
    for worth in worths:
        path = np.empty(len(worth), np.int64)
        path[-1] = at = start + int(total[-1, start : start + worth.shape[1]].argmax())
        for row in range(len(worth) - 2, -1, -1):
            far_left, left, here, right, far_right = total[row, at - 2 : at + 3].tolist()
            from_there = (far_left - two, left - one, here, right - one, far_right - two)
            path[row] = at = at - 2 + from_there.index(max(from_there))
        paths.append(path - start)
        start += worth.shape[1] + 2
    return paths
