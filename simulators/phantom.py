"""A parametric hand with known truth: what a panel would see of it, free of noise and blur.

Assumes
    Bones are straight hollow tubes (`tube`), each magnified by SID / (SID - its height) about the place under
    the focal spot; rays are parallel within one bone.
Tolerates
    Any side, rotation, shift, spread, pronation and height of `spec.Pose`, any panel; parts may lie outside.
Method
    Every bone is drawn in its own frame at twice the panel's resolution, placed by an affine map and averaged
    into pixels; carpals and soft tissue likewise from maps made once. Path lengths become signal by
    `spectrum.relative_signal`; a broad scatter share follows tissue thickness.
Meaning
    `truth()` gives T and W of the projected silhouettes of the outer and inner tube in the bone's own plane,
    and axes on the panel.
Known failures
    Overlapping bones add up although they could not share a place; soft tissue has no fat and no vessels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from simulators import anatomy, spectrum
from simulators.anatomy import Bone
from simulators.spec import HandSpec, Panel, Pose
from simulators.tube import Texture, Tube, solid_bone

Image = npt.NDArray[np.float32]
Affine = npt.NDArray[np.float64]  # (2, 3), acts on column vectors (x, y, 1)

_OVERSAMPLING = 2
_SCATTER_STEP_MM = 4.0
_SCATTER_BLUR_MM = 12.0
_SCATTER_PER_MM = 0.0055  # scatter / primary per mm of tissue: about 0.13 behind the palm, memory
_SID_RANGE_MM = (200.0, 5000.0)


@dataclass(frozen=True, slots=True)
class BoneTruth:
    """One metacarpal as it is; lengths t and w in its own plane, places in mm on the panel (x, y)."""

    base_mm: tuple[float, float]
    head_mm: tuple[float, float]
    narrow_mm: tuple[float, float]  # on the axis, where the outer width is least
    t_mm: float
    w_mm: float
    magnification: float
    tube: Tube

    def mean_over(self, length_mm: float) -> tuple[float, float]:
        """Mean T and W over a window of that length (object plane) centred at the narrowest place."""
        middle = self.tube.waist * self.tube.length_mm
        s = np.linspace(middle - length_mm / 2, middle + length_mm / 2, 401)
        return float(self.tube.wall(s).mean()), float(self.tube.width(s).mean())

    def axis_px(self, panel: Panel) -> tuple[tuple[float, float], tuple[float, float]]:
        """(row, column) of base and head."""
        return panel.px(*self.base_mm), panel.px(*self.head_mm)

    def narrow_px(self, panel: Panel) -> tuple[float, float]:
        """(row, column) of the narrowest place."""
        return panel.px(*self.narrow_mm)


class HandPhantom:
    """A hand of a given anatomy in a given pose; a `simulators.scene.Scene` with known truth."""

    scale_known = True

    def __init__(self, spec: HandSpec | None = None, pose: Pose | None = None) -> None:
        self.spec = spec or HandSpec()
        self.pose = pose or Pose()
        self._bones = anatomy.bones(self.spec, self.pose.spread, self.pose.pronation)

    @cached_property
    def _texture(self) -> Texture:
        return Texture.made(self.spec.seed)

    @cached_property
    def _carpals(self) -> Image:
        return anatomy.carpals(self._texture) * np.float32(self.spec.scale)

    @cached_property
    def _tissue(self) -> Image:
        return anatomy.soft_tissue(self.spec, self.pose.spread)

    @property
    def side(self) -> str:
        """`"L"` or `"R"`."""
        return self.pose.side

    def truth(self, sid_mm: float = 1000.0) -> Mapping[int, BoneTruth]:
        """Metacarpals 1-5 at that distance between focal spot and panel."""
        return {
            int(bone.name[2]): self._truth_of(bone, sid_mm) for bone in self._bones if bone.name[:2] == "mc"
        }

    def relative_signal(self, panel: Panel, kvp: float, sid_mm: float) -> Image:
        """Noise-free detector signal relative to the open field; see `simulators.scene.Scene`.

        Parameters
        ----------
        panel : Panel
            The pixel grid.
        kvp : float
            Tube voltage, 40 to 70 kV.
        sid_mm : float
            Focal spot to panel, 200 to 5000 mm.

        Returns
        -------
        float32 (rows, columns)

        Raises
        ------
        ValueError
            Voltage or distance out of range, or a hand that reaches the focal spot.
        """
        bone = self._solid_bone(panel, sid_mm)
        placed = self._hand_to_px(panel, sid_mm, 0.0) @ _grid(anatomy.GRID_STEP_MM, anatomy.GRID_ORIGIN_MM)
        soft = _warped(self._tissue, placed, (panel.columns, panel.rows), cv2.INTER_CUBIC)
        np.maximum(soft, 0, out=soft)
        thickness = _reduced(soft, panel)
        soft -= bone
        np.maximum(soft, 0, out=soft)
        signal = spectrum.relative_signal(bone, soft, kvp)
        signal += _scatter(_reduced(signal, panel), thickness, panel)
        return signal

    def silhouette(self, panel: Panel) -> npt.NDArray[np.bool_]:
        """Outline of hand and forearm; projected as from 1000 mm."""
        placed = self._hand_to_px(panel, 1000.0, 0.0) @ _grid(anatomy.GRID_STEP_MM, anatomy.GRID_ORIGIN_MM)
        inside = (self._tissue > 1).astype(np.float32)
        coarse = cv2.GaussianBlur(inside, (0, 0), max(0.35 * panel.spacing_mm / anatomy.GRID_STEP_MM, 0.3))
        return _warped(coarse, placed, (panel.columns, panel.rows), cv2.INTER_LINEAR) > 0.5

    def _solid_bone(self, panel: Panel, sid_mm: float) -> Image:
        bone = np.zeros((panel.rows, panel.columns), np.float32)
        step = panel.spacing_mm / _OVERSAMPLING
        for phase, part in enumerate(self._bones):
            tube, to_px = part.tube, self._bone_to_px(part, panel, sid_mm)
            half, over = tube.half_extent_mm, tube.overhang_mm
            if _window(to_px, ((-half, -over), (half, tube.length_mm + over)), bone.shape):
                picture = solid_bone(tube, step, self.spec.porosity, self._texture, phase)
                _add(bone, picture, to_px @ _grid(step, (-half, -over)))
        grid = _grid(anatomy.CARPAL_STEP_MM, anatomy.CARPAL_ORIGIN_MM)
        _add(bone, self._carpals, self._hand_to_px(panel, sid_mm, 0.0) @ grid)
        return bone

    def _truth_of(self, bone: Bone, sid_mm: float) -> BoneTruth:
        tube = bone.tube
        to_panel = _magnified(self._magnification(bone, sid_mm)) @ self._placed(bone)
        places = [to_panel @ (0.0, s, 1.0) for s in (0.0, tube.length_mm, tube.waist * tube.length_mm)]
        base, head, narrow = ((float(x), float(y)) for x, y, _ in places)
        at = np.array([tube.waist * tube.length_mm])
        t, w = float(tube.wall(at)[0]), float(tube.width(at)[0])
        return BoneTruth(base, head, narrow, t, w, self._magnification(bone, sid_mm), tube)

    def _magnification(self, bone: Bone, sid_mm: float) -> float:
        x_mm = (bone.base[0] + bone.head[0]) / 2 * self.spec.scale
        lift = x_mm * np.sin(np.deg2rad(self.pose.pronation))
        return _magnification(self.pose.height + bone.rise_mm + float(lift), sid_mm)

    def _hand(self) -> Affine:
        """Hand's plane at rest (left, mm) to the posed hand's plane; (3, 3)."""
        turn, twist = np.deg2rad(self.pose.rotation), np.deg2rad(self.pose.pronation)
        across = self.spec.scale * np.cos(twist) * (1 if self.pose.side == "L" else -1)
        c, s = np.cos(turn), np.sin(turn)
        x, y = self.pose.shift
        turned = np.array([[c, -s, x], [s, c, y], [0, 0, 1]])
        return turned @ np.diag([across, self.spec.scale, 1.0])

    def _placed(self, bone: Bone) -> Affine:
        """Bone's own frame (u, s) to the posed hand's plane; (3, 3). The radial side stays at positive u."""
        hand = self._hand()
        base, head = hand @ (*bone.base, 1.0), hand @ (*bone.head, 1.0)
        along = (head - base)[:2] / bone.tube.length_mm
        across = np.array([-along[1], along[0]]) / np.hypot(*along)
        if self.pose.side == "R":
            across = -across
        return np.array([[across[0], along[0], base[0]], [across[1], along[1], base[1]], [0, 0, 1]])

    def _hand_to_px(self, panel: Panel, sid_mm: float, rise_mm: float) -> Affine:
        magnified = _magnified(_magnification(self.pose.height + rise_mm, sid_mm))
        return _to_px(panel) @ magnified @ self._hand()

    def _bone_to_px(self, bone: Bone, panel: Panel, sid_mm: float) -> Affine:
        return _to_px(panel) @ _magnified(self._magnification(bone, sid_mm)) @ self._placed(bone)


def _magnification(height_mm: float, sid_mm: float) -> float:
    low, high = _SID_RANGE_MM
    if not low <= sid_mm <= high or height_mm > sid_mm / 2:
        raise ValueError(
            f"SID {sid_mm:g} mm with the hand at {height_mm:.1f} mm; allowed are {low:g} to {high:g} mm "
            "and heights up to half of it"
        )
    return sid_mm / (sid_mm - height_mm)


def _magnified(factor: float) -> Affine:
    return np.diag([factor, factor, 1.0])


def _to_px(panel: Panel) -> Affine:
    """Millimetres on the panel to (x, y) = (column, row)."""
    per_mm = 1 / panel.spacing_mm
    return np.array([[per_mm, 0, (panel.columns - 1) / 2], [0, per_mm, (panel.rows - 1) / 2], [0, 0, 1]])


def _grid(step_mm: float, origin_mm: tuple[float, float]) -> Affine:
    """Indices (x, y) of a map to mm."""
    return np.array([[step_mm, 0, origin_mm[0]], [0, step_mm, origin_mm[1]], [0, 0, 1]])


def _warped(picture: npt.NDArray[Any], to_px: Affine, size: tuple[int, int], how: int) -> Image:
    return cv2.warpAffine(picture, to_px[:2], size, flags=how).astype(np.float32, copy=False)


def _window(
    to_px: Affine, box: tuple[tuple[float, float], tuple[float, float]], shape: tuple[int, ...]
) -> tuple[slice, slice] | None:
    """Rows and columns of a canvas that an affinely placed box (x, y of two corners) reaches, if any."""
    (x0, y0), (x1, y1) = box
    corners = (to_px @ np.array([[x0, x1, x1, x0], [y0, y0, y1, y1], [1, 1, 1, 1]]))[:2]
    low = np.maximum(np.floor(corners.min(1)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(corners.max(1)).astype(int) + 2, shape[::-1])
    if (high <= low).any():
        return None
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _add(canvas: Image, picture: Image, to_px: Affine) -> None:
    """Add a picture where it lies on the canvas, averaged over each pixel's area."""
    rows, columns = picture.shape
    window = _window(to_px, ((0, 0), (columns, rows)), canvas.shape)
    if window is None:
        return
    down, across = window
    n = _OVERSAMPLING
    fine = np.array([[n, 0, n * (0.5 - across.start) - 0.5], [0, n, n * (0.5 - down.start) - 0.5], [0, 0, 1]])
    width, height = across.stop - across.start, down.stop - down.start
    drawn = _warped(picture, fine @ to_px, (n * width, n * height), cv2.INTER_LINEAR)
    canvas[window] += cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA)


def _reduced(picture: Image, panel: Panel) -> Image:
    size = (max(round(n * panel.spacing_mm / _SCATTER_STEP_MM), 1) for n in (panel.columns, panel.rows))
    return cv2.resize(picture, tuple(size), interpolation=cv2.INTER_AREA).astype(np.float32, copy=False)


def _scatter(primary: Image, thickness_mm: Image, panel: Panel) -> Image:
    """Broad scatter (rows, columns): a share of the primary that grows with tissue thickness, smeared out."""
    made = primary * thickness_mm * np.float32(_SCATTER_PER_MM)
    smeared = cv2.GaussianBlur(
        made, (0, 0), _SCATTER_BLUR_MM / _SCATTER_STEP_MM, borderType=cv2.BORDER_REPLICATE
    )
    return cv2.resize(smeared, (panel.columns, panel.rows), interpolation=cv2.INTER_LINEAR).astype(
        np.float32, copy=False
    )
