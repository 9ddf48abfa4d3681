"""Porosity against the streaks of the phantom, whose mean share is known."""

from dataclasses import replace

import numpy as np
import pytest

from station.dxr.analysis import analyse, traced
from station.dxr.porosity import SPREAD_U95, estimate_porosity, measure_porosity
from station.dxr.quantities import Scale
from station.frame import Signal, Stage
from station.result import Measurement, Reason

SEEDS = (3, 4)


@pytest.fixture
def seen(shoot, protocol, reference):
    """Frame, measured bones and scale of an exposure, by the package's own steps."""

    def see(hand, pose="rotation=7", **exposure):
        frame = shoot(hand, pose, **exposure).frame
        bones = traced(frame, 60, None, protocol, reference)[1].bones
        assert not [bone.reason for bone in bones if bone.reason]
        scale = Scale.of(frame, protocol).mm_per_px
        return frame, [(bone.walls, bone.profile) for bone in bones], scale

    return see


@pytest.mark.parametrize(("share", "pitch_mm"), [(0.0, 0.1), (0.011, 0.1), (0.03, 0.1), (0.011, 0.14)])
def test_the_true_share_lies_in_the_interval(seen, share, pitch_mm):
    for seed in SEEDS:
        exposure = seen(f"porosity={share},seed={seed}", dose_ugy=30.0, pitch_mm=pitch_mm)
        found = estimate_porosity(*exposure)
        assert abs(found.value - share) <= found.u95


def test_more_pores_read_as_more(seen):
    means = [
        np.mean([estimate_porosity(*seen(f"porosity={p},seed={s}", dose_ugy=30.0)).value for s in SEEDS])
        for p in (0.0, 0.011, 0.03)
    ]
    assert np.all(np.diff(means) > 0.005)


def test_noise_widens_the_interval_and_hardly_moves_the_value(seen):
    little, much = (estimate_porosity(*seen("t=2.2,seed=3", dose_ugy=dose)) for dose in (6.0, 60.0))
    assert little.u95 > 1.5 * much.u95
    assert abs(little.value - much.value) < little.u95


def test_a_dense_cortex_at_high_dose_is_measured(shoot, protocol, reference):
    frame = shoot("porosity=0,t=2", dose_ugy=60.0).frame
    found = analyse(frame, 60, None, protocol, reference)
    assert found.porosity_measured
    assert found.porosity < 0.003
    assert found.porosity_u95 <= SPREAD_U95
    constant = protocol.analysis.constant_for(frame.source).value
    per_cm = protocol.analysis.reference_magnification.value * constant * (1 - found.porosity)
    assert found.bmd_g_cm2.value == pytest.approx(per_cm * found.vpa_cm.value)
    assert "porosity-not-measured" not in {note.id for note in found.notes}


def test_noise_gives_the_constant_with_the_reason(shoot, protocol, reference):
    found = analyse(shoot("", dose_ugy=2.0).frame, 60, None, protocol, reference)
    assert (found.porosity, found.porosity_measured) == (protocol.analysis.default_porosity.value, False)
    (note,) = [note for note in found.notes if note.id == "porosity-not-measured"]
    assert note.value > note.limit == SPREAD_U95
    assert found.bmd_g_cm2.u95 > found.bmd_g_cm2.value * found.porosity_u95


def test_large_pixels_give_the_constant(seen):
    found = measure_porosity(*seen("porosity=0", pitch_mm=0.175, dose_ugy=60.0))
    assert isinstance(found, Reason)
    assert (found.value, found.limit) == (0.175, 0.15)


def test_thin_walls_give_the_constant(seen):
    found = measure_porosity(*seen("t=0.8,w=7.5,porosity=0", dose_ugy=60.0))
    assert isinstance(found, Reason)
    assert found.value < found.limit


def test_display_images_give_the_constant(shoot, protocol, reference):
    dose = shoot("porosity=0,t=2", dose_ugy=60.0).frame
    pixels = np.clip(30000 - 6000 * np.log(np.maximum(dose.pixels, 1) / 400), 0, 65535).astype(np.uint16)
    shown = replace(
        dose, pixels=pixels, stage=Stage.FOR_PRESENTATION, signal=Signal.ATTENUATION, saturation=None
    )
    found = analyse(shown, 60, None, protocol, reference)
    assert not found.porosity_measured
    assert "porosity-not-measured" in {note.id for note in found.notes}


def test_a_mirrored_frame_reads_the_same(seen, protocol, reference):
    frame, bones, scale = seen("t=2.2,seed=3", dose_ugy=60.0)
    here = estimate_porosity(frame, bones, scale)
    turned = replace(frame, pixels=np.ascontiguousarray(frame.pixels[:, ::-1]))
    mirrored = traced(turned, 60, None, protocol, reference)[1].bones
    there = estimate_porosity(turned, [(bone.walls, bone.profile) for bone in mirrored], scale)
    assert isinstance(here, Measurement)
    assert there.value == pytest.approx(here.value, abs=0.0015)
