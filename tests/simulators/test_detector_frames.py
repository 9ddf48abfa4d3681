"""What dose does to the frames of the simulated detector: linearity, distance, lag, saturation, drift."""

import numpy as np
import pytest

from simulators.scene import EmptyScene
from simulators.world import kerma_ugy

KVP = 50


def level(frame):
    """Median of the open half: untouched by defects."""
    return float(np.median(frame.pixels[:, : frame.shape[1] // 2 - 20].astype(float)))


def test_signal_is_linear_in_the_dose(rigged):
    rig = rigged()
    dark = level(rig.frame("0"))
    rig.clock.sleep(1000)
    one = level(rig.frame("1", 0.5)) - dark
    rig.clock.sleep(1000)
    three = level(rig.frame("3", 1.5)) - dark
    assert three / one == pytest.approx(3, rel=0.003)


def test_signal_falls_with_the_square_of_the_distance(rigged):
    levels = {}
    for sid_mm in (1000, 1400):
        rig = rigged(sid_mm=sid_mm)
        levels[sid_mm] = level(rig.frame("1", 1.0)) - level(rigged(sid_mm=sid_mm).frame("0"))
    assert levels[1000] / levels[1400] == pytest.approx(1.96, rel=0.003)


def test_signal_is_about_a_thousand_lsb_per_microgray(rigged):
    rig = rigged()
    signal = rig.frame("1", 1.0).pixels.astype(float) - rigged().frame("0").pixels
    assert np.median(signal[:, :140]) / kerma_ugy(KVP, 1.0, 1000) == pytest.approx(1000, rel=0.05)


def test_the_object_attenuates(rigged):
    rig = rigged()
    signal = rig.frame("1", 1.0).pixels.astype(float) - rigged().frame("0").pixels
    flat = rigged(hand_present=False).frame("1", 1.0).pixels.astype(float) - rigged().frame("0").pixels
    passed = np.median(signal[:, 200:]) / np.median(flat[:, 200:])
    assert passed == pytest.approx(0.1, rel=0.01)


def test_radiation_outside_the_window_leaves_lag_only(rigged):
    rig = rigged()
    rig.world.clear_panel()
    dark = level(rig.frame("0"))
    rig.shoot(1.0)
    lag = level(rig.frame("1")) - dark
    assert 0.004 < lag / (1000 * kerma_ugy(KVP, 1.0, 1000)) < 0.007


def test_lag_of_a_frame_is_below_one_percent_in_the_next_and_decays(rigged):
    rig = rigged()
    rig.world.clear_panel()
    dark = level(rig.frame("0"))
    full = level(rig.frame("1", 1.0)) - dark
    next_one = level(rig.frame("2")) - dark
    rig.clock.sleep(8)
    later = level(rig.frame("3")) - dark
    rig.clock.sleep(120)
    assert 0.005 < next_one / full < 0.0075
    assert later < 0.5 * next_one
    assert abs(level(rig.frame("4")) - dark) < 25  # only the offset's drift with temperature


def test_too_much_dose_saturates_at_the_converters_end(rigged):
    frame = rigged().frame("1", 4.0)
    assert level(frame) == 65535
    assert frame.pixels.max() == frame.saturation


def test_offset_drifts_as_the_panel_warms_up(rigged):
    rig = rigged()
    cold = level(rig.frame("1"))
    cold_c = rig.detector.status().temperature_c
    rig.clock.sleep(3600)
    warm = level(rig.frame("2"))
    assert rig.detector.status().temperature_c > cold_c + 2
    assert 5 < warm - cold < 40


def test_the_collimator_leaves_nearly_nothing_outside_the_field(rigged, small):
    rig = rigged(field_mm=[20, 20], settings={**small, "spacing_mm": 0.1})
    flat = rig.frame("1", 1.0).pixels.astype(float) - rigged().frame("0").pixels
    assert abs(np.median(flat[:60])) < 0.005 * np.median(flat[150:250, 110:155])


def test_frames_are_the_same_for_the_same_seed_and_number_whatever_they_are_called(rigged):
    first = rigged(seed=7).frame("1.2", 1.0)
    assert np.array_equal(first.pixels, rigged(seed=7).frame("1.3", 1.0).pixels)
    assert not np.array_equal(first.pixels, rigged(seed=8).frame("1.2", 1.0).pixels)


def test_the_next_frame_of_a_seed_has_other_noise(rigged):
    first = rigged(seed=7).frame("1.2", 1.0)
    rig = rigged(seed=7)
    rig.detector.arm("9.9", 100)
    rig.detector.abort()
    assert not np.array_equal(first.pixels, rig.frame("1.2", 1.0).pixels)


def test_a_flat_field_needs_no_picture_of_the_scene(rigged):
    rig = rigged()
    rig.world.scene = EmptyScene()
    rig.world.clear_panel()
    rig.frame("1", 1.0)
    assert rig.detector._darkroom._pictures == {}
