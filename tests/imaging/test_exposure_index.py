from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from station.frame import Stage
from station.imaging.correction import correct
from station.imaging.exposure_index import ExposureIndex, find_region, of
from station.result import Reason

SHAPE = (640, 512)


@pytest.mark.parametrize("hand_ugy", [1.0, 2.5, 10.0])
def test_the_index_is_100_per_ugy_behind_the_hand(corrected, hand_kerma, hand_ugy):
    index = of(corrected(np.kron(hand_kerma(hand_ugy=hand_ugy), np.ones((2, 2)))), 1000.0, 500.0)
    assert index.ei == pytest.approx(100 * hand_ugy, rel=0.01)


@settings(max_examples=30, deadline=None)
@given(st.floats(0.05, 0.7), st.floats(15, 60), st.floats(100, 2000))
def test_the_index_is_the_median_dose_whatever_the_open_field(
    corrected, hand_kerma, transmission, open_ugy, target
):
    kerma = np.kron(hand_kerma(open_ugy=open_ugy, hand_ugy=transmission * open_ugy), np.ones((2, 2)))
    index = of(corrected(kerma), 1000.0, target)
    assert index.ei == pytest.approx(100 * transmission * open_ugy, rel=0.02)
    assert index.di == pytest.approx(10 * np.log10(index.ei / target), abs=1e-9)


@pytest.mark.parametrize(("target", "di"), [(400, 0.0), (200, 3.01), (800, -3.01), (317.7, 1.0)])
def test_the_deviation_index_is_in_tenths_of_a_decade(corrected, hand_kerma, target, di):
    index = of(corrected(np.kron(hand_kerma(hand_ugy=4.0), np.ones((2, 2)))), 1000.0, target)
    assert index.di == pytest.approx(di, abs=0.05)


def test_the_region_is_the_hand_without_direct_exposure_and_collimator(corrected, hand_kerma):
    kerma = np.kron(hand_kerma(), np.ones((2, 2)))
    hand = kerma < 10
    shut = np.ones(SHAPE, bool)
    shut[48:-40, 56:-64] = False
    kerma[shut] = 0.02
    index = of(corrected(kerma), 1000.0, 500.0)
    region = np.kron(index.region.mask, np.ones((8, 8), bool))
    assert not (region & shut).any()
    assert (region & ~hand).sum() < 0.05 * region.sum()
    assert (region & hand).sum() > 0.85 * (hand & ~shut).sum()
    assert index.region.direct_lsb == pytest.approx(30000, rel=0.01)


@pytest.mark.parametrize("lag", [0.0, 0.01, 0.02, 0.03])
def test_lag_of_earlier_exposures_makes_the_collimators_shadow_no_object(corrected, hand_kerma, lag):
    kerma = np.kron(hand_kerma(open_ugy=30, hand_ugy=6), np.ones((2, 2)))
    shut = np.ones(SHAPE, bool)
    shut[48:-40, 56:-64] = False
    kerma[shut] = 0.02
    index = of(corrected(kerma + lag * 30), 1000.0, 500.0)
    assert not (np.kron(index.region.mask, np.ones((8, 8), bool)) & shut).any()
    assert index.ei == pytest.approx(600 + 100 * lag * 30, rel=0.02)


def test_the_irradiated_rectangle_is_found_from_inside_within_two_blocks(corrected, hand_kerma):
    kerma = np.kron(hand_kerma(), np.ones((2, 2)))
    open_field = np.zeros(SHAPE, bool)
    open_field[45:, 53:450] = True
    kerma[~open_field] = 0.02
    top, bottom, left, right = find_region(corrected(kerma)).field_px
    assert bottom == 640
    assert 45 <= top <= 45 + 16
    assert 53 <= left <= 53 + 16
    assert 450 - 16 <= right <= 450


def test_a_lead_marker_does_not_move_the_index(corrected, hand_kerma):
    kerma = np.kron(hand_kerma(), np.ones((2, 2)))
    kerma[20:60, 20:60] = 0.01
    assert of(corrected(kerma), 1000.0, 500.0).ei == pytest.approx(600, rel=0.02)


def test_saturated_direct_exposure_does_not_move_the_index(corrected, hand_kerma):
    frame = corrected(np.kron(hand_kerma(open_ugy=90), np.ones((2, 2))))
    clipped = replace(frame, pixels=np.minimum(frame.pixels, np.float32(60000)))
    assert of(clipped, 1000.0, 500.0).ei == pytest.approx(600, rel=0.02)


@pytest.mark.parametrize(
    ("kerma", "reason"),
    [(np.zeros(SHAPE), "exposure-none"), (np.full(SHAPE, 30.0), "exposure-no-region")],
)
def test_without_exposure_or_hand_there_is_a_reason_and_no_index(corrected, kerma, reason):
    found = of(corrected(kerma), 1000.0, 500.0)
    assert isinstance(found, Reason)
    assert found.id == reason
    assert found.remedy


def test_refuses_a_frame_that_is_not_proportional_to_dose(corrected, hand_kerma):
    with pytest.raises(ValueError, match="corrected dose frame"):
        of(replace(corrected(hand_kerma()), stage=Stage.RAW), 1000.0, 500.0)


def test_refuses_a_sensitivity_or_target_that_cannot_be(corrected, hand_kerma):
    for sensitivity, target in ((0.0, 500.0), (1000.0, -1.0)):
        with pytest.raises(ValueError, match="positive"):
            of(corrected(hand_kerma()), sensitivity, target)


def test_follows_the_panels_own_calibration(panel, maps, hand_kerma):
    index = of(correct(panel.expose(hand_kerma(hand_ugy=5.0)), maps), maps.lsb_per_ugy, 500.0)
    assert isinstance(index, ExposureIndex)
    assert index.ei == pytest.approx(500, rel=0.02)
