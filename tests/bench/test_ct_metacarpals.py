"""W, walls and 2T/W of two real metacarpals, projected from CT, against what was read off the CT.

What it can show: that nothing is wrong by more than 0.3 mm on real canals, whose walls are uneven and lined
with trabeculae, and on a real flange (the third metacarpal's base); that grey and sharp renderings agree.

What it cannot show: the accuracy of a radiograph. The voxels are 0.4 mm, their grey values clipped, and the
stated values are half maxima along rows of voxels, good to 0.3 mm; the cosine of the shaft's tilt in the view
brings them across the shaft. The silhouettes of the sharp surface are printed as a second truth; they depend
on what path still counts as bone: between 0.05 and 0.7 mm of path W of a real outline changes by 0.2 mm and T
by 0.08 mm, where a round tube's changes by 0.03 mm.
"""

from pathlib import Path

import numpy as np
import pytest
from ct_bones import VOXEL_MM, Place, ct_bone
from meshes import Beam, shoot

from station.dxr.edges import find_axis, find_walls
from station.dxr.radiogrammetry import measure

CT = Path(__file__).parents[2] / "../shared/data/ct"
STATED_U95_MM = 0.3
CT_BLUR_MM = 0.3  # sigma at the surface of the grey rendering (derived from its slices)
DETECTOR_BLUR_MM = 0.1
ROI_MM = {2: 20.0, 3: 18.0}
# number, place (ends of the shaft's axis, read off the PA view), stated W and walls
BONES = {
    "MC2": (2, Place("mc2_mc3.tif", (106, 61.9), (8.3, 17.4)), 8.15, (2.27, 2.17)),
    "MC3 beside MC2": (3, Place("mc2_mc3.tif", (104.6, 93.4), (2.8, 71.7)), 7.97, (2.21, 2.10)),
    "MC3 alone": (3, Place("mc3.tif", (104.6, 39.4), (2.8, 21.0)), 7.97, (2.21, 2.10)),
}


def measured_mm(name, pitch_mm, angle_deg, *, solid):
    """(T, W, silhouettes' T and W) in mm."""
    number, place, _, _ = BONES[name]
    bone = ct_bone(CT, place, solid=solid)
    shot = shoot(bone, Beam(pitch_mm=pitch_mm), angle_deg=angle_deg)
    walls = find_walls(shot.frame, find_axis(shot.frame, shot.base_px, shot.head_px, 8 / pitch_mm))
    blur_mm = DETECTOR_BLUR_MM if solid else float(np.hypot(DETECTOR_BLUR_MM, CT_BLUR_MM))
    profile = measure(walls, number, ROI_MM[number] / pitch_mm, 0.2, blur_mm / pitch_mm)
    drawn = shot.truth(*walls.strip.to_frame_px(np.array(profile.roi_px), np.zeros(2)))
    return np.array([profile.t_px, profile.w_px, *drawn]) * pitch_mm


def stated_mm(name):
    """(T, W) across the shaft: the stated ones are along rows, which the shaft crosses at an angle."""
    _, place, w, walls = BONES[name]
    axis = np.subtract(place.base, place.head) * VOXEL_MM[:2]
    cosine = axis[0] / np.hypot(*axis)
    return cosine * np.mean(walls), cosine * w


@pytest.mark.parametrize(
    "name",
    [
        "MC2",
        "MC3 beside MC2",
        "MC3 alone",
    ],
)
def test_width_walls_and_index_agree_with_the_ct(name):
    if not CT.is_dir():
        pytest.skip(f"CT bones are not at {CT}")
    stated_t, stated_w = stated_mm(name)
    ratio = 2 * stated_t / stated_w
    ratio_u95 = ratio * STATED_U95_MM * float(np.hypot(1 / stated_t, 1 / stated_w))
    print(f"\n{name}: stated T {stated_t:.2f}, W {stated_w:.2f} mm, 2T/W {ratio:.3f} ± {ratio_u95:.3f}")
    rows = []
    for solid in (False, True):
        for pitch_mm in (0.10, 0.14):
            for angle_deg in (-12.0, 4.0):
                t, w, drawn_t, drawn_w = measured_mm(name, pitch_mm, angle_deg, solid=solid)
                rows.append((t, w))
                print(
                    f"  {'solid' if solid else 'grey '} {pitch_mm:.2f} mm {angle_deg:+3.0f}°: T {t:.2f},"
                    f" W {w:.2f}, 2T/W {2 * t / w:.3f}; silhouettes T {drawn_t:.2f}, W {drawn_w:.2f}"
                )
    t, w = np.array(rows).T
    assert np.abs(t - stated_t).max() <= STATED_U95_MM
    assert np.abs(w - stated_w).max() <= STATED_U95_MM
    assert np.abs(2 * t / w - ratio).max() <= ratio_u95
