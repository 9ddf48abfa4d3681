"""T, W and density against exact truth: random phantom hands through `analyse`, carved real bone surfaces.

Phantoms: T 0.8-2.6, W 6.5-10.5 mm, blur 0.05-0.25 mm, pixels 0.10, 0.14 and 0.175 mm, 42-60 kV, 1-10 µGy,
tissue 14-30 mm, pronation ±8°, height ±5 mm; round shafts, and as uneven as real ones (`shape=1`).
Surfaces: metacarpals 2-4 with three kinds of canal, turned about their long axis; the fit's shape priors come
from other bones. Run with -s to see the tables, with --full for the numbers of the README.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from meshes import Beam, carve, shoot
from phantoms import Shot, at_true_height, frames, hand, true_lengths

from station.dxr.analysis import analyse
from station.dxr.edges import find_axis, find_walls
from station.dxr.radiogrammetry import measure, volume_per_area
from station.protocols import load_protocol, load_reference
from station.result import DxrResult

MESHES = Path(__file__).parents[2] / "../shared/data/mesh"
ROI_MM = {2: 20.0, 3: 18.0, 4: 16.0}
SEED = 7
EXPOSURES = {False: (10, 2), True: (175, 3)}  # hands, and exposures of each; of either kind of shaft


@dataclass(frozen=True, slots=True)
class Errors:
    """Measured less true, with the stated 95 % half widths; µm."""

    t: np.ndarray
    w: np.ndarray
    t_u95: np.ndarray
    w_u95: np.ndarray

    def show(self, title):
        print(f"\n{title} (n = {len(self.t)})")
        for name, error, u95 in (("T", self.t, self.t_u95), ("W", self.w, self.w_u95)):
            print(
                f"  {name}: mean {error.mean():+.0f} µm, SD {error.std():.0f}, 95 % within"
                f" {np.quantile(np.abs(error), 0.95):.0f}, u95 {np.median(u95):.0f},"
                f" covered {covered(error, u95):.1%}"
            )


def covered(error, u95):
    return float((np.abs(error) <= u95).mean())


def random_hand(rng, seed, shape):
    t = rng.uniform(0.8, 2.6)
    w = rng.uniform(max(6.5, t / 0.36), 10.5)
    spec = f"t={t:.2f},w={w:.2f},seed={seed},depth={rng.uniform(0.92, 1.08):.2f},shape={shape}"
    pose = (
        f"side={rng.choice(['L', 'R'])},rotation={rng.uniform(-20, 20):.1f},"
        f"pronation={rng.uniform(-8, 8):.1f},height={rng.uniform(10, 20):.1f}"
    )
    shot = Shot(
        float(rng.choice([0.1, 0.14, 0.175])),
        rng.uniform(0.05, 0.25),
        10 ** rng.uniform(0, 1),
        rng.uniform(42, 60),
    )
    return hand(f"{spec},tissue={rng.uniform(14, 30):.1f}", pose), shot


def own_u95(measurement):
    """Without the scale's part: the height of these phantoms is known here."""
    scale = load_protocol().geometry.scale_u95 * measurement.value
    return float(np.sqrt(measurement.u95**2 - scale**2))


@pytest.mark.parametrize("shape", [0, 1], ids=["round", "uneven"])
def test_phantoms_of_any_size_blur_pitch_dose_and_voltage(shape, full):
    protocol = load_protocol()
    reference = load_reference(protocol.analysis.reference)
    weights = protocol.analysis.bone_weights
    rng = np.random.default_rng([SEED, shape])
    hands, repeats = EXPOSURES[full]
    bones, densities, refused = [], [], 0
    for seed in range(hands):
        phantom, shot = random_hand(rng, seed, shape)
        for frame in frames(phantom, shot, rng, repeats):
            found = analyse(frame, 60, None, protocol, reference)
            if not isinstance(found, DxrResult):
                refused += 1
                continue
            true = true_lengths(found, phantom, shot.panel)
            for bone in found.bones:
                scale, (t, w) = at_true_height(bone, phantom), true[bone.number]
                errors = (bone.t_mm.value * scale - t, bone.w_mm.value * scale - w)
                bones.append((*errors, own_u95(bone.t_mm), own_u95(bone.w_mm)))
            share = np.array([weights[number] for number in true])
            vpa_mm = share @ [volume_per_area(t, w) for t, w in true.values()] / share.sum()
            densities.append((found.vpa_cm.value * 10 / vpa_mm - 1, found.vpa_cm.u95 * 10 / vpa_mm))
    errors, density = Errors(*(np.array(bones).T * 1000)), np.array(densities).T * 100
    errors.show(f"{'uneven' if shape else 'round'} shafts, {refused} exposures refused")
    print(
        f"  density, height unknown: mean {density[0].mean():+.2f} %, SD {density[0].std():.2f},"
        f" u95 {np.median(density[1]):.2f}, covered {covered(*density):.1%} of {density.shape[1]}"
    )
    assert refused <= (0.1 if shape else 0.05) * hands * repeats
    assert abs(errors.t.mean()) < 10
    assert abs(errors.w.mean()) < 15
    if full or not shape:  # a tail of uneven shafts needs many of them
        assert np.quantile(np.abs(errors.t), 0.95) < 40
        assert np.quantile(np.abs(errors.w), 0.95) < (50 if shape else 40)  # the aim is 40: uneven miss it
    assert covered(errors.t, errors.t_u95) > (0.93 if full else 0.9)
    assert covered(*density) > (0.93 if full else 0.8)


@pytest.mark.parametrize("number", [2, 3, 4])
def test_carved_real_surfaces(number, full):
    if not MESHES.is_dir():
        pytest.skip(f"bone surfaces are not at {MESHES}")
    rows = []
    for wall_mm in (1.2, 1.6, 2.0) if full else (1.6,):
        for kind in ("offset", "similar", "round"):
            for turn_deg in (-10, 0, 10):
                bone = carve(MESHES / f"{number}mc.stl", wall_mm, kind, turn_deg)
                shot = shoot(bone, Beam(), angle_deg=4.0)
                pitch = shot.frame.spacing_mm[0]
                walls = find_walls(shot.frame, find_axis(shot.frame, shot.base_px, shot.head_px, 8 / pitch))
                profile = measure(walls, number, ROI_MM[number] / pitch, 0.2, 0.1 / pitch)
                t, w = shot.truth(*walls.strip.to_frame_px(np.array(profile.roi_px), np.zeros(2)))
                row = (profile.t_px - t, profile.w_px - w, profile.t_u95_px, profile.w_u95_px)
                rows.append(np.array(row) * pitch)
    errors = Errors(*(np.array(rows).T * 1000))
    errors.show(f"metacarpal {number}, carved")
    assert abs(errors.t.mean()) < 30
    assert abs(errors.w.mean()) < 50
    assert np.quantile(np.abs(errors.t), 0.9) < 60
