"""Built defects: what spoils a region of a metacarpal, painted into an image whose metacarpals are known.

A picture here is attenuation, bone bright, in any unit: a phantom's -ln(signal) before blur and noise, or a
radiograph's display values. Strengths are in units of the bone's own contrast, the cortex over the tissue
beside it. Sizes are in mm; where a picture has no scale, metacarpal 3 is taken as 62 mm long.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np

METAL = 3.0  # 1 mm steel or gold against 0.6 of the cortex at 50 kV; in 8 bit it clips
TITANIUM = 1.5
MC3_MM = 62.0


@dataclass(frozen=True, slots=True)
class Picture:
    """Attenuation (rows, columns), the axes of metacarpals 2-4 as (base, head, width) in px, px per mm."""

    values: np.ndarray
    axes: dict
    per_mm: float

    @classmethod
    def of(cls, values, axes, per_mm=None):
        base, head, _ = axes[3]
        return cls(values.astype(np.float32), axes, per_mm or float(np.hypot(*(head - base))) / MC3_MM)

    def around(self, number, at=0.45):
        """Coordinates in mm along and across that bone, from the place `at` of its length on its axis."""
        base, head, _ = self.axes[number]
        along = (head - base) / np.hypot(*(head - base))
        middle = base + at * (head - base)
        row, column = (np.arange(n, dtype=np.float32) for n in self.values.shape)
        r, c = row[:, None] - np.float32(middle[0]), column[None, :] - np.float32(middle[1])
        s = (np.float32(along[0]) * r + np.float32(along[1]) * c) / np.float32(self.per_mm)
        x = (np.float32(along[0]) * c - np.float32(along[1]) * r) / np.float32(self.per_mm)
        return s, x

    def width_mm(self, number):
        return self.axes[number][2] / self.per_mm

    def contrast(self, number=3):
        """Cortex over the tissue beside it."""
        s, x = self.around(number)
        half, shaft = self.width_mm(number) / 2, np.abs(s) < 8
        bone = self.values[shaft & (np.abs(x) < half)]
        beside = self.values[shaft & (np.abs(x) > 1.2 * half) & (np.abs(x) < 1.6 * half)]
        return float(np.percentile(bone, 90) - np.median(beside))

    def plus(self, extra):
        return replace(self, values=self.values + np.float32(self.contrast()) * extra.astype(np.float32))


def _edge(distance_mm, sharp_mm=0.1):
    """1 where the distance is negative, 0 where positive, soft in between."""
    return np.clip(0.5 - distance_mm / (2 * sharp_mm), 0, 1)


def _rod(distance_mm, diameter_mm):
    """Path through a rod over its diameter."""
    return np.sqrt(np.clip(1 - (2 * distance_mm / diameter_mm) ** 2, 0, 1))


def _turned(s, x, degrees):
    c, n = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return c * s - n * x, n * s + c * x


def gap(picture, number, width_mm, angle_deg=0.0):
    """A fracture line across the shaft: bone replaced by the tissue beside it. 0 degrees is transverse."""
    s, x = picture.around(number)
    across, _ = _turned(s, x, angle_deg)
    half = picture.width_mm(number) / 2
    near = (np.abs(s) < 12) & (np.abs(x) > 1.1 * half) & (np.abs(x) < 1.5 * half)
    tissue = float(np.median(picture.values[near]))
    line = _edge(np.abs(across) - width_mm / 2) * _edge(np.abs(x) - 1.1 * half)
    line *= picture.values > tissue
    return replace(picture, values=picture.values + line.astype(np.float32) * (tissue - picture.values))


def step(picture, number, shift_mm, angle_deg=20.0):
    """A displaced fracture: beyond the line the shaft lies further to one side."""
    s, x = picture.around(number)
    across, _ = _turned(s, x, angle_deg)
    reach = picture.width_mm(number)
    moved = (
        np.float32(shift_mm * picture.per_mm)
        * _edge(-across)
        * np.clip((1.1 - np.abs(x) / reach) / 0.35, 0, 1)
    )
    base, head, _ = picture.axes[number]
    along = (head - base) / np.hypot(*(head - base))
    row, column = (np.arange(n, dtype=np.float32) for n in picture.values.shape)
    rows = (row[:, None] + moved * np.float32(along[1])).astype(np.float32)
    columns = (column[None, :] - moved * np.float32(along[0])).astype(np.float32)
    return replace(picture, values=cv2.remap(picture.values, columns, rows, cv2.INTER_LINEAR))


def wire(picture, number, diameter_mm, angle_deg=0.0, strength=METAL):
    """A wire along (0 degrees) or across the shaft."""
    s, x = picture.around(number)
    along, aside = _turned(s, x, angle_deg)
    return picture.plus(strength * _rod(aside, diameter_mm) * _edge(np.abs(along) - 22))


def plate(picture, number, width_mm, strength=TITANIUM):
    """A plate on the shaft, 30 mm long."""
    s, x = picture.around(number)
    return picture.plus(strength * _edge(np.abs(x) - width_mm / 2) * _edge(np.abs(s) - 15))


def screw(picture, number, diameter_mm):
    """A screw across the shaft."""
    s, x = picture.around(number)
    return picture.plus(METAL * _rod(s, diameter_mm) * _edge(np.abs(x) - 0.7 * picture.width_mm(number)))


def ring(picture, number, width_mm=4.0, at=0.45):
    """A metal band across a bone; `at` 1.35 is the finger's first phalanx."""
    s, x = picture.around(number, at)
    wall = _rod(np.abs(x) - 9, 2.0) + 0.5 * _edge(np.abs(x) - 9)
    return picture.plus(METAL * wall * _edge(np.abs(s) - width_mm / 2))


def finger(picture, number, angle_deg):
    """Another finger across the shaft: soft tissue of 15 mm and a hollow bone of 8 mm."""
    s, x = picture.around(number)
    _, aside = _turned(s, x, angle_deg)
    bone = _rod(aside, 8.0) - 0.7 * _rod(aside, 5.6)
    return picture.plus(0.35 * _rod(aside, 15.0) + 1.2 * bone)


def cast(picture, strength, texture, period_mm=2.5, seed=5):
    """Plaster or fibre over the whole hand: an even layer with clouds and a weave."""
    rng = np.random.default_rng(seed)
    rows, columns = picture.values.shape
    coarse = rng.standard_normal([max(int(n / (1.5 * picture.per_mm)), 2) for n in (rows, columns)])
    clouds = cv2.resize(coarse.astype(np.float32), (columns, rows), interpolation=cv2.INTER_CUBIC)
    s, x = picture.around(3)
    turn = 2 * np.pi / period_mm
    weave = np.sin(turn * (s + x)) * np.sin(turn * (s - x))
    return picture.plus(strength + texture * (0.5 * clouds + weave))


def splint(picture, strength):
    """A board whose straight edge runs along metacarpal 3."""
    s, x = picture.around(3)
    return picture.plus(strength * _edge(x - 1.0 - 0.1 * s, 0.3))


def motion(picture, length_mm, angle_deg, *, twice=False):
    """Even motion during the exposure, or two places held for half of it each; 0 degrees is along MC3."""
    base, head, _ = picture.axes[3]
    along = (head - base) / np.hypot(*(head - base))
    c, n = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    direction = np.array([c * along[0] - n * along[1], c * along[1] + n * along[0]])
    shares = np.array([-0.5, 0.5]) if twice else np.linspace(-0.5, 0.5, 15)
    size = 2 * int(np.ceil(length_mm * picture.per_mm / 2)) + 3
    kernel = np.zeros((size, size), np.float32)
    for share in shares:
        row, column = share * length_mm * picture.per_mm * direction + size // 2
        r, k = int(row), int(column)
        for dr, dk in ((0, 0), (0, 1), (1, 0), (1, 1)):
            kernel[r + dr, k + dk] += (1 - abs(row - r - dr)) * (1 - abs(column - k - dk))
    return replace(picture, values=cv2.filter2D(picture.values, cv2.CV_32F, kernel / kernel.sum()))


def marker(picture, strength=METAL):
    """A lead letter in the corner of the picture."""
    rows, columns = picture.values.shape
    letter = np.zeros((rows, columns), np.uint8)
    size = int(10 * picture.per_mm)
    place = (int(0.06 * columns), int(0.06 * rows) + size)
    cv2.putText(letter, "L", place, cv2.FONT_HERSHEY_SIMPLEX, size / 25, 1, int(1.5 * picture.per_mm))
    return picture.plus(strength * letter)
