"""The fitted tube: on real outer surfaces with a carved canal, and on chords of known silhouettes."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from meshes import Beam, carve, shoot

from station.dxr.edges import find_axis, find_walls
from station.dxr.radiogrammetry import measure
from station.dxr.tube_fit import fit_tube
from station.frame import Frame, Signal, Stage

MESHES = Path(__file__).parents[2] / "../shared/data/mesh"
ROI_MM = {2: 20.0, 3: 18.0, 4: 16.0}
PITCH_MM = 0.1


def measured(shot, number):
    """Measured less true T and W in mm, the profile, and the walls."""
    pitch = shot.frame.spacing_mm[0]
    walls = find_walls(shot.frame, find_axis(shot.frame, shot.base_px, shot.head_px, 8 / pitch))
    profile = measure(walls, number, ROI_MM[number] / pitch, 0.2, 0.1 / pitch)
    t, w = shot.truth(*walls.strip.to_frame_px(np.array(profile.roi_px), np.zeros(2)))
    return (profile.t_px - t) * pitch, (profile.w_px - w) * pitch, profile


@pytest.fixture(scope="module")
def meshes():
    if not MESHES.is_dir():
        pytest.skip(f"bone surfaces are not at {MESHES}")
    return lambda number: MESHES / f"{number}mc.stl"


OUTLINES = [
    *((number, turn, kind) for number in (2, 4) for turn in (-8, 8) for kind in ("similar", "offset")),
    *((3, turn, kind) for turn in (0, 8) for kind in ("similar", "offset")),
    (3, -8, "offset"),
]


@pytest.mark.parametrize(("number", "turn_deg", "kind"), OUTLINES)
def test_real_outlines_read_right_although_they_are_not_round(meshes, number, turn_deg, kind):
    t, w, profile = measured(shoot(carve(meshes(number), 1.6, kind, turn_deg), Beam(), 3.0), number)
    assert abs(t) < 0.06
    assert abs(w) < 0.1
    assert abs(t) < 1.5 * profile.t_u95_px * PITCH_MM  # three standard errors


def test_neither_blur_nor_pitch_nor_beam_moves_a_real_bone(meshes):
    bone = carve(meshes(2), 1.6, "similar")
    beams = [
        Beam(0.1, 0.06),
        Beam(0.1, 0.18),
        Beam(0.14, 0.11),
        Beam(0.1, 0.11, 2.0),
        Beam(0.1, 0.11, 5.0, 60),
    ]
    found = np.array([measured(shoot(bone, beam), 2)[:2] for beam in beams])
    assert np.ptp(found[:, 0]) < 0.06
    assert np.ptp(found[:, 1]) < 0.06


def flat(t_mm, w_mm, sigma_mm, noise=0.0):
    """A frame of a straight upright round tube, exact chords, blurred."""
    fine = 5
    x = ((np.arange(300 * fine) + 0.5) / fine - 150) * PITCH_MM
    r = w_mm / 2 - t_mm
    chord = 2 * np.sqrt(np.maximum(w_mm**2 / 4 - x**2, 0)) - 2 * np.sqrt(np.maximum(r**2 - x**2, 0))
    profile = cv2.GaussianBlur(np.exp(-0.08 * chord)[None], (0, 0), sigma_mm / PITCH_MM * fine)
    row = profile.reshape(-1, fine).mean(axis=1) * 20000
    pixels = np.tile(row.astype(np.float32), (640, 1))
    pixels = pixels * (1 + noise * np.random.default_rng(3).standard_normal(pixels.shape)).astype(np.float32)
    return Frame(pixels.astype(np.float32), Stage.FOR_PROCESSING, Signal.DOSE, (0.1, 0.1), "tube")


def fitted(frame, expected_mm=0.1):
    walls = find_walls(frame, find_axis(frame, np.array([639.0, 149.5]), np.array([0.0, 149.5]), 80.0))
    s = walls.strip.along_px / walls.strip.length_px
    return fit_tube(walls, (s > 0.35) & (s < 0.65), float(np.hypot(expected_mm / PITCH_MM, 12**-0.5)))


@pytest.mark.parametrize("sigma_mm", [0.05, 0.1, 0.2])
@pytest.mark.parametrize(("t_mm", "w_mm"), [(0.9, 8.0), (1.6, 8.2), (2.4, 8.2), (1.6, 6.5)])
def test_a_round_tube_is_measured_whatever_the_blur_is(t_mm, w_mm, sigma_mm):
    tube = fitted(flat(t_mm, w_mm, sigma_mm))
    assert tube.t_px * PITCH_MM == pytest.approx(t_mm, abs=0.02)
    assert tube.w_px * PITCH_MM == pytest.approx(w_mm, abs=0.03)
    assert tube.sigma_px == pytest.approx(np.hypot(sigma_mm / PITCH_MM, 12**-0.5), rel=0.3)


def test_noise_widens_the_stated_error():
    quiet, loud = (fitted(flat(1.6, 8.2, 0.1, noise)) for noise in (0.02, 0.4))
    assert loud.t_se_px > 2 * quiet.t_se_px
    assert loud.w_se_px > 2 * quiet.w_se_px


def test_gives_no_tube_where_there_are_hardly_any_rows():
    frame = flat(1.6, 8.2, 0.1)
    walls = find_walls(frame, find_axis(frame, np.array([639.0, 149.5]), np.array([0.0, 149.5]), 80.0))
    rows = np.zeros(len(walls.strip.along_px), bool)
    rows[80:90] = True
    assert fit_tube(walls, rows, 1.0) is None


def test_gives_no_tube_for_a_solid_rod():
    assert fitted(flat(4.1, 8.2, 0.1)) is None


@pytest.mark.parametrize("pitch_mm", [0.5, 0.75, 1.0])
def test_gives_no_tube_where_the_bone_is_a_few_pixels_wide(pitch_mm):
    step = round(pitch_mm / PITCH_MM)
    fine = flat(1.6, 8.2, 0.1)
    coarse = cv2.resize(fine.pixels, None, fx=1 / step, fy=1, interpolation=cv2.INTER_AREA)
    frame = Frame(coarse, Stage.FOR_PROCESSING, Signal.DOSE, (pitch_mm, pitch_mm), "few pixels")
    middle = (coarse.shape[1] - 1) / 2
    axis = find_axis(frame, np.array([639.0, middle]), np.array([0.0, middle]), 8.2 / pitch_mm)
    walls = find_walls(frame, axis)
    s = walls.strip.along_px / walls.strip.length_px
    assert fit_tube(walls, (s > 0.35) & (s < 0.65), 1.0) is None
