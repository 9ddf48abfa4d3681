"""Real second and third metacarpals from CT as pictures: real surfaces with their own, real canals.

The grey values are a display window: marrow about 850, cortex about 4000 and clipped at 4095, and everything
below about 1300 at the surface cut to 0. Bone fraction is linear between marrow and cortex. A voxel of
0.40 x 0.40 x 0.63 mm with the scanner's own blur cannot hold a radiograph's edge, so two renderings are made:

- "grey": the fractions as they are, with the CT's blur;
- "solid": the surface at half of the cortex's value, made sharp. Its silhouettes are an exact truth of what
  was drawn, but of a smoothed bone: pores, trabeculae and ridges below half a millimetre are gone.

Axis 0 runs from head to base in steps of 0.625 mm, axis 1 across, axis 2 is the direction of the rays.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from meshes import SLICE_MM, STEP_MM, Carved, silhouettes

VOXEL_MM = (0.625, 0.39625, 0.39625)
MARROW, CORTEX = 850.0, 4000.0  # grey values (derived from the shafts' slices)
FINER = 4  # how much finer a slice is drawn before its surface is made sharp
SHARP = 12.0  # slope of the surface's step, per fraction: narrower than the finer grid
STRIP_HALF_MM = 11.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a bone lies in its volume, (row, column) of the PA view in voxels."""

    file: str
    base: tuple[float, float]
    head: tuple[float, float]


@cache
def ct_bone(folder, place, *, solid):
    """The bone upright, base first, with what its silhouettes say of T and W (NaN for the grey one)."""
    ok, pages = cv2.imreadmulti(str(folder / place.file), flags=cv2.IMREAD_UNCHANGED)
    assert ok, place.file
    fraction = np.clip((np.array(pages, np.float32) - MARROW) / (CORTEX - MARROW), 0, 1)
    if not solid:
        bone = _upright(fraction.sum(axis=2) * VOXEL_MM[2], place, VOXEL_MM[:2])
        unknown = np.full(len(bone), np.nan)
        return Carved(bone, unknown, unknown)
    step = (VOXEL_MM[0], VOXEL_MM[1] / FINER)
    paths = [_solid_paths(page) for page in fraction]
    outer, inner = (_upright(np.array([path[i] for path in paths]), place, step) for i in (0, 1))
    return Carved(outer - inner, *silhouettes(outer, inner))


def _solid_paths(page):
    """(columns,) mm inside the outer and inside the inner surface of one slice."""
    # cubic interpolation of voxels whose middles are half a voxel inside: the edges stay where they are
    fine = cv2.resize(page, None, fx=FINER, fy=FINER, interpolation=cv2.INTER_CUBIC)
    bone = np.clip((fine - 0.5) * SHARP + 0.5, 0, 1)
    contours, _ = cv2.findContours((bone > 0.5).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    inside = cv2.drawContours(np.zeros(bone.shape, np.uint8), contours, -1, 1, cv2.FILLED)
    outer = np.where(cv2.erode(inside, np.ones((5, 5), np.uint8)) > 0, 1, bone)
    return outer.sum(axis=1) * VOXEL_MM[2] / FINER, (outer - bone).sum(axis=1) * VOXEL_MM[2] / FINER


def _upright(paths, place, step_mm):
    """Paths resampled along the bone's axis: rows from base to head, columns across."""
    base, head = (np.multiply(end, VOXEL_MM[:2]) for end in (place.base, place.head))
    length = float(np.hypot(*(head - base)))
    along = (head - base) / length
    across = np.array([-along[1], along[0]])
    s = np.arange(0, length, SLICE_MM)
    x = np.arange(-STRIP_HALF_MM, STRIP_HALF_MM, STEP_MM) + STEP_MM / 2
    where = base + s[:, None, None] * along + x[None, :, None] * across
    # voxel middles are at half a voxel in mm, whatever the step of the grid
    grid = ((where + np.multiply(0.5, VOXEL_MM[:2])) / step_mm - 0.5).astype(np.float32)
    return cv2.remap(paths.astype(np.float32), grid[..., 1], grid[..., 0], cv2.INTER_CUBIC).clip(min=0)
