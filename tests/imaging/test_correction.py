from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from station.frame import Signal, Stage
from station.imaging.correction import CorrectionRefused, correct
from station.imaging.defects import plan


def scattered_defects():
    dead = np.random.default_rng(8).random((320, 256)) < 0.002
    dead[:, 77] = True
    dead[100:200, 150:152] = True
    dead[30:35, 30:35] = True
    return dead


@pytest.mark.parametrize("kerma_ugy", [0.5, 3.0, 20.0, 40.0])
def test_restores_the_dose_of_a_flat_within_noise(panel, maps, kerma_ugy):
    frame = correct(panel.expose(kerma_ugy), maps)
    dose_ugy = frame.pixels / maps.lsb_per_ugy
    quantum_sd = np.sqrt(16 + 8000 * kerma_ugy) / 1000
    assert dose_ugy.mean() == pytest.approx(kerma_ugy, rel=2e-3)
    map_sd = kerma_ugy * np.sqrt(8 / 30000 / 6)  # the flats' own noise stays in the gain map
    offset_sd = 4 / np.sqrt(6) / 1000
    assert dose_ugy.std() < 1.05 * np.hypot(np.hypot(quantum_sd, map_sd), offset_sd) + 0.0005


def test_restores_a_pattern_over_the_panels_gain_and_offset(panel, maps, hand_kerma):
    kerma = hand_kerma()
    frame = correct(panel.expose(kerma), maps)
    error = frame.pixels / maps.lsb_per_ugy - kerma
    for level in (6.0, 30.0):
        assert np.abs(error[kerma == level].mean()) < 0.01 * level


def test_is_linear_in_dose(panel, maps):
    low, high = (correct(panel.expose(k), maps).pixels.mean(dtype=float) for k in (4.0, 16.0))
    assert high / low == pytest.approx(4, rel=2e-3)


def test_replaces_defects_single_in_columns_and_in_clusters(make_panel):
    dead = scattered_defects()
    panel = make_panel(dead)
    maps = panel.calibrate()
    ramp = np.linspace(5, 25, 256)[None, :] * np.ones((320, 1))
    pixels = correct(panel.expose(ramp), maps).pixels / maps.lsb_per_ugy
    error = pixels - ramp
    assert np.abs(error[dead]).max() < 5 * np.sqrt(8 * 25000) / 1000  # quantum SD at the bright end
    assert abs(error[dead].mean()) < 0.05
    assert error[dead].std() <= 1.1 * error[~dead].std()


def test_a_replacement_takes_nothing_from_other_defects():
    dead = scattered_defects()
    image = np.full(dead.shape, 100.0, np.float32)
    image[dead] = 1e6
    patches = plan(dead)
    replaced = (image.ravel()[patches.sources] * patches.weights).sum(axis=0)
    assert replaced == pytest.approx(100, rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.001, 0.05))
def test_a_replacement_lies_between_its_neighbours(seed, density):
    rng = np.random.default_rng(seed)
    dead = rng.random((40, 30)) < density
    image = rng.uniform(0, 1000, dead.shape).astype(np.float32)
    patches = plan(dead)
    near = image.ravel()[patches.sources]
    replaced = (near * patches.weights).sum(axis=0)
    assert np.all(replaced >= near.min(axis=0, initial=np.inf) - 1e-2)
    assert np.all(replaced <= near.max(axis=0, initial=-np.inf) + 1e-2)


def test_every_saturated_pixel_stays_recognisable_and_no_darker_one_is_taken_for_it(make_panel):
    panel = make_panel(scattered_defects())
    maps = panel.calibrate()
    kerma = np.full(panel.shape, 20.0)
    kerma[:, 128:] = 200.0
    raw = panel.expose(kerma)
    frame = correct(raw, maps)
    assert frame.saturation == maps.ceiling_lsb
    flagged = frame.pixels >= frame.saturation
    assert flagged[:, 130:].all()
    assert not flagged[:, :126].any()
    assert frame.pixels.max() == np.float32(frame.saturation)


def test_the_ceiling_is_below_where_any_good_pixel_clips(maps):
    clips = (maps.raw_saturation - maps.offset) * maps.gain
    assert maps.ceiling_lsb <= clips[~maps.defects].min()
    assert maps.ceiling_lsb > 0.8 * maps.raw_saturation


def test_noise_below_zero_is_kept(panel, maps):
    pixels = correct(panel.expose(0.0), maps).pixels
    assert abs(pixels.mean(dtype=float)) < 0.2
    assert (pixels < 0).mean() == pytest.approx(0.5, abs=0.02)


def test_the_frame_says_what_was_done_to_it(panel, maps):
    raw = replace(panel.expose(5.0), history=("read out",), scale_known=False)
    frame = correct(raw, maps)
    assert (frame.stage, frame.signal) == (Stage.FOR_PROCESSING, Signal.DOSE)
    assert frame.pixels.dtype == np.float32
    assert frame.history[0] == "read out"
    assert maps.sha256 in frame.history[1]
    assert (frame.spacing_mm, frame.source, frame.scale_known) == ((0.1, 0.1), "P-1", False)


def test_the_raw_frame_is_not_touched(panel, maps):
    raw = panel.expose(10.0)
    before = raw.pixels.copy()
    correct(raw, maps)
    assert np.array_equal(raw.pixels, before)


def test_refuses_a_frame_of_another_panel_shape_stage_or_mode(panel, maps, make_panel):
    with pytest.raises(CorrectionRefused, match="P-2"):
        correct(panel.expose(5.0, serial="P-2"), maps)
    with pytest.raises(CorrectionRefused, match="calibrate"):
        correct(make_panel(shape=(300, 256)).expose(5.0), maps)
    with pytest.raises(CorrectionRefused, match="raw"):
        correct(correct(panel.expose(5.0), maps), maps)
    with pytest.raises(CorrectionRefused, match="16383"):
        correct(replace(panel.expose(5.0), saturation=16383), maps)
