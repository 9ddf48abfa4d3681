"""A long bone as a hollow tube: widths and walls along its axis, and its path lengths as a picture.

Assumes
    A straight axis; cross-sections that are ellipses or, by `outline` and `canal`, anything smooth, the same
    all along; rays parallel within one bone.
Tolerates
    Walls of unequal sides, rotation about the axis (pronation), flat or cupped ends.
Method
    Chords of the outer less the inner ellipse, each times a Legendre series across; trabecular bone fills the
    canal towards the ends, pores thin the cortex in streaks along the axis.
Meaning
    T is half the difference of the outer and inner silhouettes' widths, W the outer one's, in the bone's own
    plane and as projected (after pronation).
Known failures
    No curvature and no sharp ridges: real shafts read differently. Pronation does not turn the series.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.float32]
Reals = npt.NDArray[np.floating[Any]]  # float32 at run time; the stubs lose that in mixed arithmetic

# All from memory of adult hands.
_END_WALL_MM = 0.45  # cortex of the flared ends and under the joint surfaces
_SLOW_FLARE = 0.18  # share of the widening that follows the square of the distance from the narrowest place
_END_FILL = 0.20  # solid bone fraction of trabecular bone at the ends
_SHAFT_FILL = 0.015  # and in the canal of the shaft
_FILL_CONTRAST = 0.4  # SD of trabecular texture relative to its mean

TILE_STEP_MM = 0.1
_TILE_SHAPE = (1000, 400)  # along, across the axis


@dataclass(frozen=True, slots=True)
class Tube:
    """One bone; lengths in mm, s runs from base (0) to head (`length_mm`), u across, + is the radial side."""

    length_mm: float
    width_mm: float  # at the narrowest place
    base_width_mm: float
    head_width_mm: float
    wall_mm: float  # mean of both sides at the narrowest place
    waist: float = 0.5  # narrowest place as a fraction of the length
    base_cap_mm: float = 3.0  # length over which an end rounds off
    head_cap_mm: float = 6.0
    base_cup_mm: float = 0.0  # how far the rim of a hollow end stands out beyond s = 0
    head_cup_mm: float = 0.0
    head_slant: float = 0.0  # tangent of the end surface; positive: the radial side reaches further
    depth: float = 1.0  # depth / width of the cross-section
    excess: float = 0.03  # radial wall (1 + excess) T, ulnar wall (1 - excess) T
    twist_deg: float = 0.0  # pronation
    outline: tuple[float, ...] = ()  # Legendre series across, from degree 0, added to the chord's factor 1
    canal: tuple[float, ...] = ()

    def projected(self) -> float:
        """Factor of all widths as seen after pronation."""
        twist = np.deg2rad(self.twist_deg)
        return float(np.hypot(np.cos(twist), self.depth * np.sin(twist)))

    def width(self, s_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Projected outer width W along the axis, ends not yet rounded."""
        x = self._from_waist(s_mm)
        flare = _SLOW_FLARE * x**2 + (1 - _SLOW_FLARE) * _step((np.abs(x) - 0.32) / 0.6)
        end = np.where(x < 0, self.base_width_mm, self.head_width_mm)
        return (self.width_mm + (end - self.width_mm) * flare) * self.projected()

    def wall(self, s_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Projected wall T along the axis, mean of both sides."""
        thinning = _step((np.abs(self._from_waist(s_mm)) - 0.35) / 0.5)
        end = min(_END_WALL_MM, self.wall_mm)
        return (self.wall_mm + (end - self.wall_mm) * thinning) * self.projected()

    def fill(self, s_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Solid fraction of what fills the canal: marrow in the shaft, trabecular bone towards the ends."""
        rise = _step((np.abs(self._from_waist(s_mm)) - 0.35) / 0.5)
        return _SHAFT_FILL + (_END_FILL - _SHAFT_FILL) * rise

    def _from_waist(self, s_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """-1 at the base, 0 at the narrowest place, 1 at the head."""
        waist = self.waist * self.length_mm
        off = s_mm - waist
        return np.clip(np.where(off < 0, off / waist, off / (self.length_mm - waist)), -1, 1)

    @property
    def half_extent_mm(self) -> float:
        """Half width of the picture that holds the tube."""
        widest = max(self.base_width_mm, self.head_width_mm, self.width_mm)
        return widest * self.projected() / 2 + 0.5

    @property
    def overhang_mm(self) -> float:
        """How far the picture reaches beyond both ends."""
        return 0.5 + abs(self.head_slant) * self.half_extent_mm + max(self.base_cup_mm, self.head_cup_mm)


@dataclass(frozen=True, slots=True)
class Texture:
    """Fine structure shared by the bones of one hand, on a grid of `TILE_STEP_MM` along and across."""

    trabeculae: Image  # mean 1
    pores: Image  # mean 1, zero in most places

    @classmethod
    def made(cls, seed: int) -> "Texture":
        """The same structure for the same seed."""
        rng = np.random.default_rng(seed)
        net = np.exp(-((_band(rng, (1.0, 0.48)) / 0.45) ** 2))
        streaks = np.clip(_band(rng, (1.6, 0.14)) - 1.2, 0, None)
        contrast = (net - net.mean()) / net.std()
        trabeculae = np.clip(1 + _FILL_CONTRAST * contrast, 0.1, None)
        return cls(
            (trabeculae / trabeculae.mean()).astype(np.float32), (streaks / streaks.mean()).astype(np.float32)
        )

    def piece(self, tile: Image, shape: tuple[int, int], step_mm: float, phase: int) -> Image:
        """A piece of a tile at another resolution, starting somewhere else for each `phase`."""
        rows, columns = (int(np.ceil(n * step_mm / TILE_STEP_MM)) for n in shape)
        down, right = (np.arange(n) + phase * p for n, p in ((rows, 137), (columns, 61)))
        part = tile.take(down, 0, mode="wrap").take(right, 1, mode="wrap")
        return cv2.resize(part, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR).astype(
            np.float32, copy=False
        )


def solid_bone(tube: Tube, step_mm: float, porosity: float, texture: Texture, phase: int) -> Image:
    """Path length through solid bone, in the bone's own frame.

    Parameters
    ----------
    tube : Tube
        The bone.
    step_mm : float
        Grid step; rows run along s from `-overhang_mm`, columns across from `-half_extent_mm`.
    porosity : float
        Mean fraction of the cortex that is pores; beyond 0.03 some reach through and the mean falls short,
        by 6 % at 0.05.
    texture, phase : Texture, int
        Fine structure, and where in it this bone starts.

    Returns
    -------
    float32 (rows, columns)
        mm of solid bone.
    """
    s = np.arange(-tube.overhang_mm, tube.length_mm + tube.overhang_mm, step_mm)
    u = np.arange(-tube.half_extent_mm, tube.half_extent_mm + step_mm, step_mm).astype(np.float32)
    half, wall = tube.width(s) / 2, tube.wall(s)
    base_mm, head_mm = _end_distances(tube, s, u)
    twist = np.deg2rad(tube.twist_deg)
    steepness = np.float32(2 * tube.depth / tube.projected() ** 2)  # chord = steepness·√(a² - u²)
    outer_cap = _cap(base_mm, tube.base_cap_mm) * _cap(head_mm, tube.head_cap_mm)
    end = np.float32(min(_END_WALL_MM, tube.wall_mm))
    inner_cap = _cap(base_mm - end, tube.base_cap_mm) * _cap(head_mm - end, tube.head_cap_mm)
    offset = (tube.excess * np.cos(twist) * wall).astype(np.float32)[:, None]
    outer = _chord(_column(half) * outer_cap, u[None, :]) * steepness
    canal = _column(half - wall) * inner_cap
    inner = _chord(canal, u[None, :] + offset) * steepness
    outer *= _uneven(tube.outline, u[None, :], _column(half))
    inner *= _uneven(tube.canal, u[None, :] + offset, canal)
    np.minimum(inner, outer, out=inner)
    outer -= inner
    shape = (len(s), len(u))
    if porosity > 0:
        lost = np.float32(porosity) * texture.piece(texture.pores, shape, step_mm, phase)
        outer *= 1 - np.minimum(lost, 1)  # no pore takes more than there is
    inner *= texture.piece(texture.trabeculae, shape, step_mm, phase)
    inner *= _column(tube.fill(s))
    outer += inner
    return outer.astype(np.float32, copy=False)


def _end_distances(tube: Tube, s: npt.NDArray[np.float64], u: Image) -> tuple[Reals, Reals]:
    """Distance from each end along the axis; 2-D only where the end is not flat."""
    base: Reals = _column(s)
    head: Reals = _column(tube.length_mm - s)
    if tube.base_cup_mm:
        base = base + np.float32(tube.base_cup_mm) * _rim(u, tube.base_width_mm)
    if tube.head_cup_mm:
        head = head + np.float32(tube.head_cup_mm) * _rim(u, tube.head_width_mm)
    if tube.head_slant:
        head = head + np.float32(tube.head_slant) * u[None, :]
    return base, head


def _rim(u: Image, width_mm: float) -> Image:
    return np.minimum((2 * u[None, :] / np.float32(width_mm)) ** 2, 1).astype(np.float32)


def _cap(distance_mm: Reals, cap_mm: float) -> Reals:
    """Share of the full width at a distance from the end: a quarter of an ellipse."""
    inside = np.clip(1 - distance_mm / np.float32(cap_mm), 0, 1)
    return np.sqrt(1 - inside * inside)


def _chord(half: Reals, u: Reals) -> Reals:
    squared = half * half - u * u
    np.maximum(squared, 0, out=squared)
    return np.sqrt(squared, out=squared)


def _uneven(series: tuple[float, ...], u: Reals, half: Reals) -> Reals:
    """Factor on chords across; 1 without a series."""
    if not series:
        return np.ones((1, 1), np.float32)
    across = np.clip(u / np.maximum(half, np.float32(1e-3)), -1, 1)
    return (1 + np.polynomial.legendre.legval(across, series)).astype(np.float32)


def _column(values: npt.NDArray[np.float64]) -> Image:
    return values.astype(np.float32)[:, np.newaxis]


def _step(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """0 below 0, 1 above 1, smooth between."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _band(rng: np.random.Generator, length_mm: tuple[float, float]) -> npt.NDArray[np.float64]:
    """Noise of unit SD with structures of that length along and across the axis; periodic."""
    freq = [np.fft.fftfreq(n, TILE_STEP_MM) for n in _TILE_SHAPE]
    radius = np.hypot(freq[0][:, None] * length_mm[0], freq[1][None, :] * length_mm[1])
    noise = np.fft.ifft2(
        np.fft.fft2(rng.standard_normal(_TILE_SHAPE)) * radius**2 * np.exp(-4 * radius**2)
    ).real
    return noise / noise.std()
