"""Edges on one round tube whose wall and width are known, blurred and with noise."""

import cv2
import numpy as np
import pytest

from station.dxr.edges import find_axis, find_walls
from station.frame import Frame, Signal, Stage

PITCH_MM = 0.1
LENGTH_PX = 620
MU_PER_MM = 0.09  # bone over soft tissue at 50 kV


def tube(t_mm, w_mm, angle_deg=0.0, sigma_mm=0.1, noise=0.0):
    """Attenuation image of a tube in its middle, axis `angle_deg` clockwise from up."""
    fine = 4
    x = (np.arange(500 * fine) + 0.5) / fine * PITCH_MM - 25
    outer, inner = w_mm / 2, w_mm / 2 - t_mm
    chord = 2 * np.sqrt(np.maximum(outer**2 - x**2, 0)) - 2 * np.sqrt(np.maximum(inner**2 - x**2, 0))
    transmission = np.exp(-MU_PER_MM * chord).reshape(-1, fine).mean(axis=1)
    image = np.ones((900, 500), np.float32)
    image[140:760] = transmission
    image = cv2.GaussianBlur(image, (0, 0), sigma_mm / PITCH_MM)
    matrix = cv2.getRotationMatrix2D((249.5, 449.5), -angle_deg, 1)
    image = cv2.warpAffine(image, matrix, (500, 900), flags=cv2.INTER_CUBIC, borderValue=1.0)
    image += np.random.default_rng(5).normal(0, noise, image.shape) * np.sqrt(image)
    return Frame(image * np.float32(20000), Stage.FOR_PROCESSING, Signal.DOSE, (PITCH_MM, PITCH_MM), "tube")


def walls_of(frame, base, head, expected_px=80.0):
    return find_walls(frame, find_axis(frame, np.array(base), np.array(head), expected_px))


def middle(walls):
    s = walls.strip.along_px / walls.strip.length_px
    shaft = (s > 0.3) & (s < 0.7)
    wall = (walls.walls_px[0] + walls.walls_px[1]) / 2
    return wall[shaft].mean() * PITCH_MM, walls.width_px[shaft].mean() * PITCH_MM


@pytest.mark.parametrize("sigma_mm", [0.05, 0.1, 0.15])
@pytest.mark.parametrize(("t_mm", "w_mm"), [(1.0, 8.0), (1.61, 8.2), (2.2, 8.2)])
def test_wall_keeps_its_thickness_under_blur_and_width_shrinks_as_derived(t_mm, w_mm, sigma_mm):
    t, w = middle(walls_of(tube(t_mm, w_mm, sigma_mm=sigma_mm), (760, 249.5), (140, 249.5)))
    total = np.sqrt(sigma_mm**2 + PITCH_MM**2 + PITCH_MM**2 / 12)  # with the filter's own sigma of a pixel
    assert t == pytest.approx(t_mm, abs=0.04)
    assert w == pytest.approx(w_mm - 2 * 0.76 * total, abs=0.05)


@pytest.mark.parametrize("angle_deg", [-7, 4])
@pytest.mark.parametrize("offset_px", [-30, 0, 25])
def test_a_wrong_start_is_corrected(angle_deg, offset_px):
    exact = middle(walls_of(tube(1.61, 8.2), (760, 249.5), (140, 249.5)))
    found = walls_of(tube(1.61, 8.2, angle_deg), (760, 249.5 + offset_px), (140, 249.5 + offset_px))
    assert middle(found) == pytest.approx(exact, abs=0.03)
    along = found.strip.along
    assert np.degrees(np.arctan2(along[1], -along[0])) == pytest.approx(angle_deg, abs=0.3)


@pytest.mark.parametrize("expected_px", [55.0, 80.0, 120.0])
def test_the_expected_width_need_not_be_exact(expected_px):
    t, w = middle(walls_of(tube(1.61, 8.2), (760, 249.5), (140, 249.5), expected_px))
    exact = middle(walls_of(tube(1.61, 8.2), (760, 249.5), (140, 249.5)))
    assert (t, w) == pytest.approx(exact, abs=0.02)


def test_noise_of_a_usual_exposure_moves_the_means_little():
    t, w = middle(walls_of(tube(1.61, 8.2, noise=0.03), (760, 249.5), (140, 249.5)))
    clean_t, clean_w = middle(walls_of(tube(1.61, 8.2), (760, 249.5), (140, 249.5)))
    assert t == pytest.approx(clean_t, abs=0.04)
    assert w == pytest.approx(clean_w, abs=0.04)


def test_a_polarity_or_gain_change_does_not_move_the_edges():
    frame = tube(1.61, 8.2)
    film = Frame(255 - 40 * np.log(frame.pixels), Stage.FOR_PRESENTATION, Signal.ATTENUATION, None, "film")
    exact = middle(walls_of(frame, (760, 249.5), (140, 249.5)))
    assert middle(walls_of(film, (760, 249.5), (140, 249.5))) == pytest.approx(exact, abs=0.005)
