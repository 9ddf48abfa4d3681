"""Metacarpals with exact truth that owes nothing to the phantom: real outer surfaces with a carved canal.

The surfaces have facets of 1 to 2 mm, whose corners stand out of a bone of 4 mm radius by up to 0.1 mm; no
bone has such, so they are subdivided (Loop) into a smooth surface first. It is cut into slices across the
shaft; each is drawn on a fine grid and its canal is carved there. Path lengths are sums over the grid along
parallel rays. Truth is what the silhouettes of the outer and the inner surface say: W is where outer paths
exceed `THRESHOLD_MM`, T the mean over both sides of the distance between outer and inner silhouette.

In the mesh frame y runs from base to head and z is dorsal: z is the direction of the rays of a PA view.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import trimesh

from simulators.spectrum import relative_signal
from station.frame import Frame, Signal, Stage

STEP_MM = 0.02  # of a slice's grid and of the fine image: divides pixels of 0.10, 0.12, 0.14 mm
SLICE_MM = 0.2
HALF_MM = 11.0  # of the fine image across
THRESHOLD_MM = 0.1  # path that counts as silhouette; 0.02 to 0.3 moves W by 0.02 to 0.03 mm
END_WALL_MM = 0.6
SUBDIVISIONS = 2  # facets of 1 to 2 mm become 0.25 to 0.5 mm: 2 µm off the smooth surface


@dataclass(frozen=True, slots=True)
class Carved:
    """Paths through bone, rows from base to head every `SLICE_MM`, columns every `STEP_MM`; truth by row."""

    bone_mm: np.ndarray
    t_mm: np.ndarray
    w_mm: np.ndarray


@dataclass(frozen=True, slots=True)
class Shot:
    """A frame, and where in it the bone's rows lie."""

    frame: Frame
    base_px: np.ndarray
    head_px: np.ndarray
    bone: Carved

    def truth(self, start_px, end_px):
        """Mean T and W in px between two places (row, column)."""
        along = self.head_px - self.base_px
        share = [((p - self.base_px) @ along) / (along @ along) for p in (start_px, end_px)]
        low, high = (round(s * (len(self.bone.t_mm) - 1)) for s in share)
        pitch = self.frame.spacing_mm[0]
        return (
            float(self.bone.t_mm[low : high + 1].mean() / pitch),
            float(self.bone.w_mm[low : high + 1].mean() / pitch),
        )


def read_surface(path, *, smooth=True):
    """Triangles (n, 3, 3) in mm of an STL in metres."""
    mesh = trimesh.load_mesh(path)
    vertices, faces = mesh.vertices, mesh.faces
    if smooth:
        vertices, faces = trimesh.remesh.subdivide_loop(vertices, faces, iterations=SUBDIVISIONS)
    return np.asarray(vertices)[faces] * 1000


@cache
def carve(path, wall_mm, kind="offset", turn_deg=0.0, *, smooth=True):
    """Carve a canal into a turned bone.

    kind: "offset" keeps the wall's thickness all around, "similar" shrinks the outline about its middle,
    "round" puts an ellipse between silhouettes that are `wall_mm` inside.
    """
    triangles = _upright(read_surface(path, smooth=smooth), turn_deg)
    y = triangles[..., 1]
    lowest, highest = y.min(axis=1), y.max(axis=1)
    levels = np.arange(y.min() + 0.3, y.max() - 0.3, SLICE_MM)
    rows = []
    for level in levels:
        s = (level - y.min()) / np.ptp(y)
        wall = END_WALL_MM + (wall_mm - END_WALL_MM) * np.clip(min(s - 0.08, 0.92 - s) / 0.15, 0, 1)
        outline = _outline(triangles[(lowest <= level) & (level <= highest)], level)
        rows.append(_slice_paths(outline, float(wall), kind, capped=not 0.04 < s < 0.96))
    outer, inner = (np.array([row[i] for row in rows], np.float32) for i in (0, 1))
    t, w = silhouettes(outer, inner)
    return Carved(outer - inner, t, w)


def _upright(triangles, turn_deg):
    """The middle of the shaft along y, then turned about y."""
    y = triangles[..., 1]
    low, high = y.min(), y.max()
    shaft = triangles[((y > low + 0.35 * (high - low)) & (y < low + 0.65 * (high - low))).all(axis=1)]
    centre = shaft.mean(axis=(0, 1))
    points = shaft.reshape(-1, 3) - centre
    slope = np.polyfit(points[:, 1], points[:, 0], 1)[0]
    angle = np.arctan(slope)
    c, s = np.cos(angle), np.sin(angle)
    straight = (triangles - centre) @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]])
    c, s = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    return straight @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])


def _outline(triangles, level):
    """Corners (n, 2) in (x, z) of the cut at a level, in order around its middle."""
    cut = []
    for i, j in ((0, 1), (1, 2), (2, 0)):
        a, b = triangles[:, i], triangles[:, j]
        crosses = (a[:, 1] < level) != (b[:, 1] < level)
        share = ((level - a[crosses, 1]) / (b[crosses, 1] - a[crosses, 1]))[:, None]
        cut.append((a[crosses] + share * (b[crosses] - a[crosses]))[:, [0, 2]])
    points = np.concatenate(cut)
    middle = (points.max(0) + points.min(0)) / 2
    return points[np.argsort(np.arctan2(*(points - middle).T))]


def _slice_paths(outline, wall_mm, kind, *, capped):
    size = round(2 * HALF_MM / STEP_MM)
    outer = _filled(outline, size)
    if capped:
        return outer.sum(0) * STEP_MM, np.zeros(size)
    low, high = outline[:, 0].min(), outline[:, 0].max()
    shrunk = 1 - 2 * wall_mm / (high - low)
    middle = np.array([(low + high) / 2, (outline[:, 1].min() + outline[:, 1].max()) / 2])
    if kind == "offset":
        x, y, width, height = cv2.boundingRect(outer)
        near = (slice(max(y - 1, 0), y + height + 1), slice(max(x - 1, 0), x + width + 1))
        inner = np.zeros_like(outer)
        inner[near] = (
            cv2.distanceTransform(outer[near], cv2.DIST_L2, cv2.DIST_MASK_PRECISE) * STEP_MM > wall_mm
        )
    elif kind == "similar":
        inner = _filled(middle + shrunk * (outline - middle), size)
    else:
        turn = np.linspace(0, 2 * np.pi, 180, endpoint=False)
        half = shrunk * np.ptp(outline, axis=0) / 2
        inner = _filled(middle + half * np.stack([np.cos(turn), np.sin(turn)], 1), size) & outer
    return outer.sum(0) * STEP_MM, inner.sum(0) * STEP_MM


def _filled(outline, size):
    mask = np.zeros((size, size), np.uint8)
    fixed = np.round((outline + HALF_MM) / STEP_MM * 256 - 128).astype(np.int32)
    cv2.fillPoly(mask, [fixed], 1, cv2.LINE_8, 8)
    return mask


def silhouettes(outer, inner):
    def edges(paths):
        seen = paths > THRESHOLD_MM
        return seen.argmax(1), paths.shape[1] - seen[:, ::-1].argmax(1)

    (left, right), (canal_left, canal_right) = edges(outer), edges(inner)
    return (canal_left - left + right - canal_right) / 2 * STEP_MM, (right - left) * STEP_MM


@dataclass(frozen=True, slots=True)
class Beam:
    """How a picture is taken."""

    pitch_mm: float = 0.1
    blur_mm: float = 0.11
    dose_ugy: float = 5.0
    kvp: float = 50.0


def shoot(bone, beam, angle_deg=0.0, tissue_mm=18.0, seed=1):
    """A corrected frame of one carved bone in uneven soft tissue, head up, turned in plane."""
    pad = round(8 / STEP_MM)
    height = round(len(bone.bone_mm) * SLICE_MM / STEP_MM)
    fine = cv2.resize(bone.bone_mm[::-1], (bone.bone_mm.shape[1], height), interpolation=cv2.INTER_LINEAR)
    fine = cv2.copyMakeBorder(fine, pad, pad, 0, 0, cv2.BORDER_CONSTANT, value=0)
    rows, columns = fine.shape
    size = (columns + round(16 / STEP_MM), rows)
    turn = cv2.getRotationMatrix2D(((columns - 1) / 2, (rows - 1) / 2), -angle_deg, 1)
    turn[0, 2] += (size[0] - columns) / 2
    fine = np.maximum(cv2.warpAffine(fine, turn, size, flags=cv2.INTER_LINEAR), 0)
    x = np.linspace(-1, 1, size[0], dtype=np.float32)[None, :]
    z = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
    tissue = tissue_mm * (1 + 0.04 * x - 0.05 * x * x + 0.06 * z + 0.01 * np.sin(9 * x + 5 * z))
    signal = relative_signal(fine, np.maximum(tissue - fine, 0).astype(np.float32), beam.kvp)
    signal = cv2.GaussianBlur(signal, (0, 0), beam.blur_mm / STEP_MM)
    n = round(beam.pitch_mm / STEP_MM)
    signal = signal[: rows // n * n, : size[0] // n * n]
    pixels = cv2.resize(signal, None, fx=1 / n, fy=1 / n, interpolation=cv2.INTER_AREA)
    quanta = 30000 * 0.65 * beam.pitch_mm**2 * beam.dose_ugy  # detected per pixel in the open field
    counts = np.random.default_rng(seed).poisson(pixels * quanta)
    frame = Frame(
        np.minimum(counts * (40000 / quanta), 65535).astype(np.uint16),
        Stage.FOR_PROCESSING,
        Signal.DOSE,
        (beam.pitch_mm, beam.pitch_mm),
        "carved mesh",
        saturation=65000.0,
    )
    ends = np.array([[(columns - 1) / 2, rows - 1 - pad, 1], [(columns - 1) / 2, pad, 1]]) @ turn.T
    base, head = (ends[:, ::-1] + 0.5) / n - 0.5
    return Shot(frame, base, head, bone)
