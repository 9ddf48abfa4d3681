"""Replay of a real radiograph: the scene that would have made this picture.

Assumes
    Display values rise linearly with attenuation between the background (open field) and the brightest bone,
    which lets 8 % of the signal through at 50 kV. No public hand image says what its true scale was.
Tolerates
    Backgrounds masked to one value, natural film backgrounds, borders and markers (they are replayed as
    absorbers), 8 or 16 bit, linear detector images, any pixel spacing, also none.
Method
    Background is the most frequent value below Otsu's threshold, brightest bone the 99.5th percentile; a soft
    knee keeps the map smooth and monotone below the background. Resampled with an area filter or cubic.
Meaning
    Without spacing the picture is fitted into 260 × 200 mm and no length on it counts (`scale_known`).
    With spacing it lies on the panel in true size: it is already a projection, so SID does not change it.
Known failures
    Display processing (edge enhancement, unknown gamma) stays in; attenuation differences are relative.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from simulators import spectrum
from simulators.spec import Panel, side_of
from station.devices import BadSettings
from station.frame import Frame, Signal
from station.image_file import ImageUnreadable, read_image

Image = npt.NDArray[np.float32]

_BRIGHT_BONE_TRANSMISSION = 0.08  # assumed
_BRIGHT_PERCENTILE = 99.5
_KNEE_SHARE = 0.005  # width of the soft knee at the background, share of the background-to-bone range
_OUTLINE_SHARE = 0.14  # skin over the background, share of the same range
_OUTLINE_PX = 500  # long side of the picture in which the outline is found
_DEQUANTISE_PX = 0.6  # SD of the blur that takes 8-bit steps off, source pixels
_MAPPED_KVP = 50.0
_FITTED_MM = (260.0, 200.0)  # rows, columns of a picture of unknown scale: inside the usual light field
_REFERENCE_MM = (2.0, 25.0)  # bone and soft tissue whose attenuation carries the change with kV


@dataclass(frozen=True, slots=True)
class ReplayedRadiograph:
    """A picture as absorber; a `simulators.scene.Scene`."""

    attenuation: Image  # (rows, columns), -ln of the relative signal at 50 kV
    outline: npt.NDArray[np.uint8]  # (rows, columns), 1 inside the hand
    spacing_mm: tuple[float, float] | None
    side: str = "L"

    @classmethod
    def read(cls, path: Path, pixel_spacing_mm: Any = None, pose: str = "") -> "ReplayedRadiograph":
        """From an image file.

        Raises
        ------
        BadSettings
            No readable image, a spacing that is no number from 0.01 to 1 mm, or a pose beyond its side.
        """
        side = side_of(pose)
        try:
            spacing = None if pixel_spacing_mm is None else float(pixel_spacing_mm)
        except (TypeError, ValueError) as error:
            raise BadSettings(
                f"pixel_spacing_mm='{pixel_spacing_mm}' is no number; allowed is 0.01 to 1 mm"
            ) from error
        try:
            return cls.of(read_image(path, spacing), side)
        except ImageUnreadable as error:
            raise BadSettings(f"radiograph: {error}") from error

    @classmethod
    def of(cls, frame: Frame, side: str = "L") -> "ReplayedRadiograph":
        """From a frame of either signal.

        Raises
        ------
        BadSettings
            A picture without contrast.
        """
        values = frame.pixels.astype(np.float32)
        if frame.signal is Signal.DOSE:
            values = -np.log(np.maximum(values, 1) / np.float32(max(values.max(), 1)))
        low, high = float(values.min()), float(values.max())
        if not high > low:
            raise BadSettings(
                f"radiograph: {frame.source} has the one value {low:g}; give a picture with contrast"
            )
        background = _background(values, low, high)
        values = cv2.GaussianBlur(values, (0, 0), _DEQUANTISE_PX) - np.float32(background)
        bright = float(np.percentile(values[::4, ::4], _BRIGHT_PERCENTILE))
        outline = _outline(values, bright)
        values = _softened(values.astype(np.float32, copy=False), _KNEE_SHARE * bright)
        if frame.signal is Signal.ATTENUATION:
            # The knee takes three of its widths from every value well above the background.
            values *= np.float32(-np.log(_BRIGHT_BONE_TRANSMISSION) / (bright * (1 - 3 * _KNEE_SHARE)))
        return cls(values, outline, frame.spacing_mm if frame.scale_known else None, side)

    @property
    def scale_known(self) -> bool:
        """Whether lengths on the panel are the object's."""
        return self.spacing_mm is not None

    def relative_signal(self, panel: Panel, kvp: float, sid_mm: float) -> Image:
        """Noise-free signal relative to the open field, 1 outside the picture; see `simulators.scene`."""
        del sid_mm
        left = spectrum.transmission(*_REFERENCE_MM, kvp), spectrum.transmission(*_REFERENCE_MM, _MAPPED_KVP)
        harder = float(np.log(left[0]) / np.log(left[1]))
        placed = self._placed(panel)
        source = self.attenuation
        shrink = 1 / float(np.sqrt(np.linalg.det(placed[:, :2])))
        if shrink > 1:
            source = cv2.GaussianBlur(source, (0, 0), 0.5 * np.sqrt(shrink**2 - 1) + 1e-3)
        seen = cv2.warpAffine(source, placed, (panel.columns, panel.rows), flags=cv2.INTER_CUBIC)
        seen = np.maximum(seen, 0) * np.float32(-harder)
        return cv2.exp(seen).astype(np.float32, copy=False)

    def silhouette(self, panel: Panel) -> npt.NDArray[np.bool_]:
        """Largest bright body in the picture, holes filled, where it lies on the panel."""
        placed = self._placed(panel)
        seen = cv2.warpAffine(
            self.outline.astype(np.float32), placed, (panel.columns, panel.rows), flags=cv2.INTER_LINEAR
        )
        return seen > 0.5

    def _placed(self, panel: Panel) -> npt.NDArray[np.float64]:
        """Source (x, y) pixels to panel pixels, centre on centre; (2, 3)."""
        rows, columns = self.attenuation.shape
        if self.spacing_mm is None:
            mm_per_px = min(_FITTED_MM[0] / rows, _FITTED_MM[1] / columns)
            down = across = mm_per_px / panel.spacing_mm
        else:
            down, across = (s / panel.spacing_mm for s in self.spacing_mm)
        return np.array(
            [
                [across, 0, (panel.columns - 1) / 2 - across * (columns - 1) / 2],
                [0, down, (panel.rows - 1) / 2 - down * (rows - 1) / 2],
            ]
        )


def _background(values: Image, low: float, high: float) -> float:
    """The most frequent value below Otsu's threshold."""
    per_level = (high - low) / 255
    coarse = ((values - np.float32(low)) * np.float32(1 / per_level)).astype(np.uint8)
    threshold, _ = cv2.threshold(coarse, 0, 1, cv2.THRESH_OTSU)
    counts = np.bincount(coarse.ravel(), minlength=256)[: int(threshold) + 1].astype(float)
    return low + per_level * float(np.convolve(counts, [0.25, 0.5, 0.25], "same").argmax())


def _outline(values: Image, bright: float) -> npt.NDArray[np.uint8]:
    """1 inside the largest body that rises over a slowly varying background; holes filled."""
    share = min(_OUTLINE_PX / max(values.shape), 1)
    small = cv2.resize(values, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
    risen = small - _slow_background(small, bright)
    inside = cv2.medianBlur((risen > _OUTLINE_SHARE * bright).astype(np.uint8), 5)
    inside = cv2.morphologyEx(inside, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    found, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = np.zeros_like(inside)
    if found:
        cv2.drawContours(outline, [max(found, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    rows, columns = values.shape
    smooth = cv2.resize(outline * np.float32(1), (columns, rows), interpolation=cv2.INTER_CUBIC)
    return (smooth > 0.5).astype(np.uint8)


def _slow_background(small: npt.NDArray[Any], bright: float) -> Image:
    """Quadratic surface through the pixels that are no hand, found by dropping what rises above it."""
    rows, columns = small.shape
    y, x = (
        g.ravel() for g in np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    )
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], 1)
    flat = small.ravel().astype(float)
    kept = flat < 0.3 * bright
    surface = np.zeros_like(flat)
    for _ in range(4):
        weights = np.linalg.lstsq(terms[kept][::3], flat[kept][::3], rcond=None)[0]
        surface = terms @ weights
        kept = np.abs(flat - surface) < 0.5 * _OUTLINE_SHARE * bright
    return surface.reshape(small.shape).astype(np.float32)


def _softened(values: Image, knee: float) -> Image:
    """max(values, 0) with a smooth, strictly rising knee of that width (softplus); 0.05 knees at 0."""
    scaled = values * np.float32(1 / knee) - np.float32(3)
    tail = cv2.exp(-np.abs(scaled))
    return (np.maximum(scaled, 0) + np.log1p(tail)) * np.float32(knee)
