"""Coefficient of variation of density: new noise, the hand laid anew, other detectors and techniques.

One shaft size throughout (T 1.8, W 8 mm, the size for which quantum noise alone allows 0.06 %). Height is the
one thing that no picture shows: ±5 mm of it are 0.29 % in any length, so it has a line of its own. Run with
-s to see the table, with --full for the numbers of the README.
"""

import numpy as np
import pytest
from phantoms import Shot, frames, hand

from station.dxr.analysis import analyse
from station.protocols import load_protocol, load_reference

SPEC = "t=1.8,w=8.0"
SEED = 11
COUNT = {False: 10, True: 60}
DETECTORS = (  # pixel pitch and blur, mm
    *((0.1, 0.06), (0.1, 0.11), (0.1, 0.15), (0.139, 0.09)),
    *((0.14, 0.15), (0.148, 0.12), (0.175, 0.12), (0.175, 0.2)),
)
TECHNIQUES = ((44, 5.0), (50, 5.0), (57, 2.5), (50, 10.0))  # kV, µGy


@pytest.fixture(scope="module")
def density():
    protocol = load_protocol()
    reference = load_reference(protocol.analysis.reference)

    def of(frame):
        found = analyse(frame, 60, None, protocol, reference)
        return found.bmd_g_cm2.value if len(found.bones) == 3 else None  # of two bones: another quantity

    return of


def variation(densities, what):
    """CV in per cent, printed."""
    whole = [density for density in densities if density is not None]
    found = 100 * np.std(whole, ddof=1) / np.mean(whole)
    print(f"\n{what}: CV {found:.2f} % (n = {len(whole)} of {len(densities)} with three bones)")
    assert len(whole) >= 0.9 * len(densities)
    return found


@pytest.mark.parametrize("pitch_mm", [0.1, 0.14])
def test_same_pose_new_noise(density, pitch_mm, full):
    rng = np.random.default_rng([SEED, 1])
    shots = frames(hand(SPEC), Shot(pitch_mm), rng, COUNT[full])
    found = variation([density(frame) for frame in shots], f"new noise, 5 µGy, {pitch_mm} mm pixels")
    assert found < (0.17 if full else 0.22)


@pytest.mark.parametrize("height_mm", [0, 5])
def test_laid_anew(density, height_mm, full):
    rng, found = np.random.default_rng([SEED, 2]), []
    for _ in range(COUNT[full]):
        rotation, x, y, pronation = rng.uniform(-1, 1, 4) * (20, 20, 20, 10)
        height = 15 + height_mm * rng.uniform(-1, 1)
        pose = f"side=L,rotation={rotation:.1f},shift={x:.1f}:{y:.1f},pronation={pronation:.1f}"
        phantom = hand(SPEC, f"{pose},spread={rng.uniform(0.8, 1.2):.2f},height={height:.2f}")
        found += [density(frame) for frame in frames(phantom, Shot(), rng, 1)]
    title = f"laid anew: ±20°, ±20 mm, ±10° pronation, spread, height ±{height_mm} mm"
    assert variation(found, title) < (0.45 if height_mm else 0.25)


def test_other_detectors_and_techniques(density, full):
    rng, found = np.random.default_rng([SEED, 3]), []
    phantom = hand(SPEC)
    for pitch_mm, blur_mm in DETECTORS if full else DETECTORS[1::2]:
        for kvp, dose_ugy in TECHNIQUES if full else TECHNIQUES[::2]:
            shot = Shot(pitch_mm, blur_mm, dose_ugy, kvp)
            found += [density(frame) for frame in frames(phantom, shot, rng, 1)]
    assert variation(found, "8 detectors, 4 techniques" if full else "4 detectors, 2 techniques") < 0.30
