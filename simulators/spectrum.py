"""Beam quality: what a tungsten tube of 40-70 kV gives, and what bone and soft tissue leave of it.

Assumes
    Tungsten, 12° anode, 2.5 mm Al in total; ICRU cortical bone (1.92 g/cm³) and soft tissue (1.06 g/cm³);
    a detector whose signal is the energy absorbed in 500 µm of CsI, without fluorescence escape.
Tolerates
    Any voltage from 40 to 70 kV (linear between whole kV), more aluminium, any thickness inside the table.
Method
    Sums over a 1 keV grid made once with spekpy and xraydb (`tables/`). Pictures use a table over the two
    thicknesses, fine enough that bilinear look-up is exact to 0.1 %.
Meaning
    Kerma is air kerma at 1 m without backscatter; a relative signal is 1 with nothing in the beam.
Known failures
    No scatter (the scene adds it), no heel effect, no voltage ripple, no heavy filters.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Image = npt.NDArray[np.float32]

KVP_RANGE = (40.0, 70.0)
_BONE_STEP_MM, _BONE_MAX_MM = 0.1, 60.0
_SOFT_STEP_MM, _SOFT_MAX_MM = 0.25, 150.0


@dataclass(frozen=True, slots=True)
class _Tables:
    energy_kev: Floats  # (n,)
    kvp: Floats  # (k,)
    fluence_cm2_mas: Floats  # (k, n)
    kerma_ugy_cm2: Floats  # (n,)
    bone_per_mm: Floats  # (n,)
    soft_per_mm: Floats  # (n,)
    al_per_mm: Floats  # (n,)
    csi_absorbed: Floats  # (n,)


def air_kerma(kvp: float, added_al_mm: float = 0.0) -> float:
    """Tube output: air kerma per tube current-time product at 1 m.

    Parameters
    ----------
    kvp : float
        Tube voltage, 40 to 70 kV.
    added_al_mm : float
        Aluminium beyond the 2.5 mm in every beam.

    Returns
    -------
    float
        µGy/mAs.

    Raises
    ------
    ValueError
        Outside 40-70 kV, or negative filter.
    """
    return float(_beam(kvp, added_al_mm) @ _tables().kerma_ugy_cm2)


def hvl_mm_al(kvp: float, added_al_mm: float = 0.0) -> float:
    """First half-value layer of the open beam in mm Al, to 0.01 mm."""
    tables = _tables()
    beam = _beam(kvp, added_al_mm) * tables.kerma_ugy_cm2
    al_mm = np.arange(0.0, 8.0, 0.01)
    kerma = np.exp(-np.outer(al_mm, tables.al_per_mm)) @ beam
    return float(np.interp(0.5, (kerma / kerma[0])[::-1], al_mm[::-1]))


def quanta_per_ugy(kvp: float, added_al_mm: float = 0.0, soft_mm: float = 0.0) -> float:
    """Squared input signal-to-noise ratio of an ideal energy integrator (IEC 62220-1's SNRin²).

    Returns
    -------
    float
        1/(mm²·µGy), for the beam behind `soft_mm` of soft tissue and per µGy measured there.
    """
    tables = _tables()
    beam = _beam(kvp, added_al_mm) * np.exp(-soft_mm * tables.soft_per_mm)
    energy = tables.energy_kev
    ideal_cm2 = (beam @ energy) ** 2 / (beam @ energy**2)
    return float(ideal_cm2 / (beam @ tables.kerma_ugy_cm2) / 100)


def transmission(bone_mm: npt.ArrayLike, soft_mm: npt.ArrayLike, kvp: float) -> Floats:
    """Detector signal behind bone and soft tissue relative to the open field, summed over energies.

    Exact and slow: for single values and as the truth behind `relative_signal`.
    """
    tables = _tables()
    response = _beam(kvp, 0.0) * tables.energy_kev * tables.csi_absorbed
    bone, soft = np.asarray(bone_mm, float)[..., None], np.asarray(soft_mm, float)[..., None]
    left = np.exp(-bone * tables.bone_per_mm - soft * tables.soft_per_mm)
    return left @ (response / response.sum())


def relative_signal(bone_mm: Image, soft_mm: Image, kvp: float) -> Image:
    """Detector signal behind bone and soft tissue for whole pictures.

    Parameters
    ----------
    bone_mm, soft_mm : float32 (rows, columns)
        Path lengths of solid cortical bone and of soft tissue, 0-60 and 0-150 mm.
    kvp : float
        Tube voltage, 40 to 70 kV.

    Returns
    -------
    float32 (rows, columns)
        Relative to the open field, within 0.1 % of `transmission`.

    Raises
    ------
    ValueError
        A thickness outside the table, or a voltage outside 40-70 kV.
    """
    for name, thickness, limit in (("bone", bone_mm, _BONE_MAX_MM), ("soft tissue", soft_mm, _SOFT_MAX_MM)):
        low, high, _, _ = cv2.minMaxLoc(thickness)
        if not (low >= 0 and high <= limit):
            raise ValueError(f"{name} of {low:.3g} to {high:.3g} mm given, allowed is 0 to {limit:g} mm")
    tables = _tables()
    response = _beam(kvp, 0.0) * tables.energy_kev * tables.csi_absorbed
    bone = np.exp(-np.outer(np.arange(0, _BONE_MAX_MM + 0.2, _BONE_STEP_MM), tables.bone_per_mm))
    soft = np.exp(-np.outer(np.arange(0, _SOFT_MAX_MM + 0.5, _SOFT_STEP_MM), tables.soft_per_mm))
    table = ((soft * (response / response.sum())) @ bone.T).astype(np.float32)
    return cv2.remap(
        table,
        bone_mm * np.float32(1 / _BONE_STEP_MM),
        soft_mm * np.float32(1 / _SOFT_STEP_MM),
        cv2.INTER_LINEAR,
    ).astype(np.float32, copy=False)


@cache
def _tables() -> _Tables:
    with (
        as_file(files("simulators") / "tables" / "spectra.npz") as path,
        np.load(path) as stored,
    ):
        return _Tables(**{name: stored[name] for name in _Tables.__slots__})


def _beam(kvp: float, added_al_mm: float) -> Floats:
    """Quanta per cm², mAs and energy bin at 1 m; shape (n,)."""
    low, high = KVP_RANGE
    if not low <= kvp <= high:
        raise ValueError(f"{kvp:g} kV asked, the spectra cover {low:g} to {high:g} kV")
    if not 0 <= added_al_mm <= 50:
        raise ValueError(f"{added_al_mm:g} mm Al added, allowed is 0 to 50 mm")
    tables = _tables()
    below = min(int(kvp - low), len(tables.kvp) - 2)
    share = kvp - tables.kvp[below]
    beam = (1 - share) * tables.fluence_cm2_mas[below] + share * tables.fluence_cm2_mas[below + 1]
    return beam * np.exp(-added_al_mm * tables.al_per_mm)
