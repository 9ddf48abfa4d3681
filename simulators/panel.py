"""Physics of a flat panel: from air kerma on the scintillator to the 16-bit number a pixel gives.

Assumes
    CsI 500-600 µm on a-Si, linear; the picture given is the mean over each pixel's area, relative to the
    open field.
Tolerates
    Any size; spacing 0.05 to 0.25 mm; light of several exposures in one frame (lag).
Method
    mean signal → quantum noise → blur (isotropic sum of two Gaussians) → gain map → secondary and electronic
    noise → offset map → rounding and clipping of the converter. Noise is drawn per band of rows from its own
    seeded stream, so threads do not change the result.
Meaning
    1 µGy is `lsb_per_ugy` numbers where the gain map is 1, at every tube voltage.
Known failures
    Signal per kerma does not change with voltage. A quantum counts as in the open beam: behind bone, where
    the beam is harder, noise is up to 10 % too small. No focal spot blur (at 15 mm above the panel a 0.6 mm
    spot adds 0.01 mm), no ghosting, no fluorescence noise beyond the blur, no ageing.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Image: TypeAlias = npt.NDArray[np.float32]
Counts: TypeAlias = npt.NDArray[np.uint16]

FULL_SCALE = 65535  # of the converter, LSB
_DQE_0 = 0.65  # zero-frequency detective quantum efficiency, memory (0.65-0.70 published for CsI)
# Share of the noise power that arises after the blur; derived: gives DQE 0.59/0.44/0.24 at 1/2/3 lp/mm where
# memory says 0.53/0.42/0.28.
_UNBLURRED_SHARE = 0.05
# Scintillator MTF = sum of weight x exp(-2 pi² sigma² f²); derived: with the aperture of a 0.1 mm pixel it
# passes exactly through 0.63/0.35/0.19 at 1/2/3 lp/mm (memory). Three parameters for three points, so the fit
# error there is 0; between and beyond the curve is the model's own, 0.87 at 0.5 and 0.03 at 5 lp/mm.
_BLUR = ((0.55835, 0.07217), (0.44165, 0.24375))  # weight, sigma in mm
_POISSON_BELOW = 20.0  # quanta per pixel under which the normal approximation is not used
_BAND_ROWS = 250
_THREADS = 2

_REFERENCE_C = 25.0
_OFFSET_PER_C = 0.002  # relative offset drift, derived from a few LSB per degree (memory)
_AMPLIFIER_COLUMNS = 256  # columns per read-out chip

# Defects per million pixels, derived from the six real maps of DetectorChecker (refurbished to worn panels:
# 66-117 isolated, 6-24 groups of 2-4, about 1 group of 5-16, 0.8-5 column pieces of 100-1000 rows).
_ISOLATED_PER_MPX = 80.0
_SMALL_GROUPS_PER_MPX = 15.0
_LARGE_GROUPS_PER_MPX = 1.0
_COLUMN_PIECES_PER_MPX = 1.2


@dataclass(frozen=True, slots=True)
class PanelSpec:
    """Geometry and nominal response."""

    rows: int = 3000
    columns: int = 2400
    spacing_mm: float = 0.1
    lsb_per_ugy: float = 1000.0  # memory: 16 bit, full scale about 62 µGy
    electronic_lsb: float = 3.5  # rms, memory


@dataclass(frozen=True, slots=True)
class PanelMaps:
    """What makes one panel differ from another of its kind."""

    gain: Image  # (rows, columns), mean 1; 0 where a pixel is dead
    offset: Image  # LSB at the reference temperature
    noisy: npt.NDArray[np.intp]  # flat indices of pixels with extra noise
    defective: npt.NDArray[np.intp]  # flat indices of every defect: the truth for tests


@dataclass(frozen=True, slots=True)
class Light:
    """One exposure's contribution to a frame."""

    kerma_ugy: float  # open field, at the panel
    quanta_per_ugy_mm2: float  # ideal quanta
    relative: Image | None  # what the object leaves; None: no object
    field_mm: tuple[float, float]  # rows, columns of the light field, centred


def scintillator_mtf(f_lp_mm: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Modulation transfer of the blur alone, without the pixel aperture (sinc of f x spacing)."""
    f = np.asarray(f_lp_mm, float)
    return np.sum([w * np.exp(-2 * np.pi**2 * s**2 * f**2) for w, s in _BLUR], axis=0)


def effective_quanta(kerma_ugy: float, quanta_per_ugy_mm2: float, spacing_mm: float) -> float:
    """Quanta per pixel whose Poisson noise equals the detector's at zero frequency: DQE(0) x ideal ones."""
    return _DQE_0 * quanta_per_ugy_mm2 * spacing_mm**2 * kerma_ugy


def make_maps(spec: PanelSpec, seed: int) -> PanelMaps:
    """Gain, offset and defects of one panel.

    Returns
    -------
    PanelMaps
        Gain within about ±15 %: low frequency ±10 %, read-out chips 1 %, lines 0.3 %, pixels 1 %. Offset 1000
        to 3000 LSB with column structure.
    """
    rng = np.random.default_rng([seed, 1])
    gain = _smooth(spec, rng, 0.1)
    gain *= _chips(spec, rng, 0.01)
    gain *= 1 + 0.003 * rng.standard_normal((spec.rows, 1), np.float32)
    offset = _smooth(spec, rng, 0.25)
    offset *= 1 + 0.02 * rng.standard_normal((1, spec.columns), np.float32)
    offset *= _chips(spec, rng, 0.03)
    offset *= 1900

    def scatter(band: slice, noise: np.random.Generator) -> None:
        drawn = noise.standard_normal((band.stop - band.start, spec.columns), np.float32)
        gain[band] *= 1 + np.float32(0.01) * drawn
        noise.standard_normal(out=drawn, dtype=np.float32)
        offset[band] += np.float32(12) * drawn

    _in_bands(spec.rows, (seed, 2), scatter)
    gain /= cv2.mean(gain)[0]
    noisy, defective = _add_defects(spec, rng, gain, offset)
    return PanelMaps(gain, offset, noisy, defective)


def _smooth(spec: PanelSpec, rng: np.random.Generator, amplitude: float) -> Image:
    """A map around 1 that varies over centimetres, within ±amplitude."""
    coarse = rng.uniform(-1, 1, (5, 4)).astype(np.float32)
    fine = cv2.resize(coarse, (spec.columns, spec.rows), interpolation=cv2.INTER_LINEAR)
    soft = cv2.resize(fine, None, fx=0.05, fy=0.05, interpolation=cv2.INTER_AREA)
    soft = cv2.resize(cv2.GaussianBlur(soft, (0, 0), 6), (spec.columns, spec.rows))
    return np.asarray(1 + amplitude * soft, np.float32)


def _chips(spec: PanelSpec, rng: np.random.Generator, sigma: float) -> Image:
    chips = math.ceil(spec.columns / _AMPLIFIER_COLUMNS)
    per_chip = 1 + sigma * rng.standard_normal(chips, np.float32)
    return np.repeat(per_chip, _AMPLIFIER_COLUMNS)[None, : spec.columns]


def _add_defects(
    spec: PanelSpec, rng: np.random.Generator, gain: Image, offset: Image
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Write dead, weak, hot and dead-column pixels into the maps; returns noisy ones and all."""
    mpx = spec.rows * spec.columns / 1e6
    seeds = [
        _grown(spec, rng, int(rng.integers(low, high + 1)))
        for density, low, high in (
            (_ISOLATED_PER_MPX, 1, 1),
            (_SMALL_GROUPS_PER_MPX, 2, 4),
            (_LARGE_GROUPS_PER_MPX, 5, 16),
        )
        for _ in range(rng.poisson(density * mpx))
    ]
    pieces = [_column_piece(spec, rng) for _ in range(rng.poisson(_COLUMN_PIECES_PER_MPX * mpx))]
    noisy: list[npt.NDArray[np.intp]] = []
    flat_gain, flat_offset = gain.reshape(-1), offset.reshape(-1)
    for group in seeds:
        kind = rng.integers(0, 10)
        if kind < 5:
            flat_gain[group] = 0
        elif kind < 7:
            flat_gain[group] *= rng.choice([0.3, 0.6, 1.5])
        elif kind < 9:
            flat_offset[group] += rng.uniform(2000, 50000)
        else:
            noisy.append(group)
    for piece in pieces:
        flat_gain[piece] = 0
    nothing = [np.zeros(0, np.intp)]
    return np.concatenate(noisy + nothing), np.unique(np.concatenate(seeds + pieces + nothing))


def _grown(spec: PanelSpec, rng: np.random.Generator, size: int) -> npt.NDArray[np.intp]:
    """Flat indices of one group: a walk from a random pixel, inside the panel."""
    row, column = int(rng.integers(spec.rows)), int(rng.integers(spec.columns))
    group = {(row, column)}
    while len(group) < size:
        row = min(max(row + int(rng.integers(-1, 2)), 0), spec.rows - 1)
        column = min(max(column + int(rng.integers(-1, 2)), 0), spec.columns - 1)
        group.add((row, column))
    return np.array(sorted(r * spec.columns + c for r, c in group), np.intp)


def _column_piece(spec: PanelSpec, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Flat indices of a dead piece of one column; half of them reach the panel's edge."""
    length = min(int(rng.uniform(100, 1000)), spec.rows // 2)
    free = int(rng.integers(spec.rows - length))
    first = (0, spec.rows - length, free, free)[rng.integers(4)]
    return np.arange(first, first + length, dtype=np.intp) * spec.columns + int(rng.integers(spec.columns))


def expose(
    spec: PanelSpec, maps: PanelMaps, lights: Sequence[Light], temperature_c: float, seed: Sequence[int]
) -> Counts:
    """One raw frame.

    Parameters
    ----------
    lights : sequence of Light
        What fell on the panel, lag of earlier frames included; none gives a dark frame.
    temperature_c : float
        Of the panel; the offset drifts with it.
    seed : sequence of int
        Of this frame's noise.

    Returns
    -------
    uint16 (rows, columns)
        LSB, clipped at 65535 as the converter does.
    """
    lights = [light for light in lights if light.kerma_ugy > 0]
    lsb_per_quantum = _lsb_per_quantum(spec, lights)
    signal = _noisy_light(spec, lights, lsb_per_quantum, seed) if lights else None
    out = np.empty((spec.rows, spec.columns), np.uint16)
    drift = 1 + _OFFSET_PER_C * (temperature_c - _REFERENCE_C)
    kernels = _blur_kernels(spec.spacing_mm)
    late = np.float32(_UNBLURRED_SHARE * lsb_per_quantum)

    def read(band: slice, noise: np.random.Generator) -> None:
        drawn = noise.standard_normal((band.stop - band.start, spec.columns), np.float32)
        if signal is None:
            drawn *= np.float32(spec.electronic_lsb)
        else:
            light = _blurred(signal, band, kernels) * maps.gain[band]
            drawn *= cv2.sqrt(np.maximum(light, 0) * late + np.float32(spec.electronic_lsb**2))
            drawn += light
        cv2.scaleAdd(maps.offset[band], drift, drawn, dst=drawn)
        out[band] = np.clip(np.rint(drawn, out=drawn), 0, FULL_SCALE, out=drawn)

    _in_bands(spec.rows, (*seed, 2), read)
    extra = np.random.default_rng([*seed, 3]).normal(0, 200, len(maps.noisy))
    out.reshape(-1)[maps.noisy] = np.clip(out.reshape(-1)[maps.noisy] + extra, 0, FULL_SCALE).astype(
        np.uint16
    )
    return out


def _lsb_per_quantum(spec: PanelSpec, lights: Sequence[Light]) -> float:
    """Signal of one effective quantum; kerma-weighted where qualities are mixed (exact for one)."""
    kerma_ugy = sum(light.kerma_ugy for light in lights)
    if not kerma_ugy:
        return 0.0
    quanta = sum(effective_quanta(p.kerma_ugy, p.quanta_per_ugy_mm2, spec.spacing_mm) for p in lights)
    return spec.lsb_per_ugy * kerma_ugy / quanta


def _noisy_light(
    spec: PanelSpec, lights: Sequence[Light], lsb_per_quantum: float, seed: Sequence[int]
) -> Image:
    """Signal with quantum noise, before blur, in LSB."""
    signal = np.empty((spec.rows, spec.columns), np.float32)
    edges = [field_profiles(spec, light.field_mm) for light in lights]
    blurred_share = np.float32(math.sqrt(1 - _UNBLURRED_SHARE))
    least = np.float32(_POISSON_BELOW * lsb_per_quantum)
    scale = np.float32(lsb_per_quantum)

    def fall(band: slice, noise: np.random.Generator) -> None:
        mean = signal[band]
        mean[:] = 0
        for light, (rows, columns) in zip(lights, edges, strict=True):
            lsb = np.float32(light.kerma_ugy * spec.lsb_per_ugy)
            field = np.outer(rows[band] * lsb, columns)
            mean += field if light.relative is None else np.multiply(field, light.relative[band], out=field)
        drawn = noise.standard_normal(mean.shape, np.float32)
        drawn *= cv2.sqrt(mean * scale)
        few = mean < least
        if few.any():
            quanta = mean[few] / scale
            drawn[few] = (noise.poisson(quanta) - quanta) * scale
        drawn *= blurred_share
        mean += drawn

    _in_bands(spec.rows, (*seed, 1), fall)
    return signal


# Light just outside the collimator's edge, relative to the open field: off-focal radiation, memory.
_LEAK = 0.001
_PENUMBRA_MM = 1.8  # derived: 0.6 mm focal spot, blades 250 mm from it, panel at 1000 mm


def field_profiles(spec: PanelSpec, field_mm: tuple[float, float]) -> tuple[Image, Image]:
    """Light field along rows and along columns, 1 inside and nearly 0 outside; their product is the field."""
    rows, columns = (
        _field_profile(count, spec.spacing_mm, extent_mm)
        for count, extent_mm in zip((spec.rows, spec.columns), field_mm, strict=True)
    )
    return rows, columns


def _field_profile(count: int, spacing_mm: float, extent_mm: float) -> Image:
    inside_mm = extent_mm / 2 - np.abs(np.arange(count) - (count - 1) / 2) * spacing_mm
    return np.clip(inside_mm / _PENUMBRA_MM + 0.5, _LEAK, 1).astype(np.float32)


def _blur_kernels(spacing_mm: float) -> list[tuple[float, npt.NDArray[np.float64]]]:
    """Weight and taps of each Gaussian: exact up to the Nyquist frequency, narrow ones too."""
    kernels: list[tuple[float, npt.NDArray[np.float64]]] = []
    for weight, sigma_mm in _BLUR:
        half = math.ceil(3.5 * sigma_mm / spacing_mm) + 1
        f = (np.arange(512) + 0.5) / 1024  # cycles per pixel
        spectrum = np.exp(-2 * np.pi**2 * (sigma_mm / spacing_mm) ** 2 * f**2)
        taps = np.cos(2 * np.pi * np.outer(np.arange(-half, half + 1), f)) @ spectrum
        kernels.append((weight, taps / taps.sum()))
    return kernels


def _blurred(signal: Image, band: slice, kernels: Sequence[tuple[float, npt.NDArray[np.float64]]]) -> Image:
    halo = max(len(taps) for _, taps in kernels) // 2
    first = max(band.start - halo, 0)
    source = signal[first : band.stop + halo]
    inner = slice(band.start - first, band.stop - first)
    total: Image | None = None
    for weight, taps in kernels:
        whole = cv2.sepFilter2D(source, cv2.CV_32F, taps, taps * weight, borderType=cv2.BORDER_REPLICATE)
        part = np.asarray(whole[inner], np.float32)
        total = part if total is None else np.add(total, part, out=total)
    if total is None:
        raise ValueError("a blur needs at least one kernel")
    return total


def _in_bands(rows: int, seed: Sequence[int], work: Callable[[slice, np.random.Generator], None]) -> None:
    """Run `work(band, noise)` for every band of rows, each with its own seeded stream."""
    bands = [slice(first, min(first + _BAND_ROWS, rows)) for first in range(0, rows, _BAND_ROWS)]

    def one(number: int) -> None:
        work(bands[number], np.random.Generator(np.random.SFC64([*seed, number])))

    with ThreadPoolExecutor(_THREADS) as pool:
        for done in [pool.submit(one, number) for number in range(len(bands))]:
            done.result()
