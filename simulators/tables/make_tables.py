# pyright: basic, reportMissingImports=false, reportOptionalMemberAccess=false, reportArgumentType=false, reportCallIssue=false
# ruff: noqa: INP001  a script beside its table, never imported
"""Makes `spectra.npz`, once, on a machine with spekpy and xraydb; neither is needed afterwards.

`python make_tables.py` writes the table beside this file. The arrays are described in README.md.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import spekpy
import xraydb

_ANODE_DEG = 12
_TOTAL_AL_MM = 2.5
_KVP = np.arange(40, 71)
# Mass fractions and density (g/cm3): ICRU Report 44, from memory; CsI needles about 80 % packed.
_CORTICAL_BONE = {
    "H": 0.034, "C": 0.155, "N": 0.042, "O": 0.435, "Na": 0.001,
    "Mg": 0.002, "P": 0.103, "S": 0.003, "Ca": 0.225,
}  # fmt: skip
_CORTICAL_BONE_G_CM3 = 1.92
_SOFT_TISSUE = {
    "H": 0.102, "C": 0.143, "N": 0.034, "O": 0.708, "Na": 0.002,
    "P": 0.003, "S": 0.003, "Cl": 0.002, "K": 0.003,
}  # fmt: skip
_SOFT_TISSUE_G_CM3 = 1.06
_AL_G_CM3 = 2.699
_CSI_G_CM2 = 0.05 * 4.51 * 0.8  # 500 um
_KEV_PER_G_TO_UGY = 1.602176634e-16 * 1e3 * 1e6  # keV/g to J/kg to uGy


def main() -> None:
    """Compute, check and write the table."""
    energy_kev = np.arange(5, 70) + 0.5
    fluence = np.zeros((len(_KVP), len(energy_kev)))
    kerma, air = np.zeros(len(_KVP)), np.zeros(len(energy_kev))
    for row, kvp in enumerate(_KVP):
        beam = spekpy.Spek(kvp=float(kvp), th=_ANODE_DEG, dk=1.0, z=100, mas=1).filter("Al", _TOTAL_AL_MM)
        kerma[row] = beam.get_kerma()
        energies, per_kev = beam.get_spectrum(edges=False)
        fluence[row] = np.interp(energy_kev, energies, per_kev, left=0, right=0)
        air = beam.muen_air_data.get_muen_over_rho_air(energy_kev)
    kerma_per_quantum = energy_kev * air * _KEV_PER_G_TO_UGY
    worst = np.abs(fluence @ kerma_per_quantum / kerma - 1).max()
    if worst > 0.02:
        raise ValueError(f"kerma from the air table differs from spekpy's by {worst:.1%}")
    csi = _CSI_G_CM2 * _mass_attenuation({"Cs": 0.5115, "I": 0.4885}, energy_kev, "photo")
    np.savez_compressed(
        Path(__file__).with_name("spectra.npz"),
        energy_kev=energy_kev,
        kvp=_KVP.astype(float),
        fluence_cm2_mas=fluence,
        kerma_ugy_cm2=kerma_per_quantum,
        bone_per_mm=_mass_attenuation(_CORTICAL_BONE, energy_kev) * _CORTICAL_BONE_G_CM3 / 10,
        soft_per_mm=_mass_attenuation(_SOFT_TISSUE, energy_kev) * _SOFT_TISSUE_G_CM3 / 10,
        al_per_mm=_mass_attenuation({"Al": 1.0}, energy_kev) * _AL_G_CM3 / 10,
        csi_absorbed=1 - np.exp(-csi),
        made_with=np.array(f"spekpy {spekpy.__version__}, xraydb {xraydb.__version__}"),
        kerma_check=np.array(worst),
    )


def _mass_attenuation(
    fractions: dict[str, float], energy_kev: npt.NDArray[np.float64], kind: str = "total"
) -> npt.NDArray[np.float64]:
    parts = [
        share * xraydb.mu_elam(element, energy_kev * 1e3, kind=kind) for element, share in fractions.items()
    ]
    return np.sum(parts, axis=0)


if __name__ == "__main__":
    main()
