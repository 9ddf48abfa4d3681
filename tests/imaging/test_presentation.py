from dataclasses import replace

import numpy as np
import pytest

from station.frame import Signal, Stage
from station.imaging.exposure_index import find_region
from station.imaging.presentation import render


def steps(corrected, hand_kerma):
    """A hand with a denser bone in it, without noise."""
    kerma = np.kron(hand_kerma(), np.ones((2, 2)))
    kerma[400:600, 240:280] = 2.5
    return replace(corrected(kerma), pixels=(kerma * 1000).astype(np.float32))


def test_bone_is_brighter_than_flesh_and_direct_exposure_is_black(corrected, hand_kerma):
    shown = render(steps(corrected, hand_kerma)).frame.pixels
    direct, flesh, bone = int(shown[10, 10]), int(shown[450, 200]), int(shown[500, 260])
    assert direct == 0 < flesh < bone
    assert flesh == pytest.approx(2000 * np.log10(30 / 6), abs=2)
    assert bone == pytest.approx(2000 * np.log10(30 / 2.5), abs=2)


def test_more_attenuation_is_never_darker(corrected, hand_kerma):
    frame = steps(corrected, hand_kerma)
    frame.pixels[300, 170:350] = np.linspace(1, 40000, 180)
    shown = render(frame).frame.pixels[300, 170:350].astype(int)
    assert (np.diff(shown) <= 0).all()
    assert shown[0] == 4095
    assert shown[-1] == 0


def test_is_twelve_bits_in_sixteen_and_says_so_about_itself(corrected, hand_kerma):
    source = corrected(np.kron(hand_kerma(), np.ones((2, 2))))
    frame = render(source).frame
    assert (frame.stage, frame.signal) == (Stage.FOR_PRESENTATION, Signal.ATTENUATION)
    assert frame.pixels.dtype == np.uint16
    assert frame.pixels.max() <= 4095
    assert frame.saturation is None
    assert (frame.spacing_mm, frame.source) == (source.spacing_mm, source.source)


def test_the_window_shows_all_of_the_hand_and_little_else(corrected, hand_kerma):
    picture = render(steps(corrected, hand_kerma))
    low = picture.window_center - picture.window_width / 2
    high = picture.window_center + picture.window_width / 2
    flesh, bone = 2000 * np.log10(30 / 6), 2000 * np.log10(30 / 2.5)
    assert 0 < low < flesh  # direct exposure is black, the skin line is not
    assert bone < high < bone + 0.1 * picture.window_width  # bone is bright and not burnt out


def test_outside_the_field_is_black_and_inside_is_not(corrected, hand_kerma):
    kerma = np.kron(hand_kerma(), np.ones((2, 2)))
    kerma[:50], kerma[:, :60], kerma[:, -50:] = 0.0, 0.0, 0.0
    shown = render(corrected(kerma)).frame.pixels
    assert (shown[:50] == 0).all()
    assert (shown[:, :60] == 0).all()
    assert (shown[:, -50:] == 0).all()
    assert (shown[330:, 170:350] > 1000).all()


def test_a_given_region_makes_the_same_picture(corrected, hand_kerma):
    frame = corrected(np.kron(hand_kerma(), np.ones((2, 2))))
    found, given = render(frame), render(frame, find_region(frame))
    assert np.array_equal(found.frame.pixels, given.frame.pixels)
    assert (found.window_center, found.window_width) == (given.window_center, given.window_width)


@pytest.mark.parametrize("kerma_ugy", [0.0, 20.0])
def test_a_frame_without_a_hand_still_gives_a_picture(corrected, kerma_ugy):
    picture = render(corrected(np.full((640, 512), kerma_ugy)))
    assert picture.window_width >= 1
    assert picture.frame.shape == (640, 512)


def test_refuses_a_frame_that_is_already_a_picture(corrected, hand_kerma):
    picture = render(corrected(hand_kerma()))
    with pytest.raises(ValueError, match="corrected dose frame"):
        render(picture.frame)
